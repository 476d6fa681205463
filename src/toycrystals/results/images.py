"""Grids of images: they share one grey scale from 0 to 1, and nothing is interpolated."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from toycrystals.crystals.dataset import Samples
from toycrystals.crystals.lattice import TYPES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.results.style import method_label
from toycrystals.results.vega import DPI

Images = NDArray[np.uint8]  # [N, 1, H, W]
_CELL = 0.95  # inches an image
_GAP = 0.04  # inches between them
_SHEET_GAP = 4  # pixels between those of a sheet


def condition_label(lattice_type: int, labels: NDArray[np.float32], variant: str) -> str:
    """What was asked for: type name, and what the variant shows of angle, spacing, vacancies and jitter."""
    spacing, theta, vacancy, jitter = labels
    of_spacing, of_theta, *_ = VARIANTS[variant].visible
    angle = f" {np.rad2deg(theta):.0f}°" if of_theta else ""
    return TYPES[lattice_type] + angle + (_disorder(spacing, vacancy, jitter) if of_spacing else "")


def factor_label(factors: NDArray[np.float32], variant: str) -> str:
    """The whole truth of one sample, as far as the variant lets it vary."""
    spacing, theta, vacancy, jitter, aspect = factors
    sides = f", b/a {aspect:.2f}" if aspect != 1.0 else ""
    return f"θ {np.rad2deg(theta):.0f}°{sides}" + (_disorder(spacing, vacancy, jitter) if variant == "full" else "")


def _disorder(spacing: float, vacancy: float, jitter: float) -> str:
    return f"\na {spacing:.1f} px\nvac {vacancy:.0%}, jit {jitter:.1f} px"


def image_grid(rows: Sequence[Images], row_labels: Sequence[str], captions: Sequence[Sequence[str]]) -> Figure:
    """Rows of images, each with a label on its left and, where `captions` has some for it, one above each image."""
    n_columns, size = max(len(row) for row in rows), rows[0].shape[-1]
    # Whole, so that all pixels are of one size.
    scale = max(1, round(_CELL * DPI / size))
    cell = scale * size / DPI
    left = 0.1 + 0.078 * max(len(label) for label in row_labels)
    gaps = [0.16 + 0.125 * max(caption.count("\n") + 1 for caption in row) if row else _GAP for row in captions]
    width, height = left + n_columns * (cell + _GAP) + 0.05, sum(gaps) + len(rows) * cell + 0.05
    figure = Figure(figsize=(width, height), dpi=DPI)
    bottom = height
    for row, label, caption, gap in zip(rows, row_labels, captions, gaps, strict=True):
        bottom -= gap + cell
        figure.text((left - 0.07) / width, (bottom + cell / 2) / height, label, ha="right", va="center", fontsize=8)
        for c, image in enumerate(row):
            x = left + c * (cell + _GAP)
            figure.figimage(image[0].repeat(scale, 0).repeat(scale, 1), x * DPI, bottom * DPI, cmap="gray", vmin=0, vmax=255)
            if caption:
                place = (x + cell / 2) / width, (bottom + cell + 0.03) / height
                figure.text(*place, caption[c], ha="center", va="bottom", fontsize=6.5)
    return figure


def _by_type(types: NDArray[np.int64], n: int) -> list[NDArray[np.intp]]:
    """Where the first n of each type are."""
    return [np.flatnonzero(types == k)[:n] for k in np.unique(types)]


def draw_preview(samples: Samples, variant: str, columns: int = 8) -> Figure:
    """The first samples of every type, a row a type."""
    rows = _by_type(samples.type, columns)
    captions = [[factor_label(samples.factors[i], variant) for i in row] for row in rows]
    return image_grid([samples.images[row] for row in rows], [TYPES[k] for k in np.unique(samples.type)], captions)


def draw_pairs(
    upper: tuple[str, Images],
    lower: tuple[str, Images],
    types: NDArray[np.int64],
    labels: NDArray[np.float32],
    variant: str,
    columns: int = 9,
) -> Figure:
    """Two named sets of images [N, 1, H, W] for the same conditions, one above the other, a pair of rows a type."""
    captions = [condition_label(int(k), label, variant) for k, label in zip(types, labels, strict=True)]
    return _pairs(upper, lower, _by_type(types, columns), captions)


def _pairs(
    upper: tuple[str, Images], lower: tuple[str, Images], rows: Sequence[NDArray[np.intp]], captions: Sequence[str]
) -> Figure:
    """Rows of images by their indices, those of `upper` with their captions and below them those of `lower`."""
    pairs = [images[row] for row in rows for _, images in (upper, lower)]
    above = [part for row in rows for part in ([captions[i] for i in row], [])]
    return image_grid(pairs, [upper[0], lower[0]] * len(rows), above)


def draw_samples(
    images: Mapping[str, Images], types: NDArray[np.int64], labels: NDArray[np.float32], variant: str, per_type: int = 3
) -> Figure:
    """One column a held-out condition, one row a method."""
    chosen = np.concatenate(_by_type(types, per_type))
    captions = [condition_label(int(types[i]), labels[i], variant) for i in chosen]
    rows = [method[chosen] for method in images.values()]
    return image_grid(rows, [method_label(name) for name in images], [captions, *([] for _ in rows[1:])])


def worst_caption(psnr: float, theta_error: float) -> str:
    """How bad an image is: dB, and degrees off the requested angle (NaN: it shows no lattice)."""
    return f"{psnr:.1f} dB\n" + ("no lattice" if np.isnan(theta_error) else f"{theta_error:.2g}° off")


def draw_worst(truth: Images, images: Images, captions: Sequence[str], label: str = "sample") -> Figure:
    """The images of a method that miss their truth most, [N, 1, H, W] each, below it: pairs of rows of eight."""
    rows = [np.arange(start, min(start + 8, len(truth))) for start in range(0, len(truth), 8)]
    return _pairs(("truth", truth), (label, images), rows, captions)


def save_sheet(images: Images, path: Path, description: str = "") -> None:
    """Write N images as a PNG, as square a sheet as N allows, each pixel as two by two; it holds `description` and no date."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    empty, gap = rows * columns - len(images), (_SHEET_GAP, 0)
    tiles = np.pad(images[:, 0], ((0, empty), gap, gap), constant_values=255)
    _, height, width = tiles.shape
    sheet = tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    sheet = np.pad(sheet, (0, _SHEET_GAP), constant_values=255).repeat(2, axis=0).repeat(2, axis=1)
    text = PngInfo()
    text.add_text("Description", description)
    Image.fromarray(sheet).save(path, "PNG", pnginfo=text if description else None)
