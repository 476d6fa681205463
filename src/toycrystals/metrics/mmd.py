"""Maximum mean discrepancy between two sets of features whose rows are paired by condition (Gretton et al. 2012, equation 4).

MMD^2 = sum over i != j of h_ij / (n (n - 1)), h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), where k is the
mean over bandwidths s of exp(-d^2 / (2 s^2)). No term compares a condition with itself, so between two draws for the same
conditions the mean is 0; the estimator that keeps k(x_i, y_i), two alike images, lies below. Single values may be negative.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from toycrystals.metrics.base import ALL, JudgedCodes, JudgedImages, Measures, on_codes, on_images
from toycrystals.metrics.distribution import check_paired
from toycrystals.metrics.intervals import Estimate, Floats

Array = NDArray[np.floating]
Kernel = NDArray[np.float32]
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_REFERENCE_ROWS = 1024
# Four blocks of kernel values of this side stay in a core's cache.
_TILE = 256
# Arithmetic below the smallest normal float32, 1e-38, is a hundred times slower: no exponent and no fourth power goes there.
_LOWEST, _TINY = -80.0, np.float32(1e-9)


@on_images("distribution", mmd2_pca="lower")
def mmd2_of_images(judged: JudgedImages) -> Measures:
    """Between the features of the images and of the held-out images."""
    return {("mmd2_pca", ALL): Estimate(mmd2(judged.real_features, judged.features, judged.bandwidths))}


@on_codes("latent", latent_mmd2="lower")
def mmd2_of_codes(judged: JudgedCodes) -> Measures:
    """Between codes and held-out codes, both with their conditions."""
    kernel = bandwidths(judged.real_joint)
    return {("latent_mmd2", ALL): Estimate(mmd2(judged.real_joint, judged.joint, kernel))}


def bandwidths(features: Array) -> Floats:
    """Bandwidths in ratios of 2 about the median distance between rows of the reference features [n, D], in ascending order.

    Taken from the reference once, they measure every method by one kernel.
    """
    rows = np.linspace(0, len(features) - 1, min(len(features), _REFERENCE_ROWS)).astype(int)
    distances = pdist(np.asarray(features[rows], dtype=np.float64))
    distances = distances[distances > 0]
    # The median of distinct rows; rows that are all equal have no scale, and any will do.
    return np.array(_FACTORS) * (np.median(distances) if len(distances) else 1.0)


def mmd2(x: Array, y: Array, bandwidths: Floats) -> float:
    """Unbiased MMD^2 between features x and y [n, D], whose rows answer the same n conditions; NaN for fewer than two.

    `bandwidths` are as the function of that name gives them: each twice the last. It has no interval: where x and y are of one
    distribution, a bootstrap of it spreads sqrt(3) times too wide (the statistic is degenerate there; Arcones and Gine 1992), and
    a permutation test is exact.
    """
    check_paired(x, y)
    total, n = 0.0, len(x)
    for rows, columns, ((xx, xy), (yx, yy)) in _kernel_tiles((x, y), (x, y), bandwidths, symmetric=True):
        # H is symmetric, so the tiles below the diagonal are left out and the others count twice.
        total += (1.0 if rows == columns else 2.0) * float((xx + yy - xy - yx).sum(dtype=np.float64))
    return total / (n * (n - 1)) if n > 1 else math.nan


def mmd2_contrasts(sets: Mapping[str, Array], r: Array, bandwidths: Floats) -> dict[tuple[str, str], Floats]:
    """Of every pair (a, b) of `sets` [n, D] each, what each condition adds to MMD^2(a, r) - MMD^2(b, r): [n].

    Swapping rows a_i and b_i, for any set of i, flips the signs of just those numbers, as `intervals.sign_flip_test` needs.
    With g_i(u) = sum over j != i of k(u, a_j) + k(u, b_j) - 2 k(u, r_j), number i is (g_i(a_i) - g_i(b_i)) / (n (n - 1)).
    """
    check_paired(*sets.values(), r)
    n, right = len(r), (*sets.values(), r)

    def row_sums(x: Array) -> Floats:
        """sum over j != i of k(x_i, y_j), for all sets y: [1 + sets, n]."""
        sums = np.zeros((len(right), n))
        for rows, _, kernel in _kernel_tiles((x,), right, bandwidths):
            sums[:, rows] += np.sum(kernel[0], axis=2, dtype=np.float64)
        return sums

    with ThreadPoolExecutor(torch.get_num_threads()) as executor:
        sums = np.stack([*executor.map(row_sums, sets.values())])  # [sets, 1 + sets, n]

    def g(u: int, a: int, b: int) -> Floats:
        return np.asarray(sums[u, a] + sums[u, b] - 2 * sums[u, -1])

    pairs = {(one, other): (a, b) for (a, one), (b, other) in itertools.combinations(enumerate(sets), 2)}
    return {names: (g(a, a, b) - g(b, a, b)) / max(n * (n - 1), 1) for names, (a, b) in pairs.items()}


def _kernel_tiles(
    left: tuple[Array, ...], right: tuple[Array, ...], bandwidths: Floats, *, symmetric: bool = False
) -> Iterator[tuple[slice, slice, Kernel]]:
    """Rows, columns and kernel values, float32 [left sets, right sets, rows, columns], of all tiles; `symmetric` spares half.

    Values of a condition with itself are given as 0. Exponents come from one float64 product, [u, -|u|^2 / 2, 1]
    [v, 1, -|v|^2 / 2]^T = -|u - v|^2 / 2, about the common mean: in float32 the difference of large norms would drown the small
    distances.
    """
    widths = np.sort(np.asarray(bandwidths, dtype=np.float64))
    if len(widths) == 0 or widths[0] <= 0 or not np.allclose(widths[1:], 2 * widths[:-1]):
        raise ValueError(f"bandwidths must be positive, each twice the last: got {bandwidths}")
    centre = np.mean([np.mean(features, axis=0, dtype=np.float64) for features in right], axis=0)
    u, v = ((np.stack(sets) - centre) / widths[-1] for sets in (left, right))  # (sets, n, D)
    norm_u, norm_v = (-0.5 * np.sum(points**2, axis=2, keepdims=True) for points in (u, v))
    u = np.concatenate([u, norm_u, np.ones_like(norm_u)], axis=2)
    v = np.concatenate([v, np.ones_like(norm_v), norm_v], axis=2)
    tiles = [slice(start, start + _TILE) for start in range(0, u.shape[1], _TILE)]
    for (i, rows), (j, columns) in itertools.product(enumerate(tiles), repeat=2):
        if symmetric and j < i:
            continue
        exponent = np.concatenate(u[:, rows]) @ np.concatenate(v[:, columns]).T
        values = _mean_gaussian(exponent, len(widths)).reshape(len(u), -1, len(v), exponent.shape[1] // len(v))
        values = values.transpose(0, 2, 1, 3)
        if i == j:
            np.einsum("abii->abi", values)[:] = 0.0
        yield rows, columns, values


def _mean_gaussian(exponent: Floats, count: int) -> Kernel:
    """The mean of exp over `count` bandwidths, where `exponent` is that of the widest; float32."""
    power = np.exp(exponent.clip(_LOWEST, 0.0).astype(np.float32))
    total = power.copy()
    for _ in range(count - 1):
        # Half the bandwidth is the fourth power.
        np.maximum(power, _TINY, out=power)
        np.square(power, out=power)
        np.square(power, out=power)
        total += power
    total /= count
    return total
