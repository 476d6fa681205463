"""The smallest fault that each metric sees: ``python -m tests.power`` measures faults of growing size on the finished project.

Real images and codes with a fault are measured like a method, in as many draws. A fault is seen from the size on at which this
and all greater ones are told from real draws, p corrected as in table.csv, for all measures of images and codes together. It
writes the tables of docs/metrics.md.
"""

import itertools
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter, shift

from stages.bench import Bench
from toycrystals.core.artifacts import load_tensors
from toycrystals.core.pool import in_threads
from toycrystals.core.tables import read_csv
from toycrystals.crystals.conditions import nearest_conditions
from toycrystals.crystals.dataset import redraw
from toycrystals.crystals.lattice import TYPES
from toycrystals.metrics.base import rows_of
from toycrystals.metrics.comparison import tidy
from toycrystals.models.latents import encode
from toycrystals.models.vae import VAE, Posterior
from toycrystals.results.catalogue import label_of
from toycrystals.runtime.config import load_params

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- power: python -m tests.power -->\n", "<!-- end of power -->"
IMAGE_METRICS = (
    "matched_psnr", "theta_error_median", "aspect_w1", "mmd2_pca", "frechet_pca", "precision_pca", "recall_pca", "coverage_pca",
    "auc_pca", "copy_image",
)  # fmt: skip
CODE_METRICS = ("latent_auc_boosted", "latent_auc_aggregate", "latent_mmd2", "copy_code")
_RECTANGULAR = TYPES.index("rectangular")


def bench() -> Bench:
    """What measures the finished project."""
    params = load_params(ROOT / "params.yaml")
    paths = [
        ROOT / name
        for name in ("data/heldout.safetensors", "models/vae.safetensors", "data/latents", "data/samples", "data/floor")
    ]
    return Bench(*paths, params.metrics, 100, params.seed)


