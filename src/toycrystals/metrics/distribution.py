"""Distances between two sets of numbers, of feature vectors or of images.

They compare sets, not pairs, so they do not see two images with swapped conditions, and `mass_w1` and `fft_radial_l2` do not
see a rotation either; they stand beside the measures of `truth`, never alone. On matched conditions (row i of both sets
answers condition i) real-against-real floors are small, and one bootstrap weight per condition serves both sets.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2

from toycrystals.metrics.intervals import Estimate, Floats, Weights

Array = NDArray[np.floating]
# A measure that costs milliseconds a replicate takes the first so many.
COSTLY_REPLICATES = 200
_CHUNK = 64


def mass_w1(a: NDArray[np.float32], b: NDArray[np.float32], weights: Weights | None = None) -> Estimate:
    """Wasserstein-1 distance between the distributions of mean pixel value in images a [N, H, W] and b [M, H, W]."""
    return wasserstein1(a.mean(axis=(1, 2), dtype=np.float64), b.mean(axis=(1, 2), dtype=np.float64), weights)


def fft_radial_l2(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square difference between the radial power profiles of two sets of images, [N, H, W] and [M, H, W]."""
    return float(np.sqrt(np.mean((radial_power(a) - radial_power(b)) ** 2)))


def radial_power(images: NDArray[np.float32]) -> Floats:
    """Mean power spectrum of images [N, H, W], averaged over rings of whole radius up to Nyquist; its sum is 1.

    Returns [min(H, W) // 2 + 1] numbers; zeros for black images, which have no profile.
    """
    height, width = images.shape[1:]
    power = np.zeros((height, width // 2 + 1))
    for part in np.array_split(images, max(1, len(images) // 512)):
        spectrum = rfft2(part)
        power += np.sum(spectrum.real**2 + spectrum.imag**2, axis=0, dtype=np.float64)
    ky, kx = np.fft.fftfreq(height, 1 / height), np.fft.rfftfreq(width, 1 / width)
    radius = np.hypot(ky[:, None], kx[None, :]).astype(int).ravel()
    # Half of the spectrum stands for the other half, but for the columns that are their own mirror image.
    count = np.where((kx == 0) | (kx == width / 2), 1.0, 2.0) * np.ones((height, 1))
    rings = np.bincount(radius, (power * count).ravel()) / np.bincount(radius, count.ravel())
    rings = rings[: min(height, width) // 2 + 1]
    total = rings.sum()
    return rings / total if total > 0 else rings


def wasserstein1(a: Array, b: Array, weights: Weights | None = None, weights_b: Weights | None = None) -> Estimate:
    """Wasserstein-1 distance between numbers a [n] and b [m], in their unit: the integral of |F_a - F_b|.

    `weights` [B, n] serve both where `weights_b` [B, m] are not given: row i of both then answers condition i. Without
    weights there is no interval; without points the distance is NaN.
    """
    return _cdf_distance(a, b, None, weights, weights_b)


def circular_wasserstein1(
    a: Array, b: Array, period: float, weights: Weights | None = None, weights_b: Weights | None = None
) -> Estimate:
    """Wasserstein-1 distance between angles a [n] and b [m] modulo `period`, in their unit; at most period / 2.

    The integral of |F_a - F_b - c| around the circle, with c the median of F_a - F_b (Rabin, Delon and Gousseau 2011).
    Weights as in `wasserstein1`.
    """
    return _cdf_distance(np.mod(a, period), np.mod(b, period), period, weights, weights_b)


def frechet(x: Array, y: Array, weights: Weights) -> Estimate:
    """Squared Frechet distance between normals fitted to features x and y [n, D], in the square of their unit.

    |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), as in FID (Heusel et al. 2017); biased upwards by about 1 / n. The
    first `COSTLY_REPLICATES` of `weights` [B, n] serve both sets.
    """
    check_paired(x, y)
    x64, y64 = x.astype(np.float64), y.astype(np.float64)
    value = _frechet(x64, y64, np.ones(len(x)))
    replicates = [_frechet(x64, y64, w) if w.any() else value for w in weights[:COSTLY_REPLICATES].astype(np.float64)]
    return Estimate.bootstrapped(value, np.array(replicates))


def sliced_wasserstein(x: Array, y: Array, directions: Array, weights: Weights) -> Estimate:
    """Sliced Wasserstein-2 distance between features x and y [n, D], in their unit (Bonneel et al. 2015).

    The root of the mean, over unit vectors `directions` [P, D], of the squared Wasserstein-2 distance between the projected
    points. The first `COSTLY_REPLICATES` of `weights` [B, n], which are whole counts, serve both sets.
    """
    check_paired(x, y)
    (order_x, x), (order_y, y) = _sorted_projections(x, directions), _sorted_projections(y, directions)
    value = _root_mean_square(x - y)
    replicates = []
    for counts in weights[:COSTLY_REPLICATES].astype(np.intp):
        # Equal ranks are matched: with every point as often as it was drawn, place by place.
        drawn_x = np.repeat(x.ravel(), counts.take(order_x).ravel())
        drawn_y = np.repeat(y.ravel(), counts.take(order_y).ravel())
        replicates.append(_root_mean_square(drawn_x - drawn_y) if counts.any() else value)
    return Estimate.bootstrapped(value, np.array(replicates))


def random_directions(dim: int, n: int, seed: int = 0) -> Floats:
    """Unit vectors [n, dim], uniform on the sphere."""
    directions = np.random.default_rng(seed).standard_normal((n, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions


def _cdf_distance(a: Array, b: Array, period: float | None, weights: Weights | None, weights_b: Weights | None) -> Estimate:
    """The integral of |F_a - F_b| over the line or, with a `period`, of |F_a - F_b - median| around the circle."""
    if len(a) == 0 or len(b) == 0:
        return Estimate(np.nan)
    if weights is not None and weights_b is None:
        check_paired(a, b)
    counts_a = _with_ones(weights, len(a))
    counts_b = _with_ones(weights if weights_b is None else weights_b, len(b))
    points = np.concatenate([a, b]).astype(np.float64)
    order = np.argsort(points, kind="stable")
    end = points[order[-1]] if period is None else points[order[0]] + period
    gaps = np.diff(points[order], append=end)
    distances = np.empty(len(counts_a))
    for start in range(0, len(counts_a), _CHUNK):
        rows = slice(start, start + _CHUNK)
        total_a, total_b = (counts[rows].sum(axis=1, keepdims=True, dtype=np.float64) for counts in (counts_a, counts_b))
        # Whole numbers up to the last step, so that equal distributions are at distance 0 and not 1e-17.
        masses = np.concatenate([counts_a[rows] * total_b, -counts_b[rows] * total_a], axis=1).take(order, axis=1)
        steps = np.cumsum(masses, axis=1)
        if period is not None:
            steps -= _median(steps, gaps)
        total = (total_a * total_b)[:, 0]
        np.divide(np.abs(steps, out=steps) @ gaps, total, out=distances[rows], where=total > 0)
        distances[rows][total == 0] = distances[0]
    return Estimate.bootstrapped(distances[0], distances[1:])


def _with_ones(weights: Weights | None, n: int) -> Weights:
    """Replicate 0 counts every row once: [1 + B, n]."""
    ones = np.ones((1, n), dtype=np.float32)
    return ones if weights is None else np.concatenate([ones, weights])


def _median(steps: Floats, gaps: Floats) -> Floats:
    """The median [B, 1] of each row of a step function: values [B, n] on intervals of length `gaps` [n]."""
    order = np.argsort(steps, axis=1)
    reached = np.cumsum(gaps[order], axis=1)
    middle = np.argmax(reached >= 0.5 * reached[:, -1:], axis=1)[:, None]
    return np.take_along_axis(steps, np.take_along_axis(order, middle, axis=1), axis=1)


def _frechet(x: Floats, y: Floats, w: Floats) -> float:
    """The squared Frechet distance of x and y [n, D] whose rows count w [n] times."""
    (mu_x, root_x, trace_x), (mu_y, root_y, trace_y) = _normal(x, w), _normal(y, w)
    # With S = R R^T, the eigenvalues of (S_x S_y)^(1/2) are the singular values of R_x^T R_y: no root of a rounding error.
    overlap = np.linalg.svd(root_x.T @ root_y, compute_uv=False).sum()
    return max(0.0, float(np.sum((mu_x - mu_y) ** 2) + trace_x + trace_y - 2 * overlap))


def _normal(x: Floats, w: Floats) -> tuple[Floats, Floats, float]:
    """Mean [D], a root R [D, D] of the covariance R R^T, and the covariance's trace."""
    total = w.sum()
    mu = w @ x / total
    centred = (x - mu) * np.sqrt(w)[:, None]
    eigenvalues, eigenvectors = np.linalg.eigh(centred.T @ centred / max(total - 1, 1))
    eigenvalues = eigenvalues.clip(min=0)
    return mu, eigenvectors * np.sqrt(eigenvalues), float(eigenvalues.sum())


def _sorted_projections(x: Array, directions: Array) -> tuple[NDArray[np.intp], Floats]:
    """Points [n, D] along each direction [P, D] in ascending order, with that order: [P, n] both."""
    projected = np.ascontiguousarray((x @ directions.T).T, dtype=np.float64)
    order = np.argsort(projected, axis=1, kind="stable")
    return order, np.take_along_axis(projected, order, axis=1)


def _root_mean_square(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def check_paired(*sets: NDArray[Any]) -> None:
    """Refuse sets that do not have a row for each condition."""
    if len({len(rows) for rows in sets}) != 1:
        raise ValueError(f"sets must have equally many rows, one for each condition: got {[len(rows) for rows in sets]}")
