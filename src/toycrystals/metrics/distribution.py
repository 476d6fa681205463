"""Distances between two sets of numbers or of feature vectors.

They compare sets, not pairs, so they do not see two images with swapped conditions; they stand beside the measures of `truth`,
never alone. On matched conditions (row i of both sets answers condition i) real-against-real floors are small, and one
bootstrap weight per condition serves both sets.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toycrystals.metrics.base import ALL, JudgedImages, Measures, on_images
from toycrystals.metrics.intervals import Estimate, Floats, Weights, with_ones

Array = NDArray[np.floating]
_CHUNK = 64


def wasserstein1(
    a: Array, b: Array, weights: Weights | None = None, weights_b: Weights | None = None, period: float | None = None
) -> Estimate:
    """Wasserstein-1 distance between numbers a [n] and b [m], in their unit: the integral of |F_a - F_b|.

    Of angles modulo a `period`, that of |F_a - F_b - c| around the circle, with c the median of F_a - F_b (Rabin, Delon and
    Gousseau 2011). `weights` [B, n] serve both sets where `weights_b` [B, m] are not given: row i of both then answers condition
    i. Without weights there is no interval; without points the distance is NaN.
    """
    if len(a) == 0 or len(b) == 0:
        return Estimate(np.nan)
    if weights is None:
        weights, weights_b = (np.empty((0, len(rows)), dtype=np.float32) for rows in (a, b))
    elif weights_b is None:
        check_paired(a, b)
    counts_a, counts_b = with_ones(weights), with_ones(weights if weights_b is None else weights_b)
    points = np.concatenate([a, b]).astype(np.float64)
    points = points if period is None else points % period
    order = np.argsort(points, kind="stable")
    end = points[order[-1]] if period is None else points[order[0]] + period
    gaps = np.diff(points[order], append=end)
    totals_a, totals_b = (counts.sum(axis=1, keepdims=True, dtype=np.float64) for counts in (counts_a, counts_b))
    areas = []
    for part in (slice(start, start + _CHUNK) for start in range(0, len(counts_a), _CHUNK)):
        # Whole numbers up to the last step, so that equal distributions are at distance 0 and not 1e-17.
        masses = np.concatenate([counts_a[part] * totals_b[part], -counts_b[part] * totals_a[part]], axis=1)
        steps = np.cumsum(masses.take(order, axis=1), axis=1)
        if period is not None:
            steps -= _median(steps, gaps)
        areas.append(np.abs(steps, out=steps) @ gaps)
    return Estimate.ratio(np.concatenate(areas), (totals_a * totals_b)[:, 0])


def _median(steps: Floats, gaps: Floats) -> Floats:
    """The median [B, 1] of each row of a step function: values [B, n] on intervals of length `gaps` [n]."""
    order = np.argsort(steps, axis=1)
    reached = np.cumsum(gaps[order], axis=1)
    middle = np.argmax(reached >= 0.5 * reached[:, -1:], axis=1)[:, None]
    return np.take_along_axis(steps, np.take_along_axis(order, middle, axis=1), axis=1)


@on_images("distribution", frechet_pca="lower")
def frechet_of_images(judged: JudgedImages) -> Measures:
    """The Frechet distance between the features of the images and of the held-out images."""
    return {("frechet_pca", ALL): Estimate(frechet(judged.real_features, judged.features))}


def frechet(x: Array, y: Array) -> float:
    """Squared Frechet distance between normals fitted to features x and y [n, D], in the square of their unit.

    |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), as in FID (Heusel et al. 2017). It has no interval: it is biased upwards
    by about 1 / n, so that it is to be compared with that of as many real images, and a bootstrap would be biased once more.
    """
    check_paired(x, y)
    (mu_x, root_x), (mu_y, root_y) = _normal(x.astype(np.float64)), _normal(y.astype(np.float64))
    # With S = R R^T, the eigenvalues of (S_x S_y)^(1/2) are the singular values of R_x^T R_y: no root of a rounding error.
    overlap = np.linalg.svd(root_x.T @ root_y, compute_uv=False).sum()
    return max(0.0, float(np.sum((mu_x - mu_y) ** 2) + np.sum(root_x**2) + np.sum(root_y**2) - 2 * overlap))


def _normal(x: Floats) -> tuple[Floats, Floats]:
    """Mean [D] of rows [n, D], and a root R [D, D] of their covariance R R^T."""
    mu = x.mean(axis=0)
    eigenvalues, eigenvectors = np.linalg.eigh((x - mu).T @ (x - mu) / max(len(x) - 1, 1))
    return mu, eigenvectors * np.sqrt(eigenvalues.clip(min=0))


def check_paired(*sets: NDArray[Any]) -> None:
    """Refuse sets that do not have a row for each condition."""
    if len({len(rows) for rows in sets}) != 1:
        raise ValueError(f"sets must have equally many rows, one for each condition: got {[len(rows) for rows in sets]}")
