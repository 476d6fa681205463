"""Grids of images: they share one grey scale from 0 to 1, and nothing is interpolated."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from toycrystals.dataset import VARIANTS, Samples, VariantName
from toycrystals.figures.style import DPI, method_label
from toycrystals.lattice import TYPES

Images = NDArray[np.uint8]  # [N, 1, H, W]
_CELL = 0.95  # inches an image
_GAP = 0.04  # inches between them


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


def image_grid(
    rows: Sequence[Images], row_labels: Sequence[str], captions: Sequence[Sequence[str]], *, below: bool = False
) -> Figure:
    """Rows of images, each with a label on its left and, where `captions` has some for it, one above (or `below`) each image."""
    n_columns = max(len(row) for row in rows)
    left = 0.1 + 0.078 * max(len(label) for label in row_labels)
    gaps = [0.08 + 0.125 * max(caption.count("\n") + 1 for caption in row) if row else _GAP for row in captions]
    gaps = [gap + (0.08 if r and captions[r] else 0.0) for r, gap in enumerate(gaps)]
    width, height = left + n_columns * (_CELL + _GAP) + 0.05, sum(gaps) + len(rows) * _CELL + 0.05
    figure = Figure(figsize=(width, height), dpi=DPI)
    bottom = height
    for row, label, caption, gap in zip(rows, row_labels, captions, gaps, strict=True):
        bottom -= gap + _CELL
        base = bottom + (gap - _GAP if below else 0.0)
        figure.text((left - 0.07) / width, (base + _CELL / 2) / height, label, ha="right", va="center", fontsize=8)
        for c, image in enumerate(row):
            x = left + c * (_CELL + _GAP)
            axes = figure.add_axes((x / width, base / height, _CELL / width, _CELL / height))
            axes.imshow(image[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
            if caption:
                edge, side = (base - 0.03, "top") if below else (base + _CELL + 0.03, "bottom")
                figure.text((x + _CELL / 2) / width, edge / height, caption[c], ha="center", va=side, fontsize=6.5)
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


def worst_caption(psnr: float, theta_error: float) -> str:
    """How bad an image is: dB, and degrees off the requested angle (NaN: it shows no lattice)."""
    return f"{psnr:.1f} dB\n" + ("no lattice" if np.isnan(theta_error) else f"{theta_error:.2g}° off")


def draw_worst(truth: Images, images: Images, captions: Sequence[str], label: str = "sample") -> Figure:
    """The images of a method that miss their truth most, [16, 1, H, W] each: pairs of rows of eight, the caption below."""
    rows, names, below = [], [], []
    for start in range(0, len(truth), 8):
        chosen = slice(start, start + 8)
        rows += [truth[chosen], images[chosen]]
        names += ["truth", label]
        below += [[], captions[chosen]]
    return image_grid(rows, names, below, below=True)


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
    figure = Figure(figsize=(sheet.shape[1] * 2 / DPI, sheet.shape[0] * 2 / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    return figure
