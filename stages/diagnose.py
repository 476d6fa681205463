"""Draw where the priors fail: their worst images beside the truth, and their codes over the aggregated posterior."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.command import run
from stages.loading import load_samples
from toycrystals.artifacts import atomic, load_tensors
from toycrystals.config import load_params
from toycrystals.dataset import exact_images
from toycrystals.figures.diagnosis import draw_posterior
from toycrystals.figures.images import Images, draw_worst, worst_caption
from toycrystals.figures.style import method_label, save_figure
from toycrystals.latents import Latents, imitated
from toycrystals.lattice import TYPES
from toycrystals.metrics.matching import psnr
from toycrystals.tables import read_csv

_WORST = 16


def diagnose(priors: str, samples: Path, evaluations: Path, heldout: Path, latents: Path, out: Path) -> None:
    """Draw the worst samples of `priors` (NAME,NAME), and all their codes in two dimensions."""
    held_out, spec = load_samples(heldout, "held-out list")
    index = load_tensors(heldout, "held-out list")[0]["index"]
    test = Latents.from_tensors(load_tensors(latents, "latents")[0])[index]
    drawings: dict[str, Figure] = {}
    codes = {}
    for name in priors.split(","):
        tensors, meta = load_tensors(samples / name / "heldout.safetensors", "samples")
        codes[name] = imitated(test, meta["posterior_width"], load_params().seed).numpy(), tensors["codes"].numpy()
        table = read_csv(evaluations / name / "images.csv")
        drawings[f"worst_{name}"] = worst(name, tensors["images"].numpy(), table)
    drawings["posterior"] = draw_posterior(codes, held_out.type, TYPES[: spec.n_types])
    for name, figure in drawings.items():
        with atomic(out / f"{name}.png") as temporary:
            save_figure(figure, temporary)


def worst(name: str, images: Images, table: pd.DataFrame) -> Figure:
    """The images with the largest error beside the exact crystal that was asked for.

    Of an unconditional method: the least crystalline ones beside the nearest exact crystal.
    """
    asked = "mse" in table
    order = np.argsort((-table["mse"] if asked else table["ncc"]).to_numpy(), kind="stable")[:_WORST]
    columns = ("asked_spacing", "asked_theta", "matched_aspect") if asked else ("found_spacing", "found_theta", "found_aspect")
    truth, captions = [], []
    for _, row in table.iloc[order].iterrows():
        kind = TYPES.index(row["asked_type" if asked else "found_type"])
        spacing, degrees, aspect = (np.array([row[column]]) for column in columns)
        exact = exact_images(kind, spacing, np.deg2rad(degrees), aspect, images.shape[-1])
        truth.append((exact * 255.0 + 0.5).astype(np.uint8))
        error = row["theta_error"] if asked and row["reason"] == "ok" else np.nan
        quality = worst_caption(psnr(row["mse"]), error) if asked else f"correlation {row['ncc']:.3f}"
        captions.append(f"{TYPES[kind]} {degrees[0]:.0f}°\n{quality}")
    return draw_worst(np.stack(truth), images[order], captions, method_label(name))


if __name__ == "__main__":
    run(diagnose)
