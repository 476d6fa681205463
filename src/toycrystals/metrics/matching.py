"""Images against exact lattices: the one that was asked for, and the nearest there is.

Two images are compared by mean squared error or by zero-mean normalised correlation (NCC). Where a factor is free (the aspect
of a requested rectangular crystal; every factor of the nearest lattice) a grid is searched first, and then refined by
rendering ever closer lattices, so that no answer is rounded to the grid.
"""

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from toycrystals.dataset import VARIANTS, VariantName, exact_images
from toycrystals.device import available_cores
from toycrystals.lattice import LATTICES

Floats = NDArray[np.float64]
_CHUNK = 256
_TEMPLATE_PIXELS = 2**23


def unit_images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, 1, H, W] -> float32 [N, H, W] in [0, 1]."""
    return np.divide(images[:, 0], 255.0, dtype=np.float32)


def standardise(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, H, W] -> [N, H W] of mean 0 and norm 1, so that a dot product is the NCC; a constant image gives zeros."""
    flat = images.reshape(len(images), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-4), dtype=np.float32)


@dataclass(frozen=True)
class Matched:
    """How images compare with the exact image of their own condition: [N] each; `aspect` is the best one."""

    mse: Floats
    aspect: Floats


def match_requested(
    images: NDArray[np.float32], types: NDArray[np.int64], spacing: Floats, theta: Floats, aspect_step: float
) -> Matched:
    """Compare images [N, H, W] with the perfect crystal of the requested type [N], spacing [N] and theta [N].

    A rectangular request leaves the aspect open: the aspect in its range with the smallest error is taken.
    """
    mse, aspect = np.empty(len(images)), np.ones(len(images))

    def match(k: int, rows: NDArray[np.intp]) -> None:
        request = _Request(images[rows], k, spacing[rows], theta[rows])
        if LATTICES[k].has_aspect:
            aspect[rows], mse[rows] = _best_aspect(request, LATTICES[k].aspect_range, aspect_step)
        else:
            mse[rows] = request.error(aspect[rows])

    _by_type(match, types)
    return Matched(mse, aspect)


@dataclass(frozen=True)
class _Request:
    """Images [n, H, W] of one type, with the spacing [n] and theta [n] that were asked for."""

    images: NDArray[np.float32]
    type: int
    spacing: Floats
    theta: Floats

    def error(self, aspect: Floats) -> Floats:
        """Mean squared error a pixel against the exact crystals of `aspect` [n]: [n]."""
        exact = exact_images(self.type, self.spacing, self.theta, aspect, self.images.shape[-1])
        error: Floats = np.mean((exact - self.images) ** 2, axis=(1, 2), dtype=np.float64)
        return error


def _best_aspect(request: _Request, bounds: tuple[float, float], step: float) -> tuple[Floats, Floats]:
    """The aspect [n] of least error, and that error: a grid, then ever closer neighbours of the best, to a thousandth."""
    n = len(request.images)
    best, least = np.empty(n), np.full(n, np.inf)
    candidates = np.tile(grid(bounds, step), (n, 1))  # [n, G]
    while True:
        for candidate in candidates.clip(*bounds).T:
            error = request.error(candidate)
            better = error < least
            best[better], least[better] = candidate[better], error[better]
        if step < 1e-3:
            return best, least
        step /= 2
        candidates = best[:, None] + step * np.array([-1.0, 1.0])


def grid(bounds: tuple[float, float], step: float) -> Floats:
    """Evenly spaced values from one bound to the other, at most `step` apart."""
    low, high = bounds
    # 0.6 / 0.02 is a little more than 30.
    return np.linspace(low, high, math.ceil((high - low) / step - 1e-9) + 1)


@dataclass(frozen=True)
class Nearest:
    """The exact lattice most correlated with each image: type, spacing, theta (radians), aspect, and the NCC; [N] each."""

    type: NDArray[np.int64]
    spacing: Floats
    theta: Floats
    aspect: Floats
    ncc: Floats


