"""Permutation tests against all sign patterns and scipy's, also where distributions are skewed; Holm's correction."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import kstest, permutation_test

from toycrystals.metrics.intervals import (
    holm,
    redraw_test,
    sign_flip_test,
)


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
