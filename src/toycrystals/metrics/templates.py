"""The lattices of a coarse grid over all that a variant can have, and those most like an image: where refinement starts.

Images and templates are compared as thumbnails: atoms are wider than a pixel, so a quarter of the pixels tells lattices apart
as well, and beyond the central 64 pixels the grid would have to be finer than refinement needs.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from toycrystals.crystals.dataset import exact_images
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.matching import by_type, grid, standardise

Floats = NDArray[np.float64]
_CROP, _THUMBNAIL = 64, 32
_CHUNK = 256
_SPACING_STEP = 0.04
# Degrees and aspect: no finer where the spacing is free, for the grid has 22 times as many lattices there.
_COARSE_STEPS = (2.0, 0.04)


def thumbnails(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images [N, H, H] -> their centres, cut to 64 pixels and averaged over 2 x 2 where they have more than 32: [N, P]."""
    size = images.shape[-1]
    if size > _CROP:
        start = (size - _CROP) // 2
        images = images[:, start : start + _CROP, start : start + _CROP]
    if images.shape[-1] > _THUMBNAIL:
        even = images.shape[-1] // 2 * 2
        pairs = images[:, 0:even:2] + images[:, 1:even:2]
        images = pairs[:, :, 0:even:2] + pairs[:, :, 1:even:2]
    return standardise(images)


class Hits(NamedTuple):
    """Of C columns, each a type at a spacing: `type` [C], the best NCC [N, C], its lattice [N, C, 3]: spacing, theta, aspect."""

    type: NDArray[np.int64]
    ncc: NDArray[np.float32]
    lattice: Floats


class Templates:
    """Exact lattices of the first `n_types` types: `theta_step` degrees by `aspect_step`, and 4 % in spacing.

    Angles cover a whole symmetry period, whatever part of it the data uses: a lattice at an angle never seen is still one.
    """

    def __init__(self, variant: str, n_types: int, image_size: int, theta_step: float, aspect_step: float) -> None:
        low, high = VARIANTS[variant].spacing
        spacings = np.geomspace(low, high, round(math.log(high / low) / _SPACING_STEP) + 1)
        if low < high:
            theta_step, aspect_step = max(theta_step, _COARSE_STEPS[0]), max(aspect_step, _COARSE_STEPS[1])
        columns = [
            np.array(list(itertools.product([spacing], np.arange(0.0, kind.period - 1e-9, np.deg2rad(theta_step)), aspects)))
            for kind, aspects in ((kind, grid(kind.aspect_range, aspect_step)) for kind in LATTICES[:n_types])
            for spacing in spacings
        ]
        self.type = np.repeat(np.arange(n_types), len(spacings))  # [C]
        self.ends = np.cumsum([len(column) for column in columns])  # [C]
        self.lattice = np.concatenate(columns)  # [G, 3]
        types = np.repeat(self.type, np.diff(self.ends, prepend=0))
        self.pixels = torch.from_numpy(_render(types, self.lattice, min(image_size, _CROP)))  # [G, P]

    def search(self, images: NDArray[np.float32]) -> Hits:
        """The best templates of images [N, H, H]."""
        ncc = np.empty((len(images), len(self.type)), dtype=np.float32)
        best = np.empty(ncc.shape, dtype=np.int64)
        starts = [0, *self.ends[:-1].tolist()]
        for rows in (slice(i, i + _CHUNK) for i in range(0, len(images), _CHUNK)):
            scores = torch.from_numpy(thumbnails(images[rows])) @ self.pixels.T
            for c, (start, end) in enumerate(zip(starts, self.ends.tolist(), strict=True)):
                value, index = scores[:, start:end].max(dim=1)
                ncc[rows, c], best[rows, c] = value.numpy(), start + index.numpy()
        return Hits(self.type, ncc, self.lattice[best])


def _render(types: NDArray[np.int64], lattices: Floats, size: int) -> NDArray[np.float32]:
    """Thumbnails of the exact crystals of `types` [G] and `lattices` [G, 3]: [G, P]."""
    pixels = np.empty((len(types), thumbnails(np.zeros((1, size, size), dtype=np.float32)).size), dtype=np.float32)

    def render(k: int, rows: NDArray[np.intp]) -> None:
        spacing, theta, aspect = lattices[rows].T
        pixels[rows] = thumbnails(exact_images(k, spacing, theta, aspect, size))

    by_type(render, types)
    return pixels