class LatticeMatcher:
    """Finds the nearest exact lattice among all types, spacings, angles and aspects that a variant of the dataset can have.

    The grid is `theta_step` degrees by `aspect_step`, and 4 % in spacing; refinement then goes to 1/32 of it.
    """

    REFINEMENTS = 5

    def __init__(self, variant: VariantName, n_types: int, image_size: int, theta_step: float, aspect_step: float) -> None:
        self.image_size, self.types = image_size, range(n_types)
        ranges = VARIANTS[variant]
        low, high = ranges.spacing
        self.spacings = np.geomspace(low, high, round(np.log(high / low) / 0.04) + 1)
        self.steps = np.array([0.04 if low < high else 0.0, np.deg2rad(theta_step), aspect_step])
        rows = []
        for k in range(n_types):
            lattice = LATTICES[k]
            # A whole symmetry period, whatever part of it the data uses: a lattice at an angle never seen is still one.
            angles = np.arange(0.0, lattice.period - 1e-9, self.steps[1])
            rows += [(k, *rest) for rest in itertools.product(angles, grid(lattice.aspect_range, aspect_step))]
        self.grid = np.array(rows)  # [G, 3]: type, theta, aspect

    def __call__(self, images: NDArray[np.float32]) -> Nearest:
        """The nearest lattices of images [N, H, W]."""
        flat = standardise(images)
        ncc = np.full(len(images), -np.inf)
        found = np.zeros((len(images), 4))  # type, spacing, theta, aspect
        queries = torch.from_numpy(flat)
        for spacing in self.spacings:
            for part in np.array_split(self.grid, len(self.grid) * self.image_size**2 // _TEMPLATE_PIXELS + 1):
                scores, best = (queries @ torch.from_numpy(self._templates(part, spacing)).T).max(dim=1)
                better = scores.numpy() > ncc
                ncc[better] = scores.numpy()[better]
                rows = part[best.numpy()[better]]
                found[better] = np.column_stack([rows[:, 0], np.full(len(rows), spacing), rows[:, 1:]])
        self._refine(flat, found, ncc)
        types = found[:, 0].astype(np.int64)
        period = np.array([lattice.period for lattice in LATTICES])[types]
        return Nearest(types, found[:, 1], np.mod(found[:, 2], period), found[:, 3], ncc)

    def _templates(self, rows: Floats, spacing: float) -> NDArray[np.float32]:
        parts = [
            exact_images(int(k), np.full(len(part), spacing), part[:, 1], part[:, 2], self.image_size)
            for k in np.unique(rows[:, 0])
            for part in [rows[rows[:, 0] == k]]
        ]
        return standardise(np.concatenate(parts))

    def _refine(self, flat: NDArray[np.float32], found: Floats, ncc: Floats) -> None:
        """Pattern search in (spacing, theta, aspect) at ever smaller steps; changes `found` and `ncc` in place."""

        def refine(k: int, rows: NDArray[np.intp]) -> None:
            lattice, best, score = LATTICES[k], found[rows, 1:], ncc[rows]
            free = self.steps * np.array([1.0, 1.0, float(lattice.has_aspect)])
            moves = [np.array(m) for m in itertools.product(*((-1, 0, 1) if f else (0,) for f in free)) if any(m)]
            for halving in range(1, self.REFINEMENTS + 1):
                centre = best.copy()
                unit = np.column_stack([centre[:, 0], np.ones((len(rows), 2))])  # the step in spacing is relative
                for move in moves:
                    candidate = centre + unit * move * free / 2**halving
                    candidate[:, 2] = candidate[:, 2].clip(*lattice.aspect_range)
                    exact = standardise(exact_images(k, candidate[:, 0], candidate[:, 1], candidate[:, 2], self.image_size))
                    correlation = np.einsum("ij,ij->i", exact, flat[rows], dtype=np.float64)
                    better = correlation > score
                    score[better], best[better] = correlation[better], candidate[better]
            ncc[rows], found[rows, 1:] = score, best

        _by_type(refine, found[:, 0].astype(np.int64))


def _by_type(work: Callable[[int, NDArray[np.intp]], None], types: NDArray[np.int64]) -> None:
    """Call `work` with a type and rows of that type until every row was seen, in as many threads as there are cores."""
    jobs = [
        (int(k), rows)
        for k in np.unique(types)
        for rows in np.array_split(np.flatnonzero(types == k), -(-np.sum(types == k) // _CHUNK))
    ]
    with ThreadPoolExecutor(available_cores()) as executor:
        list(executor.map(work, *zip(*jobs, strict=True)))


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error against a peak of 1; 99 at most, for JSON knows no infinity."""
    return float(min(99.0, -10.0 * np.log10(max(mse, 1e-12))))
