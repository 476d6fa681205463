"""Arrays to matplotlib figures. Images share one grey scale from 0 to 1; nothing is interpolated."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from toycrystals.dataset import VARIANTS, Samples, VariantName
from toycrystals.lattice import TYPES

Images = NDArray[np.uint8]  # [N, 1, H, W]
_CELL = 0.95  # inches an image
_DPI = 150
LABELS = {
    "real": "real",
    "reconstruction": "VAE reconstruction",
    "standard": "N(0, I)",
    "mop": "mixture of posteriors",
    "diffusion": "latent diffusion",
}
_COLOURS = {"real": "0.55", "reconstruction": "0.3", "standard": "#d1495b", "mop": "#edae49", "diffusion": "#00798c"}


def method_label(method: str) -> str:
    """A method's name as figures and tables show it."""
    return LABELS.get(method, method)


def condition_label(lattice_type: int, labels: NDArray[np.float32], variant: VariantName) -> str:
    """What was asked for: type name, and what the variant shows of angle, spacing, vacancies and jitter."""
    spacing, theta, vacancy, jitter = labels
    visible = VARIANTS[variant].visible
    lines = [TYPES[lattice_type] + (f" {np.rad2deg(theta):.0f}°" if visible[1] else "")]
    if visible[0]:
        lines += _disorder_lines(spacing, vacancy, jitter)
    return "\n".join(lines)


def factor_label(factors: NDArray[np.float32], variant: VariantName) -> str:
    """The whole truth of one sample, as far as the variant lets it vary."""
    spacing, theta, vacancy, jitter, aspect = factors
    lines = [f"θ {np.rad2deg(theta):.0f}°" + (f", b/a {aspect:.2f}" if aspect != 1.0 else "")]
    if variant == "full":
        lines += _disorder_lines(spacing, vacancy, jitter)
    return "\n".join(lines)


def _disorder_lines(spacing: float, vacancy: float, jitter: float) -> list[str]:
    return [f"a {spacing:.1f} px", f"vac {vacancy:.0%}, jit {jitter:.1f} px"]


