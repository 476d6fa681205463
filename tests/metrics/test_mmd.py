"""MMD^2 against double loops over scikit-learn's kernel."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import kstest
from sklearn.metrics.pairwise import rbf_kernel

from toycrystals.metrics import mmd as module
from toycrystals.metrics.intervals import bootstrap_weights, redraw_test, sign_flip_test
from toycrystals.metrics.mmd import bandwidths, mmd2, mmd2_contrasts

WIDTHS = np.array([0.5, 1.0, 2.0, 4.0, 8.0])


def normal(n, dim=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def value(x, y, widths=WIDTHS):
    return mmd2(x, y, widths)


def contrast(a, b, r, widths=WIDTHS):
    return mmd2_contrasts({"a": a, "b": b}, r, widths)["a", "b"]


def kernel(x, y, widths=WIDTHS):
    return np.mean([rbf_kernel(x.astype(np.float64), y.astype(np.float64), gamma=1 / (2 * s**2)) for s in widths], axis=0)


def slow(x, y, origin, widths=WIDTHS):
    """Sum of h over all pairs of rows of different origin, over their number."""
    xx, yy, xy = kernel(x, x, widths), kernel(y, y, widths), kernel(x, y, widths)
    terms = [xx[i, j] + yy[i, j] - xy[i, j] - xy[j, i] for i in range(len(x)) for j in range(len(x)) if origin[i] != origin[j]]
    return np.mean(terms)


@pytest.mark.parametrize("n", [2, 8, 61])
@pytest.mark.parametrize("tile", [16, 256])
def test_value_follows_the_definition(n, tile, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    x, y = normal(n), 1.2 * normal(n, seed=1)
    assert value(x, y) == pytest.approx(slow(x, y, np.arange(n)), abs=1e-6)


@pytest.mark.parametrize("offset", [0, 1e3])
def test_rounding_stays_far_below_the_spread_of_the_estimate(offset):
    """On 1,000 rows MMD^2 of one distribution spreads by about 1e-4."""
    x, y = normal(1000, 64) + offset, normal(1000, 64, seed=1) + offset
    widths = bandwidths(x)
    h = kernel(x, x, widths) + kernel(y, y, widths) - kernel(x, y, widths) - kernel(y, x, widths)
    np.fill_diagonal(h, 0)
    assert value(x, y, widths) == pytest.approx(h.sum() / (1000 * 999), abs=1e-8)


@pytest.mark.parametrize("matched", [False, True])
def test_the_mean_over_draws_of_one_distribution_is_zero(matched):
    """Also where rows i of both sets share a condition, which makes them alike."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(300):
        condition = 3 * rng.standard_normal((32, 2)) if matched else np.zeros((32, 2))
        draws.append(value(*(condition + rng.standard_normal((32, 2)) for _ in range(2))))
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(300)


def test_it_is_symmetric_and_free_of_order_and_place():
    x, y = normal(100), normal(100, seed=1) * np.float32(1.5)
    order = np.random.default_rng(2).permutation(100)
    assert value(y, x) == pytest.approx(value(x, y), abs=1e-9)
    assert value(x[order], y[order]) == pytest.approx(value(x, y), abs=1e-8)
    assert value(x + 7, y + 7) == pytest.approx(value(x, y), abs=1e-6)


@pytest.mark.parametrize("change", [lambda y: y + 0.3, lambda y: y * 1.3, lambda y: np.repeat(y[:10], 40, axis=0)])
def test_it_sees_a_shift_a_spread_and_a_collapse(change):
    x, widths = normal(400), bandwidths(normal(400))
    real = np.array([[value(x, normal(400, seed=seed), widths)] for seed in range(1, 21)])
    changed = np.array([[value(x, change(normal(400, seed=seed)), widths)] for seed in range(21, 24)])
    assert redraw_test(changed, real, two_sided=np.array([False])) == pytest.approx(1 / 1771)


def test_far_sets_differ_by_the_mean_kernel_within_them():
    x, y = normal(50), normal(50, seed=1) + 1e4
    within = sum(np.mean([np.exp(-(pdist(z.astype(float)) ** 2) / (2 * s**2)).mean() for s in WIDTHS]) for z in (x, y))
    assert value(x, y) == pytest.approx(within, abs=1e-6)


def test_contributions_add_up_to_the_difference_and_change_sign_when_swapped():
    rng = np.random.default_rng(3)
    a, b, r = normal(23), 1.3 * normal(23, seed=1), normal(23, seed=2)
    contributions = contrast(a, b, r)
    for signs in [np.ones(23), -np.ones(23), *rng.choice([-1, 1], size=(10, 23))]:
        swapped = signs[:, None] < 0
        one, other = np.where(swapped, b, a), np.where(swapped, a, b)
        expected = slow(one, r, np.arange(23)) - slow(other, r, np.arange(23))
        assert signs @ contributions == pytest.approx(expected, abs=1e-6)


