"""Classifier two-sample tests: the area against scikit-learn's, and what trees see and miss."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from toycrystals.metrics.classifiers import auc, boosted_auc
from toycrystals.metrics.intervals import bootstrap_weights


def counts(n, replicates=20):
    return bootstrap_weights(np.arange(n) % 4, replicates)


def boosted(*arguments, trees=50):
    return boosted_auc(*arguments, trees)


def normal(n, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 8, 200])
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_area_is_that_of_scikit_learn_with_ties(n, decimals):
    real, generated = normal(n, 1)[:, 0].round(decimals), (normal(n, 1, 1)[:, 0] + 0.3).round(decimals)
    weights, labels, scores = counts(n), np.repeat([0, 1], n), np.concatenate([real, generated])
    found = auc(real, generated, weights)
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = [roc_auc_score(labels, scores, sample_weight=np.tile(w, 2)) for w in weights]
    np.testing.assert_allclose(found.replicates, expected, atol=1e-6)
    assert auc(generated, real, weights).value == pytest.approx(1 - found.value)


def test_area_of_nothing_and_of_constant_scores():
    assert np.isnan(auc(np.empty(0), np.empty(0), np.empty((5, 0), np.float32)).value)
    assert auc(np.zeros(8), np.zeros(8), np.zeros((3, 8), np.float32))[:3] == (0.5, 0.5, 0.5)


def test_a_second_draw_is_not_told_apart():
    same = boosted(normal(1000), normal(1000, seed=1), counts(1000))
    assert same.value == pytest.approx(0.5, abs=0.04)
    assert same.low < 0.5 < same.high
    assert len(same.replicates) == 20


def dependent(rows):
    changed = rows.copy()
    changed[:, 1] = 0.8 * rows[:, 0] + 0.6 * rows[:, 1]
    return changed


@pytest.mark.parametrize("change", [lambda y: y + 0.3, lambda y: 1.4 * y, dependent], ids=["shift", "spread", "dependence"])
@pytest.mark.parametrize("trees", [25, 50])
def test_trees_see_a_shift_a_spread_and_a_dependence(change, trees):
    assert boosted(normal(1000), change(normal(1000, seed=1)), counts(1000), trees=trees).low > 0.55


def test_more_trees_see_more():
    """A shift of eight numbers, of which each tree tells a part."""
    real, generated = normal(1000), normal(1000, seed=1) + 0.3
    few, many = (boosted(real, generated, counts(1000), trees=trees).value for trees in (1, 50))
    assert many > few + 0.05


def test_the_mean_over_draws_of_one_distribution_is_chance():
    """Scores of the two folds, which two classifiers gave, are not put together."""
    areas = [boosted(normal(60, 2, 2 * k), normal(60, 2, 2 * k + 1), counts(60, 0), trees=5).value for k in range(80)]
    assert abs(np.mean(areas) - 0.5) < 4 * np.std(areas) / np.sqrt(80)


def test_trees_come_near_the_best_possible_area_and_not_above_it():
    """Of N(0, 1) and N(d, 1) the best classifier, x itself, has the area Phi(d / sqrt 2) = 0.76 for d = 1."""
    real, generated = normal(2000, 1), normal(2000, 1, 1) + 1.0
    found = boosted(real, generated, counts(2000))
    assert 0.76 - 0.05 < found.value < 0.76 + 0.015


def test_pairs_stay_together_so_that_equal_pairs_are_at_chance():
    """A classifier that had seen the other answer to a tested condition would do worse than chance or better."""
    real = normal(301)
    assert boosted(real, real.copy(), counts(301)).value == 0.5


def test_units_do_not_matter():
    real, generated, scale = normal(400), normal(400, seed=1) + np.float32(0.2), np.float32(2.0) ** np.arange(-4, 4)
    found = boosted(real * scale, generated * scale, counts(400)).value
    assert found == pytest.approx(boosted(real, generated, counts(400)).value, abs=1e-6)


@pytest.mark.parametrize("n", [2, 40])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_degenerate_features_are_at_chance(n, value):
    constant = np.full((n, 3), value, np.float32)
    assert boosted(constant, constant, counts(n)).value == 0.5
    repeated = np.repeat(normal(1), n, axis=0)
    assert boosted(repeated, repeated, counts(n)).value == 0.5


def test_one_repeated_row_and_separable_sets_are_told_apart():
    """Separable ones but for a point in the bin where a tree's threshold falls."""
    assert boosted(normal(400), np.repeat(normal(1), 400, axis=0), counts(400)).value > 0.9
    assert boosted(normal(400), normal(400, seed=1) + 50, counts(400)).value > 0.99


def test_sets_of_twins_give_an_area_below_chance():
    """A row's twin is in the other fold half of the time, where the trees learn the wrong side for it."""
    real = normal(600, 2)
    order = np.random.default_rng(0).permutation(600)
    assert boosted(real, real[order], counts(600)).value < 0.5


def test_trees_do_not_depend_on_threads():
    real, generated, weights = normal(500), 1.2 * normal(500, seed=1), counts(500)
    with threadpool_limits(limits=2):
        first = boosted(real, generated, weights)
    second = boosted(real, generated, weights)
    assert first.value == second.value
    np.testing.assert_array_equal(first.replicates, second.replicates)


def test_one_pair_has_no_estimate_and_unpaired_sets_are_refused():
    assert np.isnan(boosted(normal(1), normal(1), counts(1)).value)
    with pytest.raises(ValueError, match="equally many rows"):
        boosted(normal(8), normal(9), counts(8))
