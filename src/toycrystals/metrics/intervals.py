"""A measure with its uncertainty: bootstrap replicates over conditions, Wilson intervals, and permutation tests.

Every method answers the same conditions, so one fixed set of bootstrap weights serves them all: replicate b of two methods
weighs the same conditions alike, and the difference of their replicates is the paired bootstrap of their difference
(Efron and Tibshirani 1993, chapter 8). Conditions are drawn within their type, for the list of conditions is stratified.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
LEVEL = 0.95
_Z = 1.959963984540054  # the normal quantile of LEVEL
_NONE: Floats = np.empty(0)


class Estimate(NamedTuple):
    """A value, the ends of its 95 % interval, and its bootstrap replicates [B] (none where it has no interval: NaN ends)."""

    value: float
    low: float = math.nan
    high: float = math.nan
    replicates: Floats = _NONE

    @classmethod
    def bootstrapped(cls, value: float, replicates: Floats) -> "Estimate":
        """The value plus the central 95 % of the replicates' deviations from their own mean.

        Centred, since distances between samples grow when points repeat: replicates of a Frechet or Wasserstein distance lie
        above the value itself, and their raw percentiles would exclude it.
        """
        replicates = np.asarray(replicates, dtype=np.float64)
        if len(replicates) == 0 or not np.isfinite(value):
            return cls(float(value))
        low, high = value + np.quantile(replicates - replicates.mean(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(value), float(low), float(high), replicates)

    @classmethod
    def ratio(cls, sums: NDArray[np.floating], totals: NDArray[np.floating]) -> "Estimate":
        """`sums` / `totals` [1 + B] by `with_ones`, of which the first is the value; replicates that drew nothing have it too."""
        if totals[0] == 0:
            return cls(math.nan)
        values = np.divide(sums, totals, out=np.full(len(sums), sums[0] / totals[0]), where=totals > 0, dtype=np.float64)
        return cls.bootstrapped(values[0], values[1:])


def bootstrap_weights(strata: NDArray[np.int64], replicates: int, seed: int = 0) -> Weights:
    """How often each of n rows is drawn in each replicate, [B, n]: with replacement, within its stratum."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(strata),)))
    weights = np.zeros((replicates, len(strata)), dtype=np.float32)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        weights[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)), size=replicates)
    return weights


def with_ones(weights: Weights) -> Weights:
    """Weights [1 + B, n] whose first row counts every row once."""
    return np.concatenate([np.ones((1, weights.shape[1]), dtype=np.float32), weights])


def mean(values: NDArray[np.floating], weights: Weights) -> Estimate:
    """The mean of `values` [n]; rows that are NaN are left out."""
    known = ~np.isnan(values)
    if not known.all():
        values, weights = values[known], weights[:, known]
    counts = with_ones(weights)
    return Estimate.ratio(counts @ values.astype(np.float64), counts.sum(axis=1))


def share(hits: NDArray[np.bool_], weights: Weights) -> Estimate:
    """The share of `hits` [n] with Wilson's interval (1927), which has a width also where every row hits, or none does."""
    n = len(hits)
    if n == 0:
        return Estimate(math.nan)
    p = float(hits.mean())
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    # At the ends the formula gives 0 and 1 only up to rounding.
    low, high = (0.0 if p == 0.0 else middle - half), (1.0 if p == 1.0 else middle + half)
    counts = with_ones(weights)
    # Sums of whole numbers, exact in float32.
    return Estimate(p, low, high, Estimate.ratio(counts @ hits.astype(np.float32), counts.sum(axis=1)).replicates)


def quantile(values: NDArray[np.floating], weights: Weights, q: float) -> Estimate:
    """The q-quantile of `values` [n]: the smallest value that at least a share q of the rows does not exceed; NaN left out."""
    order = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]
    if len(order) == 0:
        return Estimate(math.nan)
    # Counts, so float32 is exact.
    cumulated = np.cumsum(with_ones(weights.take(order, axis=1)), axis=1)
    # At least one half, so that rows before the first one drawn are passed also where q is 0.
    least = np.maximum(q * cumulated[:, -1:].astype(np.float64) - 1e-9, 0.5)
    found = values[order][(cumulated < least).sum(axis=1).clip(max=len(order) - 1)].astype(np.float64)
    return Estimate.bootstrapped(found[0], np.where(cumulated[1:, -1] > 0, found[1:], found[0]))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two methods on the same conditions, with the paired bootstrap's interval."""
    paired = len(a.replicates) == len(b.replicates)
    return Estimate.bootstrapped(a.value - b.value, a.replicates - b.replicates if paired else _NONE)


