"""Maximum mean discrepancy between two sets of features whose rows are paired by condition (Gretton et al. 2012, equation 4).

MMD^2 = sum over i != j of h_ij / (n (n - 1)), h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), where k is the
mean over bandwidths s of exp(-d^2 / (2 s^2)). No term compares a condition with itself, so between two draws for the same
conditions the mean is 0; the estimator that keeps k(x_i, y_i), two alike images, lies below. Single values may be negative.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from toycrystals.metrics.distribution import check_paired
from toycrystals.metrics.intervals import Estimate, Floats, Weights

Array = NDArray[np.floating]
Kernel = NDArray[np.float32]
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_REFERENCE_ROWS = 1024
# Four blocks of kernel values of this side stay in a core's cache.
_TILE = 256
# Arithmetic below the smallest normal float32, 1e-38, is a hundred times slower: no exponent and no fourth power goes there.
_LOWEST, _TINY = -80.0, np.float32(1e-9)


def bandwidths(features: Array) -> Floats:
    """Bandwidths in ratios of 2 about the median distance between rows of the reference features [n, D], in ascending order.

    Taken from the reference once, they measure every method by one kernel.
    """
    rows = np.linspace(0, len(features) - 1, min(len(features), _REFERENCE_ROWS)).astype(int)
    distances = pdist(np.asarray(features[rows], dtype=np.float64))
    distances = distances[distances > 0]
    # The median of distinct rows; rows that are all equal have no scale, and any will do.
    return np.array(_FACTORS) * (np.median(distances) if len(distances) else 1.0)


def mmd2(x: Array, y: Array, bandwidths: Floats, weights: Weights) -> Estimate:
    """Unbiased MMD^2 between features x and y [n, D], whose rows answer the same n conditions; NaN for fewer than two.

    `bandwidths` are as the function of that name gives them: each twice the last. A replicate is w^T H w over i != j, divided
    by (sum w)^2 - sum w^2, for w in `weights` [B, n]: a condition that is drawn twice is not compared with itself.
    """
    check_paired(x, y)
    n = len(x)
    w = np.concatenate([np.ones((1, n), dtype=np.float32), weights])
    sums = np.zeros(len(w))
    kernel = _MeanGaussian((x, y), (x, y), bandwidths)
    for rows in _tiles(0, n):
        products = np.zeros((len(w), rows.stop - rows.start), dtype=np.float32)
        for columns in _tiles(rows.start, n):
            (xx, xy), (yx, yy) = kernel(rows, columns)
            h = xx + yy - xy - yx
            # H is symmetric, so the tiles below the diagonal are left out and the others count twice.
            if columns == rows:
                np.fill_diagonal(h, 0.0)
                h *= 0.5
            products += w[:, columns] @ h.T
        sums += 2 * np.einsum("bi,bi->b", w[:, rows], products, dtype=np.float64)
    pairs = w.sum(axis=1, dtype=np.float64) ** 2 - np.sum(w**2, axis=1, dtype=np.float64)
    if pairs[0] == 0:
        return Estimate(np.nan)
    values = np.divide(sums, pairs, out=np.full(len(w), sums[0] / pairs[0]), where=pairs > 0)
    return Estimate.bootstrapped(values[0], values[1:])


def mmd2_contrast(a: Array, b: Array, r: Array, bandwidths: Floats) -> Floats:
    """What each condition adds to MMD^2(a, r) - MMD^2(b, r): [n] numbers whose sum is that difference.

    Swapping rows a_i and b_i, for any set of i, flips the signs of just those numbers, as `intervals.sign_flip_test` needs.
    With g_i(u) = sum over j != i of k(u, a_j) + k(u, b_j) - 2 k(u, r_j), number i is (g_i(a_i) - g_i(b_i)) / (n (n - 1)).
    """
    check_paired(a, b, r)
    n = len(a)
    g = np.zeros((2, n))
    kernel = _MeanGaussian((a, b), (a, b, r), bandwidths)
    for rows in _tiles(0, n):
        for columns in _tiles(0, n):
            for side, (to_a, to_b, to_r) in enumerate(kernel(rows, columns)):
                terms = to_a + to_b - 2 * to_r
                if columns == rows:
                    np.fill_diagonal(terms, 0.0)
                g[side, rows] += terms.sum(axis=1, dtype=np.float64)
    contributions: Floats = (g[0] - g[1]) / max(n * (n - 1), 1)
    return contributions


def _tiles(start: int, n: int) -> Iterator[slice]:
    for first in range(start, n, _TILE):
        yield slice(first, min(first + _TILE, n))


class _MeanGaussian:
    """The kernel between tiles of rows of several sets of features.

    Exponents come from one float64 product, [u, -|u|^2 / 2, 1] [v, 1, -|v|^2 / 2]^T = -|u - v|^2 / 2, about the common mean:
    in float32 the difference of large norms would drown the small distances. Values are float32.
    """

    def __init__(self, left: tuple[Array, ...], right: tuple[Array, ...], bandwidths: Floats) -> None:
        ordered = np.sort(np.asarray(bandwidths, dtype=np.float64))
        if len(ordered) == 0 or ordered[0] <= 0 or not np.allclose(ordered[1:], 2 * ordered[:-1]):
            raise ValueError(f"bandwidths must be positive, each twice the last: got {bandwidths}")
        self.count, widest = len(ordered), ordered[-1]
        centre = np.mean([np.mean(features, axis=0, dtype=np.float64) for features in right], axis=0)
        u = (np.stack(left) - centre) / widest  # (sets, n, D)
        v = (np.stack(right) - centre) / widest
        norm_u, norm_v = (np.sum(points**2, axis=2, keepdims=True) for points in (u, v))
        self.left = np.concatenate([u, -0.5 * norm_u, np.ones_like(norm_u)], axis=2)
        self.right = np.concatenate([v, np.ones_like(norm_v), -0.5 * norm_v], axis=2)

    def __call__(self, rows: slice, columns: slice) -> Kernel:
        """Values [left sets, right sets, rows, columns]."""
        u, v = self.left[:, rows], self.right[:, columns]
        exponent = u.reshape(-1, u.shape[2]) @ v.reshape(-1, v.shape[2]).T
        power = np.exp(exponent.clip(_LOWEST, 0.0).astype(np.float32))
        total = power.copy()
        for _ in range(self.count - 1):
            # Half the bandwidth is the fourth power.
            np.maximum(power, _TINY, out=power)
            np.square(power, out=power)
            np.square(power, out=power)
            total += power
        total /= self.count
        values: Kernel = total.reshape(len(u), u.shape[1], len(v), v.shape[1]).transpose(0, 2, 1, 3)
        return values