def of_images(judge: Bench) -> dict[str, tuple[str, list[float], Callable[[int, float], np.ndarray]]]:
    """Fault -> its unit, sizes in ascending order, and the images of a draw with a fault of that size."""
    spec, held_out = judge.judge.spec, judge.judge.held_out
    theta, span = held_out.factors[:, 1], float(held_out.factors[:, 1].max())

    def real(draw: int) -> np.ndarray:
        return redraw(spec, held_out.type, held_out.factors, 1000 + draw).images

    def turned(draw: int, angle: float | np.ndarray) -> np.ndarray:
        factors = held_out.factors.copy()
        factors[:, 1] += np.float32(angle)
        return redraw(spec, held_out.type, factors, 1000 + draw).images

    def blurred(draw: int, sigma: float) -> np.ndarray:
        smooth = gaussian_filter(real(draw)[:, 0].astype(np.float32), sigma=(0.0, sigma, sigma))
        return (smooth * (255.0 / smooth.max(axis=(1, 2), keepdims=True)) + 0.5).astype(np.uint8)[:, None]

    def shifted(draw: int, pixels: float) -> np.ndarray:
        moved = shift(real(draw)[:, 0].astype(np.float32), (0.0, 0.0, pixels), order=3, mode="nearest")
        return (moved.clip(0.0, 255.0) + 0.5).astype(np.uint8)[:, None]

    def lost_angles(draw: int, share: float) -> np.ndarray:
        width = share * span
        lost = (theta >= span / 3) & (theta < span / 3 + width)
        return turned(draw, np.where(lost, -width, 0.0))

    def lost_type(draw: int, share: float) -> np.ndarray:
        types = held_out.type.copy()
        last = np.flatnonzero(types == spec.n_types - 1)
        types[np.random.default_rng(draw).choice(last, round(share * len(last)), replace=False)] = 0
        return redraw(spec, types, held_out.factors, 1000 + draw).images

    def collapsed(draw: int, size: float) -> np.ndarray:
        images = real(draw)
        for k in np.unique(held_out.type):
            rows = np.flatnonzero(held_out.type == k)
            # The nearest angle of the few that are left.
            order = rows[np.argsort(theta[rows], kind="stable")]
            kept = max(1, round(len(rows) / size))
            source = order[(np.arange(len(rows)) * kept // len(rows)) * len(rows) // kept]
            images[order] = images[source]
        return images

    return {
        "blur, σ": ("px", [0.1, 0.15, 0.2, 0.3, 0.5, 1.0], blurred),
        "shift": ("px", [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0], shifted),
        "turn": ("°", [0.001, 0.002, 0.005, 0.02, 0.1, 0.5, 2.0], lambda d, s: turned(d, np.deg2rad(s))),
        "angles lost, of their range": ("%", [0.5, 1.0, 2.0, 5.0, 10.0, 20.0], lambda d, s: lost_angles(d, s / 100)),
        "one type lost, of its requests": ("%", [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0], lambda d, s: lost_type(d, s / 100)),
        "each image made, times": ("", [2.0, 4.0, 8.0, 16.0, 64.0], collapsed),
    }


def of_codes(judge: Bench) -> dict[str, tuple[str, list[float], Callable[[int, float], torch.Tensor]]]:
    """As `of_images`, of codes."""
    training, held_out = judge.codes_of_data
    spec, asked, device = judge.judge.spec, judge.judge.held_out, torch.device("cpu")
    vae = VAE.restore(*load_tensors(judge.vae, "VAE"), judge.vae)
    conditions = held_out.conditions
    rectangular = (conditions.type == _RECTANGULAR).nonzero().squeeze(1)
    near = torch.zeros(len(conditions), 512, dtype=torch.long)
    for rows, found in nearest_conditions(conditions, training.conditions, spec.variant, 512):
        near[rows] = found

    def generator(draw: int) -> torch.Generator:
        return torch.Generator().manual_seed(draw)

    @cache
    def posterior(draw: int) -> Posterior:
        """Of real images that nothing else is measured on."""
        images = redraw(spec, asked.type, asked.factors, 1000 + draw).images
        return encode(vae, torch.from_numpy(images), conditions, device).posterior

    def widened(draw: int, factor: float) -> torch.Tensor:
        p = posterior(draw)
        return Posterior(p.mu, p.logvar + 2.0 * np.log(factor)).sample(generator(draw))

    def shifted(draw: int, share: float) -> torch.Tensor:
        p = posterior(draw)
        return p.sample(generator(draw)) + share * (p.logvar / 2).exp()

    def lost_mode(draw: int, share: float) -> torch.Tensor:
        """Rectangular codes whose first principal coordinate is the largest are answered with those of other draws."""
        p, other = posterior(draw), posterior(draw + judge.draws)
        mu, logvar = p.mu.clone(), p.logvar.clone()
        centred = mu[rectangular] - mu[rectangular].mean(dim=0)
        score = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]
        lost = rectangular[score >= score.quantile(1.0 - share)]
        mu[lost], logvar[lost] = other.mu[lost], other.logvar[lost]
        return Posterior(mu, logvar).sample(generator(draw))

    def copied(draw: int, share: float) -> torch.Tensor:
        chance = generator(draw)
        codes = posterior(draw).sample(chance)
        rows = rectangular[torch.rand(len(rectangular), generator=chance) < share]
        codes[rows] = training.posterior.mu[near[rows, 0]]
        return codes

    return {
        "posterior's deviation too small": ("%", [1.0, 2.0, 5.0, 10.0, 20.0, 50.0], lambda d, s: widened(d, 1 - s / 100)),
        "codes shifted, in deviations": ("", [0.02, 0.05, 0.1, 0.2, 0.5], shifted),
        "rectangular codes lost at one end": ("%", [1.0, 2.0, 5.0, 10.0, 20.0], lambda d, s: lost_mode(d, s / 100)),
        "rectangular codes copied": ("%", [1.0, 2.0, 5.0, 10.0, 20.0], lambda d, s: copied(d, s / 100)),
    }


def smallest(judge: Bench) -> pd.DataFrame:
    """Fault, metric, and the smallest size that is seen (NaN: none), `first` where it is the smallest that was tried."""
    draws, conditional = range(judge.draws), True
    faults = {"images": of_images(judge), "codes": of_codes(judge)}
    weights = judge.weights[:0]
    # A size of 0 is no fault.
    tasks = [
        (kind, fault, size, draw)
        for kind, of in faults.items()
        for fault, (_, sizes, _) in of.items()
        for size in [*([0.0] if fault in ("turn", "codes shifted, in deviations") else []), *sizes]
        for draw in draws
    ]
    judge.code_judge(conditional)

    def measure(task: tuple[str, str, float, int]) -> dict:
        kind, fault, size, draw = task
        made = faults[kind][fault][2](draw, size)
        return judge.judge(made, weights, answers=True)[0] if kind == "images" else judge.code_judge(conditional)(made, weights)

    done = dict(zip(tasks, in_threads("power", measure, tasks), strict=True))
    sound = {
        "images": [done["codes", "codes shifted, in deviations", 0.0, draw] for draw in draws],
        "codes": [done["images", "turn", 0.0, draw] for draw in draws],
    }
    floor = pd.concat([
        read_csv(judge.floor / "draws.csv"),
        *(rows_of("real", judge.measure_redraw(conditional, draw)).assign(draw=draw) for draw in range(1, 1 + judge.floor_draws)),
    ])  # fmt: skip
    rows = []
    for kind, of in faults.items():
        for fault, (unit, sizes, _) in of.items():
            tables = [tidy("x", [done[kind, fault, size, d] | sound[kind][d] for d in draws], floor) for size in sizes]
            for metric in IMAGE_METRICS if kind == "images" else CODE_METRICS:
                told = [bool((t[(t["metric"] == metric) & (t["type"] == "all")]["p_holm"] < 0.05).any()) for t in tables]
                seen = len(list(itertools.takewhile(bool, told[::-1])))
                rows.append((kind, fault, unit, metric, sizes[-seen] if seen else np.nan, seen == len(sizes)))
    return pd.DataFrame(rows, columns=["kind", "fault", "unit", "metric", "size", "first"])


def table_of(found: pd.DataFrame) -> str:
    """Both tables in Markdown."""
    parts = []
    for kind, metrics in (("images", IMAGE_METRICS), ("codes", CODE_METRICS)):
        rows = found[found["kind"] == kind]
        lines = [
            f"| {kind} with a fault | " + " | ".join(label_of(m).label for m in metrics) + " |",
            "|---" * (1 + len(metrics)) + "|",
        ]
        for fault in dict.fromkeys(rows["fault"]):
            of = rows[rows["fault"] == fault].set_index("metric")
            sizes = [(of.loc[m, "size"], of.loc[m, "first"]) for m in metrics]
            cells = ["–" if np.isnan(size) else f"≤ {size:g}" if first else f"{size:g}" for size, first in sizes]
            unit = of["unit"].iloc[0]
            lines.append(f"| {fault}{', ' + unit if unit else ''} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Rewrite the tables of docs/metrics.md in place."""
    path = ROOT / "docs/metrics.md"
    tables = table_of(smallest(bench()))
    print(tables)
    path.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: BEGIN + tables + END, path.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