def image_grid(rows: Sequence[Images], row_labels: Sequence[str], captions: Sequence[Sequence[str]]) -> Figure:
    """Rows of images, each with a label on its left and, where `captions` has some for it, one above every image."""
    n_columns = max(len(row) for row in rows)
    left = 0.1 + 0.078 * max(len(label) for label in row_labels)
    gaps = [0.08 + 0.125 * max(caption.count("\n") + 1 for caption in row) if row else 0.04 for row in captions]
    gaps = [gap + (0.08 if r and captions[r] else 0.0) for r, gap in enumerate(gaps)]
    width, height = left + n_columns * (_CELL + 0.04) + 0.05, sum(gaps) + len(rows) * _CELL + 0.05
    figure = Figure(figsize=(width, height), dpi=_DPI)
    bottom = height
    for row, label, caption, gap in zip(rows, row_labels, captions, gaps, strict=True):
        bottom -= gap + _CELL
        figure.text((left - 0.07) / width, (bottom + _CELL / 2) / height, label, ha="right", va="center", fontsize=8)
        for c, image in enumerate(row):
            x = left + c * (_CELL + 0.04)
            axes = figure.add_axes((x / width, bottom / height, _CELL / width, _CELL / height))
            axes.imshow(image[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
            if caption:
                above = (x + _CELL / 2) / width, (bottom + _CELL + 0.03) / height
                figure.text(*above, caption[c], ha="center", va="bottom", fontsize=6.5)
    return figure


def _first_of_each_type(types: NDArray[np.int64], n: int) -> NDArray[np.intp]:
    return np.concatenate([np.flatnonzero(types == k)[:n] for k in np.unique(types)])


def draw_preview(samples: Samples, variant: VariantName, columns: int = 8) -> Figure:
    """The first samples of every type, a row a type."""
    kinds = np.unique(samples.type)
    rows = [np.flatnonzero(samples.type == k)[:columns] for k in kinds]
    captions = [[factor_label(samples.factors[i], variant) for i in row] for row in rows]
    return image_grid([samples.images[row] for row in rows], [TYPES[k] for k in kinds], captions)


def draw_pairs(
    upper: tuple[str, Images],
    lower: tuple[str, Images],
    types: NDArray[np.int64],
    labels: NDArray[np.float32],
    variant: VariantName,
    columns: int = 9,
) -> Figure:
    """Two named sets of images [N, 1, H, W] for the same conditions, one above the other, a pair of rows a type."""
    rows, names, captions = [], [], []
    for k in np.unique(types):
        chosen = np.flatnonzero(types == k)[:columns]
        for name, images in (upper, lower):
            rows.append(images[chosen])
            names.append(name)
        captions += [[condition_label(int(k), labels[i], variant) for i in chosen], []]
    return image_grid(rows, names, captions)


def draw_samples(
    images: Mapping[str, Images], types: NDArray[np.int64], labels: NDArray[np.float32], variant: VariantName, per_type: int = 3
) -> Figure:
    """One column a held-out condition, one row a method."""
    chosen = _first_of_each_type(types, per_type)
    captions = [condition_label(int(types[i]), labels[i], variant) for i in chosen]
    rows = [method[chosen] for method in images.values()]
    return image_grid(rows, [method_label(name) for name in images], [captions, *([] for _ in rows[1:])])


def draw_square_grid(images: Images) -> Figure:
    """N images, as square a grid as N allows, each pixel drawn as two by two."""
    n, _, height, width = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    gap = 4
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap), 255, dtype=np.uint8)
    for i, image in enumerate(images[:, 0]):
        top, left = (k * (side + gap) + gap for k, side in zip(divmod(i, columns), (height, width), strict=True))
        sheet[top : top + height, left : left + width] = image
    figure = Figure(figsize=(sheet.shape[1] * 2 / _DPI, sheet.shape[0] * 2 / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    return figure


def draw_curves(vae: pd.DataFrame, diffusion: pd.DataFrame) -> Figure:
    """Training curves: the VAE's total loss, reconstruction and KL; the prior's loss on training and held-out latents."""
    figure = Figure(figsize=(9.0, 5.2), dpi=_DPI, layout="constrained")
    panels = figure.subplots(2, 2)
    _curve(panels[0, 0], vae, ["total"], "VAE: total loss", log=True)
    _curve(panels[0, 1], vae, ["reconstruction"], "VAE: reconstruction, mean squared error a pixel", log=True)
    _curve(panels[1, 0], vae, ["kl"], "VAE: KL, nats an image", log=False)
    _curve(panels[1, 1], diffusion, ["total", "val_total"], "diffusion prior: loss", log=True)
    return figure


def _curve(axes: Axes, table: pd.DataFrame, columns: list[str], title: str, *, log: bool) -> None:
    for column, name in zip(columns, ("training", "held out"), strict=False):
        axes.plot(table["epoch"], table[column], label=name)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_yscale("log" if log else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axes.legend(fontsize=8, frameon=False)


def draw_metrics(metrics: Mapping[str, Mapping[str, float]]) -> Figure:
    """Matched PSNR by type, and errors on a logarithmic axis: a mark a method, and real images as the floor of all."""
    figure = Figure(figsize=(10.0, 3.6), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _marks(left, metrics, {"matched_psnr": "all types", **{f"matched_psnr_{name}": name for name in TYPES}})
    left.set_title("matched PSNR, dB: right is better", loc="left", fontsize=9)
    # What is missing from a correlation of 1 is read on the same axis as distances.
    errors = {method: {**row, "decorrelation": 1.0 - row["nearest_ncc"]} for method, row in metrics.items()}
    names = {
        "decorrelation": "1 - correlation with\nthe nearest lattice",
        "aspect_w1": "aspect W1",
        "mass_w1": "mass W1",
        "fft_radial_l2": "radial spectrum L2",
    }
    _marks(right, errors, names)
    right.set_xscale("log")
    right.set_title("distances from the truth: left is better", loc="left", fontsize=9)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def _marks(axes: Axes, metrics: Mapping[str, Mapping[str, float]], names: Mapping[str, str]) -> None:
    """A line a metric of `names` that any method has; on it, a mark a method."""
    shown = [name for name in names if any(name in row for row in metrics.values())]
    for method, row in metrics.items():
        values = [row.get(name, np.nan) for name in shown]
        style = {"marker": "|", "markersize": 16, "markeredgewidth": 2} if method == "real" else {"marker": "o", "markersize": 7}
        colour = _COLOURS.get(method)
        axes.plot(values, range(len(shown)), linestyle="none", color=colour, label=method_label(method), alpha=0.9, **style)  # type: ignore[arg-type]
    axes.set_yticks(range(len(shown)), [names[name] for name in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write a figure in the format of its suffix; a PNG's bytes hold no date and no version."""
    metadata: dict[str, Any] = {"Software": None} if str(path).endswith(".png") else {}
    figure.savefig(path, metadata=metadata)
