"""Uncertainty against explicit resampling and scipy's Wilson interval; intervals cover what they should."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from toycrystals.metrics.intervals import (
    Estimate,
    averaged,
    bootstrap_weights,
    difference,
    mean,
    quantile,
    share,
)

B = 200


def one_stratum(n):
    return np.zeros(n, dtype=np.int64)


def drawn(values, weights):
    """The rows of each replicate, one by one."""
    return [np.repeat(values, counts.astype(int)) for counts in weights]


def central(value, replicates):
    low, high = np.quantile(np.asarray(replicates) - np.mean(replicates), [0.025, 0.975])
    return value + low, value + high


@given(counts=st.lists(st.integers(1, 12), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_strata_keep_their_counts_in_every_replicate(counts, seed):
    strata = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    weights = bootstrap_weights(strata, 9, seed)
    assert weights.shape == (9, len(strata))
    assert weights.dtype == np.float32
    for k, count in enumerate(counts):
        assert (weights[:, strata == k].sum(axis=1) == count).all()
    assert (weights == weights.round()).all()
    assert (weights >= 0).all()


def test_rows_are_drawn_as_often_as_multinomial_ones():
    n, replicates = 40, 4000
    weights = bootstrap_weights(one_stratum(n), replicates).astype(float)
    variance = 1 - 1 / n
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 * math.sqrt(variance / replicates)
    np.testing.assert_allclose(weights.var(axis=0), variance, rtol=0.2)
    covariance = np.cov(weights.T)[np.triu_indices(n, 1)]
    assert covariance.mean() == pytest.approx(-1 / n, rel=0.05)


def test_weights_are_a_function_of_the_strata_and_the_seed():
    strata = np.arange(30) % 3
    first = bootstrap_weights(strata, 5, seed=1)
    np.testing.assert_array_equal(first, bootstrap_weights(strata, 5, seed=1))
    assert not np.array_equal(first, bootstrap_weights(strata, 5, seed=2))
    assert len(np.unique(first, axis=0)) == 5


def test_no_replicates_are_weights_without_rows():
    assert bootstrap_weights(np.arange(30) % 3, 0).shape == (0, 30)
    assert bootstrap_weights(one_stratum(0), 7).shape == (7, 0)


def test_means_are_those_of_the_rows_drawn_one_by_one():
    values = np.random.default_rng(0).exponential(size=50)
    weights = bootstrap_weights(np.arange(50) % 3, B)
    estimate = mean(values, weights)
    expected = [rows.mean() for rows in drawn(values, weights)]
    assert estimate.value == pytest.approx(values.mean())
    np.testing.assert_allclose(estimate.replicates, expected)
    np.testing.assert_allclose((estimate.low, estimate.high), central(values.mean(), expected))


@pytest.mark.parametrize("q", [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
@pytest.mark.parametrize("n", [1, 2, 20, 41])
def test_quantiles_are_those_of_the_rows_drawn_one_by_one(q, n):
    values = np.random.default_rng(n).exponential(size=n)
    weights = bootstrap_weights(one_stratum(n), B)
    estimate = quantile(values, weights, q)
    expected = [np.quantile(rows, q, method="inverted_cdf") for rows in drawn(values, weights)]
    assert estimate.value == np.quantile(values, q, method="inverted_cdf")
    np.testing.assert_array_equal(estimate.replicates, expected)
    np.testing.assert_allclose((estimate.low, estimate.high), central(estimate.value, expected))


@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=30), q=st.sampled_from([0.0, 0.125, 0.5, 0.625, 1.0]))
@settings(deadline=None, max_examples=50)
def test_quantiles_of_equal_values_are_those_of_numpy(values, q):
    values = np.array(values, dtype=np.float32)
    weights = bootstrap_weights(one_stratum(len(values)), 5)
    estimate = quantile(values, weights, q)
    assert estimate.value == np.quantile(values, q, method="inverted_cdf")
    expected = [np.quantile(rows, q, method="inverted_cdf") for rows in drawn(values, weights)]
    np.testing.assert_array_equal(estimate.replicates, expected)


def test_quantiles_of_many_rows_are_exact():
    """Counts of ten thousand rows add up in float32: no rank may be lost."""
    values = np.random.default_rng(0).permutation(10_000).astype(np.float64)
    weights = bootstrap_weights(one_stratum(10_000), 20)
    for q in (0.05, 0.5, 0.9, 0.95):
        expected = [np.quantile(rows, q, method="inverted_cdf") for rows in drawn(values, weights)]
        np.testing.assert_array_equal(quantile(values, weights, q).replicates, expected)


@pytest.mark.parametrize("measure", [mean, lambda values, weights: quantile(values, weights, 0.5)], ids=["mean", "quantile"])
def test_rows_that_are_nan_are_left_out(measure):
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=60), bootstrap_weights(np.arange(60) % 2, B)
    known = rng.random(60) < 0.7
    estimate = measure(np.where(known, values, np.nan), weights)
    expected = measure(values[known], weights[:, known])
    assert 30 < known.sum() < 55
    assert estimate[:3] == expected[:3]
    np.testing.assert_array_equal(estimate.replicates, expected.replicates)
    assert not math.isclose(estimate.value, measure(values, weights).value)


@pytest.mark.parametrize("measure", [mean, lambda values, weights: quantile(values, weights, 0.5)], ids=["mean", "quantile"])
def test_a_replicate_without_any_known_row_says_nothing(measure):
    """Its place is taken by the value itself, which widens no interval."""
    values = np.array([7.0, 8.0, 9.0, np.nan, np.nan])
    weights = np.array([[0, 0, 0, 2, 3], [5, 0, 0, 0, 0], [0, 0, 4, 1, 0]], dtype=np.float32)
    assert measure(values, weights).replicates.tolist() == [8.0, 7.0, 9.0]


@pytest.mark.parametrize("values", [[], [np.nan] * 3])
def test_nothing_known_has_no_value_and_no_interval(values):
    values, weights = np.array(values), bootstrap_weights(one_stratum(len(values)), B)
    for estimate in (mean(values, weights), quantile(values, weights, 0.5)):
        assert np.isnan(estimate[:3]).all()
        assert len(estimate.replicates) == 0


def test_no_hits_and_no_misses_have_no_share():
    estimate = share(np.empty(0, dtype=np.bool_), bootstrap_weights(one_stratum(0), B))
    assert np.isnan(estimate[:3]).all()
    assert len(estimate.replicates) == 0


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (1, 50), (3, 10), (25, 50), (999, 1000)])
def test_shares_have_the_interval_of_wilson(hits, n):
    weights = bootstrap_weights(one_stratum(n), B)
    row = np.arange(n) < hits
    estimate = share(row, weights)
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert estimate.value == hits / n
    np.testing.assert_allclose((estimate.low, estimate.high), expected, rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(estimate.replicates, [rows.mean() for rows in drawn(row, weights)])
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


def test_without_replicates_only_shares_have_an_interval():
    weights, values = bootstrap_weights(one_stratum(20), 0), np.arange(20.0)
    for estimate, expected in [(mean(values, weights), 9.5), (quantile(values, weights, 0.5), 9.0)]:
        assert estimate.value == expected
        assert np.isnan(estimate[1:3]).all()
        assert len(estimate.replicates) == 0
    half = share(values < 10, weights)
    np.testing.assert_allclose(half[1:3], binomtest(10, 20).proportion_ci(method="wilson"))
    gap = difference(mean(values, weights), mean(values**2, weights))
    assert gap.value == pytest.approx(9.5 - (values**2).mean())
    assert np.isnan(gap[1:3]).all()


def test_bootstrapped_intervals_lie_about_the_value_and_not_about_the_replicates():
    """A distance whose replicates are all too large by 5."""
    replicates = 15.0 + np.random.default_rng(0).normal(size=5000)
    estimate = Estimate.bootstrapped(10.0, replicates)
    np.testing.assert_allclose((estimate.low, estimate.high), (10 - 1.96, 10 + 1.96), atol=0.1)
    np.testing.assert_array_equal(estimate.replicates, replicates)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_has_no_interval(value):
    estimate = Estimate.bootstrapped(value, np.arange(10.0))
    assert np.isnan(estimate[1:3]).all()
    assert len(estimate.replicates) == 0


@pytest.mark.parametrize(
    ("draw", "measure", "truth"),
    [
        (lambda rng: rng.normal(3.0, 2.0, 60), mean, 3.0),
        (lambda rng: rng.exponential(size=60), mean, 1.0),
        (lambda rng: rng.exponential(size=101), lambda values, weights: quantile(values, weights, 0.5), math.log(2)),
        (lambda rng: rng.random(60) < 0.05, share, 0.05),
    ],
    ids=["normal mean", "exponential mean", "median", "share"],
)
def test_intervals_cover_the_truth_about_19_times_in_20(draw, measure, truth):
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(400):
        values = draw(rng)
        estimate = measure(values, bootstrap_weights(one_stratum(len(values)), B, seed))
        covered.append(estimate.low <= truth <= estimate.high)
    # Small skewed samples are covered a little less often than promised; 1 standard deviation of the share is 0.011.
    assert 0.89 < np.mean(covered) < 0.985


def test_differences_between_strata_do_not_widen_the_interval():
    """Conditions are stratified: the mean of strata that are far apart is known as well as that of each."""
    strata = np.arange(400) % 2
    values = 100.0 * strata + np.random.default_rng(0).normal(size=400)
    within, across = (mean(values, bootstrap_weights(labels, 500)) for labels in (strata, one_stratum(400)))
    assert within.high - within.low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)
    assert across.high - across.low == pytest.approx(2 * 1.96 * 50 / math.sqrt(400), rel=0.15)


def test_the_difference_of_two_alike_methods_is_known_better_than_either():
    rng = np.random.default_rng(0)
    a = rng.normal(5.0, 1.0, 300)
    b = a + rng.normal(0.2, 0.05, 300)
    weights = bootstrap_weights(one_stratum(300), 500)
    first, second = mean(a, weights), mean(b, weights)
    gap = difference(first, second)
    assert gap.value == pytest.approx(-0.2, abs=0.02)
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * 0.05 / math.sqrt(300), rel=0.2)
    assert gap.high - gap.low < 0.1 * min(first.high - first.low, second.high - second.low)
    assert gap.low < -0.2 < gap.high < 0
    np.testing.assert_allclose(gap.replicates, mean(a - b, weights).replicates)


def test_a_difference_turns_its_sign_with_its_sides():
    weights, (a, b) = bootstrap_weights(one_stratum(40), B), np.random.default_rng(0).normal(size=(2, 40))
    there, back = (difference(mean(x, weights), mean(y, weights)) for x, y in [(a, b), (b, a)])
    np.testing.assert_allclose([there.value, there.low, there.high], [-back.value, -back.high, -back.low])


def test_replicates_that_do_not_pair_give_no_interval():
    """Those of one estimate stand for other draws than those of the other."""
    values = np.arange(40.0)
    gap = difference(*(mean(values * k, bootstrap_weights(one_stratum(40), 100 * k)) for k in (1, 2)))
    assert gap.value == pytest.approx(-19.5)
    assert np.isnan(gap[1:3]).all()


def test_draws_are_averaged_with_their_replicates():
    weights, values = bootstrap_weights(one_stratum(40), B), np.random.default_rng(0).normal(size=(3, 40))
    estimates = [mean(row, weights) for row in values]
    found = averaged(estimates)
    together = mean(values.mean(axis=0), weights)
    assert found.value == pytest.approx(together.value)
    np.testing.assert_allclose(found.replicates, together.replicates)
    # The interval is that of one draw, wider than that of their mean.
    assert found.high - found.low == pytest.approx(np.mean([one.high - one.low for one in estimates]))
    assert found.high - found.low > together.high - together.low
