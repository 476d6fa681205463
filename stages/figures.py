"""Draw the data, what the models make, where they fail, and every chart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages import GUARD
from toycrystals.core.artifacts import load_meta, load_tensors
from toycrystals.core.tables import read_csv
from toycrystals.crystals.dataset import DatasetSpec, Samples, exact_images, load_samples, make_samples
from toycrystals.crystals.lattice import TYPES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.copying import open_types
from toycrystals.metrics.matching import psnr
from toycrystals.models.latents import Latents, held_out_codes
from toycrystals.results import charts
from toycrystals.results.catalogue import CHART
from toycrystals.results.diagnosis import View, draw_confusion, draw_posterior, draw_theta_errors
from toycrystals.results.images import Images, draw_pairs, draw_preview, draw_samples, draw_worst, worst_caption
from toycrystals.results.style import REFERENCES, method_label, save_figure
from toycrystals.runtime.files import atomic
from toycrystals.runtime.stage import run

_WORST = 16
_AROUND = 4  # degrees


def figures(
    heldout: Path, latents: Path, samples: Path, tables: Path, evaluated: Path, vae_curve: Path, prior_curves: Path,
    out: Path, priors: list[str],
) -> None:  # fmt: skip
    """Draw images, diagnoses of `priors`, and the charts of what was measured."""
    tensors, meta = load_tensors(heldout, "held-out list")
    held_out, spec = load_samples(tensors, meta)
    index = tensors["index"]
    drawings = [
        *of_data(spec),
        *of_samples(held_out, spec, samples, priors),
        *of_tables({name: read_csv(tables / f"{name}.csv") for name in (*REFERENCES, *priors)}, held_out, spec, samples),
        ("posterior", of_codes(latents, held_out, index, samples, priors, spec)),
        *of_numbers(evaluated),
        ("curves", of_trainings({"VAE": vae_curve, **{method_label(name): prior_curves / f"{name}.csv" for name in priors}})),
    ]  # fmt: skip
    for name, figure in drawings:
        with atomic(out / f"{name}.png") as temporary:
            save_figure(figure, temporary)


def arrays(path: Path, kind: str = "samples") -> dict[str, NDArray[Any]]:
    """The arrays of one file of samples."""
    return {name: tensor.numpy() for name, tensor in load_tensors(path, kind)[0].items()}


def of_data(spec: DatasetSpec) -> Iterator[tuple[str, Any]]:
    """A few samples of every variant, made on the fly."""
    for variant in VARIANTS:
        made = make_samples(DatasetSpec(variant, spec.n_types, spec.image_size, spec.seed), "train", 256)
        yield f"preview_{variant}", draw_preview(made, variant)


def of_samples(held_out: Samples, spec: DatasetSpec, samples: Path, priors: list[str]) -> Iterator[tuple[str, Any]]:
    """Reconstructions, samples of the priors beside the truth, and rotation sweeps."""
    conditions = held_out.type, held_out.labels, spec.variant
    drawn = {name: arrays(samples / name / "heldout.safetensors")["images"] for name in (*REFERENCES, *priors)}
    yield "reconstructions", draw_pairs(("truth", drawn["real"]), ("reconstruction", drawn["reconstruction"]), *conditions)
    yield "samples", draw_samples({"truth": held_out.images} | {name: drawn[name] for name in priors}, *conditions)
    turned = arrays(samples / "real" / "sweep.safetensors")
    for name in priors:
        sweep = arrays(samples / name / "sweep.safetensors")["images"]
        pair = ("truth", turned["images"]), (method_label(name), sweep)
        yield f"sweep_{name}", draw_pairs(*pair, turned["type"], turned["labels"], spec.variant)


def of_tables(tables: dict[str, pd.DataFrame], held_out: Samples, spec: DatasetSpec, samples: Path) -> Iterator[tuple[str, Any]]:
    """Types that turn into others, angles that are missed, and the worst images of each prior."""
    types = TYPES[: spec.n_types]
    asked = {name: table for name, table in tables.items() if "mse" in table}
    errors = {name: table["theta_error"].where(table["reason"] == "ok").to_numpy() for name, table in asked.items()}
    yield "confusion", draw_confusion(asked, types)
    yield "angles", draw_theta_errors(errors, held_out.type, types)
    for name, table in tables.items():
        if name not in REFERENCES:
            yield f"worst_{name}", worst(name, arrays(samples / name / "heldout.safetensors")["images"], table)


def worst(name: str, images: Images, table: pd.DataFrame) -> Any:
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


def of_codes(latents: Path, held_out: Samples, index: torch.Tensor, samples: Path, priors: list[str], spec: DatasetSpec) -> Any:
    """The codes of each prior over those of held-out images: of all conditions, and of one type at about one angle.

    Of a type whose images differ where their labels do not, if there is one: its codes fill more than a point.
    """
    test, names = Latents.from_tensors(load_tensors(latents, "latents")[0]), TYPES[: spec.n_types]
    codes = held_out_codes(test, spec.seed).numpy()
    drawn = {name: arrays(samples / name / "draws.safetensors", "codes")["codes"] for name in priors}
    views = [View("All conditions", codes[index], {name: of[0] for name, of in drawn.items()}, held_out.type)]
    told = {
        name: of for name, of in drawn.items() if load_meta(samples / name / "heldout.safetensors", "samples")["conditional"]
    }  # fmt: skip
    if told:
        kind = int(np.argmax(open_types(spec.variant)[: spec.n_types]))
        middle, reach = np.mean(VARIANTS[spec.variant].theta), np.deg2rad(_AROUND)

        def chosen(types: NDArray[np.int64], theta: NDArray[np.floating]) -> NDArray[np.intp]:
            return np.flatnonzero((types == kind) & (np.abs(theta - middle) <= reach))

        aims = chosen(test.conditions.type.numpy(), test.conditions.labels[:, 1].numpy())
        rows = chosen(held_out.type, held_out.labels[:, 1])
        near = {name: np.concatenate(list(of[:, rows])) for name, of in told.items()}
        if len(aims) > 1 and len(rows):
            title = f"{names[kind].capitalize()} crystals" + (
                f" within {_AROUND}° of {np.rad2deg(middle):.0f}°" if middle else ""
            )
            views.append(View(title, codes[aims], near, np.full(len(rows) * len(next(iter(drawn.values()))), kind)))
    return draw_posterior(views, names)


def of_trainings(curves: dict[str, Path]) -> Any:
    """The training curves by model."""
    return charts.training({name: read_csv(path) for name, path in curves.items()})


def of_numbers(evaluated: Path) -> Iterator[tuple[str, Any]]:
    """The charts of the tables."""
    table = read_csv(evaluated / "table.csv")
    yield "metrics", charts.filled(charts.intervals([name for name in CHART if name in set(table["metric"])]), table)
    yield "controls", charts.filled(charts.controls(), read_csv(evaluated / "controls.csv"))
    if len(steps := read_csv(evaluated / "steps.csv")):
        yield "steps", charts.filled(charts.steps(), steps)


if __name__ == "__main__":
    run(figures, GUARD)
