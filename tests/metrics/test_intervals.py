"""Uncertainty against explicit resampling, scipy's Wilson interval and all sign patterns; intervals cover what they should."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import binomtest, kstest, permutation_test

from toycrystals.metrics.intervals import (
    Estimate,
    averaged,
    bootstrap_weights,
    difference,
    holm,
    mean,
    quantile,
    redraw_test,
    share,
    sign_flip_test,
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


def exact_p(contributions):
    signs = np.array(list(itertools.product([-1, 1], repeat=len(contributions))))
    return np.mean(np.abs(signs @ contributions) >= abs(contributions.sum()) - 1e-9)


def p_of(*arguments, **options):
    return sign_flip_test(*arguments, **options)[0]


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("n", [1, 4, 10])
def test_p_values_are_those_of_all_sign_patterns(shift, n):
    contributions = np.random.default_rng(n).normal(shift, 1.0, n)
    p = exact_p(contributions)
    assert p_of(contributions) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 10_000) + 1e-4)


def test_p_values_of_equal_contributions_count_ties():
    """8 times 1: only all signs alike are as extreme, and they are so exactly."""
    assert exact_p(np.ones(8)) == 2 / 256
    assert p_of(np.full(8, 0.1)) == pytest.approx(2 / 256, abs=0.0045)


def test_p_values_are_never_zero_and_those_of_equal_methods_are_one():
    assert p_of(np.ones(200), permutations=99) == 0.01
    assert p_of(np.zeros(200), permutations=99) == 1.0
    assert p_of(np.empty(0), permutations=99) == 1.0


@pytest.mark.parametrize("permutations", [1, 999, 1000, 1001, 2500])
def test_exactly_so_many_permutations_are_counted(permutations):
    assert p_of(np.ones(300), permutations) == pytest.approx(1 / (1 + permutations))
    assert p_of(np.zeros(3), permutations) == 1.0


def test_p_values_know_neither_the_side_nor_the_unit():
    contributions = np.random.default_rng(0).normal(0.2, 1.0, 50)
    p = p_of(contributions, 2000)
    assert 0.01 < p < 0.9
    assert p_of(-contributions, 2000) == p
    assert p_of(contributions * 2.0**-60, 2000) == p
    assert p_of(contributions, 2000, seed=1) == pytest.approx(p, abs=0.07)
    assert len({p_of(contributions, 2000, seed) for seed in range(5)}) > 1


def test_p_values_of_methods_that_do_not_differ_are_uniform():
    rng = np.random.default_rng(0)
    found = np.array([p_of(rng.standard_t(3, size=40), 199, seed) for seed in range(600)])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert (found <= level).mean() == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 600))


def test_rows_that_are_nan_are_no_evidence():
    contributions = np.random.default_rng(0).normal(size=12)
    p = exact_p(contributions)
    assert 0.05 < p < 0.95
    assert p_of(np.append(contributions, np.nan)) == pytest.approx(p, abs=0.03)
    assert p_of(np.full(5, np.nan)) == 1.0


def test_columns_are_tested_one_by_one_with_the_same_swaps():
    columns = np.random.default_rng(0).normal(0.1, 1.0, (40, 3))
    assert list(p_of(columns, 500)) == [p_of(column, 500) for column in columns.T]


def test_a_sum_beyond_the_reach_is_one_that_is_told():
    """The interval of a difference, +- reach about it, leaves out 0 where p is below 0.05."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        contributions = rng.normal(0.25, 1.0, 60)
        p, reach = sign_flip_test(contributions, 999)
        assert (abs(contributions.sum()) > reach) == (p < 0.05)


def mean_difference(x, y, axis):
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("draws", [2, 3])
def test_redraw_p_values_are_those_of_scipy(two_sided, shift, draws):
    rng = np.random.default_rng(int(10 * shift) + 50)
    values, real = rng.normal(shift, 1.0, (draws, 2)), rng.normal(size=(9, 2))
    found = redraw_test(values, real, two_sided=np.array([two_sided] * 2))
    # For equal sizes of the parts, a mean that is further from that of all is one that is further from that of the others.
    for column, p in enumerate(found):
        data, greater = (values[:, column], real[:, column]), "greater"
        exact = permutation_test(data, mean_difference, n_resamples=np.inf, alternative=greater, vectorized=True)
        if two_sided:
            away = np.abs(exact.null_distribution) >= abs(exact.statistic) - 1e-9
            assert p == pytest.approx(away.mean())
        else:
            assert p == pytest.approx(exact.pvalue)


def test_redraws_that_never_differ_are_alike_and_a_value_off_them_is_not():
    real = np.full((20, 3), 0.1)
    values = np.array([[0.1, 0.1 + 1e-6, 0.1 - 1e-6]] * 3)
    found = redraw_test(values, real, two_sided=np.array([False, False, True]))
    np.testing.assert_allclose(found, [1.0, 1 / 1771, 1 / 1771])
    assert np.isnan(redraw_test(np.array([[np.nan]]), np.zeros((5, 1)), two_sided=np.array([False])))


def test_of_very_many_ways_some_are_drawn():
    rng = np.random.default_rng(0)
    values, real = rng.normal(size=(8, 400)), rng.normal(size=(20, 400))
    found = redraw_test(values, real, two_sided=np.zeros(400, dtype=np.bool_))
    assert kstest(found, "uniform").pvalue > 0.01
    assert redraw_test(values + 9.0, real, two_sided=np.zeros(400, dtype=np.bool_)).max() <= 1e-3


def test_the_redraw_test_keeps_its_level_on_skewed_distributions_and_students_bound_does_not():
    rng, n = np.random.default_rng(1), 4000
    one, real = rng.lognormal(0.0, 1.5, (1, n)), rng.lognormal(0.0, 1.5, (20, n))
    alarms = np.mean(redraw_test(one, real, two_sided=np.zeros(n, dtype=np.bool_)) < 0.05)
    assert alarms == pytest.approx(1 / 21, abs=4 * math.sqrt(0.05 * 0.95 / n))
    bound = real.mean(axis=0) + stdtrit(19, 0.95) * real.std(axis=0, ddof=1) * math.sqrt(1 + 1 / 20)
    assert np.mean(one[0] > bound) > 0.06


def test_holm_corrects_for_the_number_of_tests_that_are_left():
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04, 0.03, 0.5])), [0.04, np.nan, 0.09, 0.09, 0.5])
    assert holm(np.array([0.9, 0.8])).max() == 1.0
    assert len(holm(np.empty(0))) == 0


def test_holm_alarms_in_a_family_as_rarely_as_one_test():
    p = np.random.default_rng(0).random((2000, 30))
    alarms = np.mean([holm(row).min() < 0.05 for row in p])
    assert alarms == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 2000))


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
