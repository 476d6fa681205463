"""A measure with its uncertainty: bootstrap replicates over conditions, Wilson intervals, and a paired permutation test.

Every method answers the same conditions, so one fixed set of bootstrap weights serves them all: replicate b of two methods
weighs the same conditions alike, and the difference of their replicates is the paired bootstrap of their difference
(Efron and Tibshirani 1993, chapter 8). Conditions are drawn within their type, for the list of conditions is stratified.
"""

import math
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


def bootstrap_weights(strata: NDArray[np.int64], replicates: int, seed: int = 0) -> Weights:
    """How often each of n rows is drawn in each replicate, [B, n]: with replacement, within its stratum."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(strata),)))
    weights = np.zeros((replicates, len(strata)), dtype=np.float32)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        weights[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)), size=replicates)
    return weights


def mean(values: NDArray[np.floating], weights: Weights) -> Estimate:
    """The mean of `values` [n]; rows that are NaN are left out."""
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        return Estimate(math.nan)
    values, weights = values[known], weights[:, known]
    totals = weights.sum(axis=1, dtype=np.float64)
    replicates = np.divide(weights @ values, totals, out=np.full(len(weights), values.mean()), where=totals > 0)
    return Estimate.bootstrapped(float(values.mean()), replicates)


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
    return Estimate(p, low, high, mean(hits.astype(np.float64), weights).replicates)


def quantile(values: NDArray[np.floating], q: float, weights: Weights) -> Estimate:
    """The q-quantile of `values` [n]: the smallest value that at least a share q of the rows does not exceed; NaN left out."""
    known = np.isfinite(values)
    if not known.any():
        return Estimate(math.nan)
    order = np.argsort(values[known], kind="stable")
    ordered = np.asarray(values, dtype=np.float64)[known][order]
    n = len(ordered)
    value = ordered[min(n - 1, math.ceil(q * n - 1e-9) - 1)] if q > 0 else ordered[0]
    cumulated = np.cumsum(weights[:, known][:, order], axis=1, dtype=np.float64)
    # At least one half, so that rows before the first one drawn are passed also where q is 0.
    rank = (cumulated < np.maximum(q * cumulated[:, -1:] - 1e-9, 0.5)).sum(axis=1).clip(max=n - 1)
    return Estimate.bootstrapped(float(value), np.where(cumulated[:, -1] > 0, ordered[rank], value))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two methods on the same conditions, with the paired bootstrap's interval."""
    paired = len(a.replicates) == len(b.replicates)
    return Estimate.bootstrapped(a.value - b.value, a.replicates - b.replicates if paired else _NONE)


def sign_flip_test(contributions: Floats, permutations: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of sum(contributions) = 0, where swapping two methods on condition i flips the sign of row i.

    The paired permutation test: p = (1 + number of sign patterns at least as extreme) / (1 + permutations) (Phipson and
    Smyth 2010), so never 0. Rows that are NaN are left out.
    """
    return float(sign_flip_tests(contributions[:, None], permutations, seed)[0])


def sign_flip_tests(contributions: Floats, permutations: int = 10_000, seed: int = 0) -> Floats:
    """`sign_flip_test` of each column of `contributions` [N, K], with the same swaps for all: [K]."""
    contributions = np.nan_to_num(contributions, nan=0.0)
    # A sum that equals the observed one but for rounding is as extreme.
    least = np.abs(contributions.sum(axis=0)) - 1e-12 * np.abs(contributions).sum(axis=0)
    rng = np.random.default_rng(seed)
    extreme = np.zeros(contributions.shape[1])
    for start in range(0, permutations, 1000):
        signs = rng.integers(0, 2, size=(min(1000, permutations - start), len(contributions)), dtype=np.int8) * 2.0 - 1.0
        extreme += np.sum(np.abs(signs @ contributions) >= least, axis=0)
    return np.asarray((1 + extreme) / (1 + permutations))