def sign_flip_test(contributions: Floats, permutations: int = 10_000, seed: int = 0) -> tuple[Floats, Floats]:
    """Whether sum(contributions) = 0, where swapping two methods on condition i flips the sign of row i: p [K] and reach [K].

    The paired permutation test of each column of `contributions` [N, K], with the same swaps for all: p = (1 + number of sign
    patterns at least as extreme) / (1 + permutations), two-sided (Phipson and Smyth 2010), so never 0. It is below 0.05 where the
    sum is beyond +- reach. Numbers that are NaN are left out.
    """
    contributions = np.nan_to_num(contributions, nan=0.0)
    rng, sums = np.random.default_rng(seed), []
    for start in range(0, permutations, 1000):
        signs = rng.integers(0, 2, size=(min(1000, permutations - start), len(contributions)), dtype=np.int8) * 2.0 - 1.0
        sums.append(np.abs(signs @ contributions))
    flipped = np.concatenate(sums)
    # A sum that equals the observed one but for rounding is as extreme.
    least = np.abs(contributions.sum(axis=0)) - 1e-12 * np.abs(contributions).sum(axis=0)
    p_values: Floats = (1.0 + np.sum(flipped >= least, axis=0)) / (1 + permutations)
    # So many patterns may be as extreme where p is below 1 - LEVEL.
    most = math.ceil((1 - LEVEL) * (1 + permutations) - 1 - 1e-9) - 1
    reach: Floats = -np.partition(-flipped, most, axis=0)[most] if most >= 0 else np.full_like(least, np.inf)
    return p_values, reach


def redraw_test(values: Floats, draws: Floats, *, two_sided: NDArray[np.bool_]) -> Floats:
    """p-values [K] that `values` [D, K] are no larger than `draws` [n, K], or, where `two_sided` [K], no different.

    The exact permutation test of the mean: the share of the ways to choose D of the n + D rows whose mean is at least as
    extreme. It holds whatever the distribution, for if both are draws of the same, all rows are alike. Of more than 20,000 ways,
    10,000 are drawn. NaN where a number is.
    """
    rows = np.concatenate([values, draws])
    # About the mean of all, so that rounding is as small as the differences are.
    centred = rows - rows.mean(axis=0)
    means = subset_means(centred, len(values))
    means = np.where(two_sided, np.abs(means), means)
    # The first way is the observed one.
    slack = np.maximum(1e-9 * np.abs(centred).max(axis=0), 1e-11 * np.abs(rows).max(axis=0))
    p_values: Floats = np.where(np.isnan(means[0]), np.nan, np.mean(means >= means[0] - slack, axis=0))
    return p_values


def subset_means(rows: Floats, d: int) -> Floats:
    """The means of every d of the rows [n, K], the first d first: [ways, K]; of more than 20,000 ways 10,000 are drawn."""
    n = len(rows)
    d = min(d, n)
    if math.comb(n, d) <= 20_000:
        ways = np.array(list(itertools.combinations(range(n), d)))
    else:
        rng = np.random.default_rng(0)
        ways = np.concatenate([np.arange(d)[None], np.stack([rng.permutation(n)[:d] for _ in range(9_999)])])
    chosen = np.zeros((len(ways), n))
    np.put_along_axis(chosen, ways, 1.0, axis=1)
    return np.asarray(chosen @ rows / d)


def holm(p_values: Floats) -> Floats:
    """p-values [K] corrected for their number (Holm 1979); those that are NaN are no tests.

    The chance that any of K true hypotheses falls below a level is at most that level, however the tests depend on each other.
    """
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return corrected


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates of a method's draws, with the mean of their replicates; the interval is that of one draw."""
    value, low, high = (float(np.mean(part)) for part in zip(*(one[:3] for one in estimates), strict=True))
    if not math.isfinite(value):
        return Estimate(value)
    return Estimate(value, low, high, np.mean([one.replicates for one in estimates], axis=0))
