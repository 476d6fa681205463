"""Images against the exact lattice that was asked for.

Two images are compared by mean squared error or by zero-mean normalised correlation (NCC). The aspect of a requested rectangular
crystal is free: a grid is searched first, and then refined by rendering ever closer lattices, so that no answer is rounded to it.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from toycrystals.crystals.dataset import exact_errors
from toycrystals.crystals.lattice import LATTICES

Floats = NDArray[np.float64]
_CHUNK = 256
# The step of the aspect at which the error about its minimum is a parabola: atoms move by less than a third of their width.
_PARABOLA = 0.01


def unit_images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, 1, H, W] -> float32 [N, H, W] in [0, 1]."""
    return np.divide(images[:, 0], 255.0, dtype=np.float32)


def standardise(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, H, W] -> [N, H W] of mean 0 and norm 1, so that a dot product is the NCC; a constant image gives zeros."""
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    centred = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-4), dtype=np.float32)


@dataclass(frozen=True)
class Matched:
    """How images compare with the exact image of their own condition: [N] each; `aspect` is the best one."""

    mse: Floats
    aspect: Floats


def match_requested(
    images: NDArray[np.float32], types: NDArray[np.int64], spacing: Floats, theta: Floats, aspect_step: float,
    known: Floats | None = None,
) -> Matched:  # fmt: skip
    """Compare images [N, H, W] with the perfect crystal of the requested type [N], spacing [N] and theta [N].

    A rectangular request leaves the aspect open: the aspect in its range with the smallest error is taken. Where it is `known`
    already from the image [N] (NaN: not known), it is searched for only nearby.
    """
    mse, aspect = np.empty(len(images)), np.ones(len(images))
    known = np.full(len(images), np.nan) if known is None else known

    def match(k: int, rows: NDArray[np.intp]) -> None:
        if not LATTICES[k].has_aspect:
            mse[rows] = exact_errors(images[rows], k, spacing[rows], theta[rows], aspect[rows])
            return
        near = np.isfinite(known[rows])
        for part, candidates in (
            (rows[near], _near(grid(LATTICES[k].aspect_range, aspect_step), known[rows[near]])),
            (rows[~near], np.tile(grid(LATTICES[k].aspect_range, aspect_step), (np.sum(~near), 1))),
        ):
            exact = partial(exact_errors, images[part], k, spacing[part], theta[part])
            aspect[part], mse[part] = _best_aspect(exact, candidates, LATTICES[k].aspect_range, aspect_step)

    by_type(match, types)
    return Matched(mse, aspect)


def _near(values: Floats, known: Floats) -> Floats:
    """Of ascending `values` [G], the five around each of `known` [n]: [n, 5]."""
    nearest = np.abs(values - known[:, None]).argmin(axis=1)
    return np.asarray(values[(nearest[:, None] + np.arange(-2, 3)).clip(0, len(values) - 1)])


def _best_aspect(
    error: Callable[[Floats], Floats], candidates: Floats, bounds: tuple[float, float], step: float
) -> tuple[Floats, Floats]:
    """The aspect [n] of least error, and that error: `candidates` [n, G], closer neighbours, then the vertex of a parabola.

    About its minimum the error is quadratic in the aspect; two vertices bring it to within 1e-4 of the best aspect, mostly 1e-5.
    """
    best, least = np.empty(len(candidates)), np.full(len(candidates), np.inf)

    def take(aspects: Floats) -> None:
        aspects = aspects.clip(*bounds)
        found = error(aspects)
        better = found < least
        best[better], least[better] = aspects[better], found[better]

    for candidate in candidates.T:
        take(candidate)
    while step > _PARABOLA:
        step /= 2
        for candidate in (best - step, best + step):
            take(candidate)
    for _ in range(2):
        middle, centre = best.copy(), least.copy()
        # Beyond the bounds too: that the vertex lies there is told by both sides.
        left, right = error(middle - step), error(middle + step)
        curvature = np.maximum(left - 2 * centre + right, 1e-30)
        take(middle + (0.5 * step * (left - right) / curvature).clip(-step, step))
        step /= 8
    return best, least


def grid(bounds: tuple[float, float], step: float) -> Floats:
    """Evenly spaced values from one bound to the other, at most `step` apart."""
    low, high = bounds
    # 0.6 / 0.02 is a little more than 30.
    return np.linspace(low, high, math.ceil((high - low) / step - 1e-9) + 1)


def by_type(work: Callable[[int, NDArray[np.intp]], None], types: NDArray[np.int64]) -> None:
    """Call `work` with a type and rows of that type until every row was seen, in as many threads as PyTorch has."""
    jobs = [
        (int(k), rows)
        for k in np.unique(types)
        for rows in np.array_split(np.flatnonzero(types == k), -(-np.sum(types == k) // _CHUNK))
    ]
    with ThreadPoolExecutor(torch.get_num_threads()) as executor:
        list(executor.map(work, *zip(*jobs, strict=True)))


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error against a peak of 1; 99 at most, for JSON knows no infinity."""
    return float(min(99.0, -10.0 * np.log10(max(mse, 1e-12))))