def test_contributions_do_not_depend_on_tiles(monkeypatch):
    sets = normal(50), normal(50, seed=1), normal(50, seed=2)
    whole = contrast(*sets)
    monkeypatch.setattr(module, "_TILE", 16)
    np.testing.assert_allclose(contrast(*sets), whole, atol=1e-9)


def test_the_paired_test_finds_the_worse_set():
    a, b, r = (normal(200, seed=s) for s in range(3))
    assert sign_flip_test(contrast(a + 0.5, b, r))[0] < 0.01
    assert not contrast(a, a, r).any()


def test_the_paired_test_of_equal_sets_has_uniform_p_values():
    p = [sign_flip_test(contrast(*(normal(30, seed=3 * draw + s) for s in range(3))), permutations=300)[0] for draw in range(300)]
    assert kstest(p, "uniform").pvalue > 0.01


def test_every_pair_of_many_sets_is_that_of_the_two_alone():
    sets = {name: normal(40, seed=seed) for seed, name in enumerate("abc")}
    found = mmd2_contrasts(sets, normal(40, seed=9), WIDTHS)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    np.testing.assert_allclose(found["b", "c"], contrast(sets["b"], sets["c"], normal(40, seed=9)), atol=1e-9)


def test_the_permutation_interval_of_a_difference_holds_zero_as_often_as_said_and_a_bootstrap_always():
    """Of equal methods. A bootstrap of the difference, whose two parts are degenerate, spreads too wide."""
    held, bootstrapped, n = 0, 0, 40
    for draw in range(200):
        a, b, r = (normal(n, seed=3 * draw + s) for s in range(3))
        gap = contrast(a, b, r)
        held += abs(gap.sum()) <= sign_flip_test(gap, 400)[1]
        h = kernel(a, a) - kernel(a, r) - kernel(a, r).T - kernel(b, b) + kernel(b, r) + kernel(b, r).T
        np.fill_diagonal(h, 0.0)
        w = bootstrap_weights(np.zeros(n, np.int64), 200, seed=draw).astype(float)
        replicates = np.einsum("bi,ij,bj->b", w, h, w) / (n**2 - np.sum(w**2, axis=1))
        low, high = gap.sum() + np.quantile(replicates - replicates.mean(), [0.025, 0.975])
        bootstrapped += low <= 0 <= high
    assert 180 <= held <= 198
    assert bootstrapped > held


def test_a_bootstrap_of_it_would_spread_root_three_times_too_wide():
    """Why it has no interval. Between equal distributions no condition by itself moves it; between their resamples each does."""
    values, spreads, n = [], [], 100
    for draw in range(150):
        x, y = normal(n, 2, 2 * draw), normal(n, 2, 2 * draw + 1)
        h = kernel(x, x) + kernel(y, y) - kernel(x, y) - kernel(x, y).T
        np.fill_diagonal(h, 0.0)
        w = bootstrap_weights(np.zeros(n, np.int64), 100, seed=draw).astype(float)
        spreads.append(np.var(np.einsum("bi,ij,bj->b", w, h, w) / (n**2 - np.sum(w**2, axis=1))))
        values.append(value(x, y))
    assert np.sqrt(np.mean(spreads)) / np.std(values) == pytest.approx(np.sqrt(3), rel=0.15)


def test_bandwidths_lie_about_the_median_distance():
    x = normal(300)
    np.testing.assert_allclose(bandwidths(x), np.median(pdist(x.astype(float))) * np.array([0.25, 0.5, 1, 2, 4]))
    np.testing.assert_allclose(bandwidths(np.repeat(x, 2, axis=0)), bandwidths(x), rtol=1e-3)
    np.testing.assert_allclose(bandwidths(normal(5000)), bandwidths(x), rtol=0.05)


@pytest.mark.parametrize("n", [2, 8, 300])
def test_constant_features_have_bandwidths_and_no_distance(n):
    x = np.zeros((n, 3), np.float32)
    assert (bandwidths(x) > 0).all()
    assert mmd2(x, x, bandwidths(x)) == 0
    assert not contrast(x, x, x, bandwidths(x)).any()


def test_one_row_has_no_estimate():
    assert np.isnan(value(normal(1), normal(1)))


@pytest.mark.parametrize("widths", [[], [0.0], [1.0, 3.0], [-1.0, -2.0]])
def test_bandwidths_that_are_not_doubled_are_refused(widths):
    with pytest.raises(ValueError, match="each twice the last"):
        value(normal(8), normal(8), np.array(widths))


def test_unpaired_sets_are_refused():
    with pytest.raises(ValueError, match=r"equally many rows.*\[8, 9\]"):
        value(normal(8), normal(9))
