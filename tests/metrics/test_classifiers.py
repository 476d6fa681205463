"""Classifier two-sample tests: the area against scikit-learn's, and what each classifier sees and misses."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from toycrystals.dataset import DatasetSpec, make_samples
from toycrystals.metrics.classifiers import auc, boosted_auc, cnn_auc, linear_auc
from toycrystals.metrics.intervals import bootstrap_weights

ON_FEATURES = [linear_auc, boosted_auc]


def counts(n, replicates=20):
    return bootstrap_weights(np.arange(n) % 4, replicates)


def normal(n, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def crystals(seed, n=1000, size=32):
    return make_samples(DatasetSpec("rot_only", 4, size, seed), "test", n).images


def blurred(images):
    return np.rint(gaussian_filter(images.astype(np.float32), (0, 0, 1, 1))).astype(np.uint8)


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


@pytest.mark.parametrize("measure", ON_FEATURES)
def test_a_second_draw_is_not_told_apart_and_a_shift_is(measure):
    real, generated, weights = normal(1000), normal(1000, seed=1), counts(1000)
    same, shifted = measure(real, generated, weights), measure(real, generated + 0.3, weights)
    assert same.value == pytest.approx(0.5, abs=0.04)
    assert same.low < 0.5 < same.high
    assert shifted.low > 0.6
    assert len(shifted.replicates) == 20


def test_only_trees_see_spread_and_dependence():
    real, generated = normal(1000), normal(1000, seed=1)
    wide, dependent = 1.4 * generated, generated.copy()
    dependent[:, 1] = 0.8 * generated[:, 0] + 0.6 * generated[:, 1]
    for changed in (wide, dependent):
        assert boosted_auc(real, changed, counts(1000)).low > 0.55
        assert linear_auc(real, changed, counts(1000)).value < 0.55


@pytest.mark.parametrize("measure", ON_FEATURES)
def test_pairs_stay_together_so_that_equal_pairs_are_at_chance(measure):
    """A classifier that had seen the other answer to a tested condition would do worse than chance or better."""
    real = normal(301)
    assert measure(real, real.copy(), counts(301)).value == 0.5


@pytest.mark.parametrize("measure", ON_FEATURES)
def test_units_do_not_matter(measure):
    real, generated, scale = normal(400), normal(400, seed=1) + np.float32(0.2), np.float32(2.0) ** np.arange(-4, 4)
    found = measure(real * scale, generated * scale, counts(400)).value
    assert found == pytest.approx(measure(real, generated, counts(400)).value, abs=1e-6)


@pytest.mark.parametrize("measure", ON_FEATURES)
@pytest.mark.parametrize("n", [2, 8, 40])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_degenerate_features_are_at_chance(measure, n, value):
    constant = np.full((n, 3), value, np.float32)
    assert measure(constant, constant, counts(n)).value == 0.5
    repeated = np.repeat(normal(1), n, axis=0)
    assert measure(repeated, repeated, counts(n)).value == 0.5


@pytest.mark.parametrize("measure", ON_FEATURES)
def test_one_repeated_row_is_told_apart(measure):
    assert measure(normal(400), np.repeat(normal(1), 400, axis=0), counts(400)).value > 0.5


def test_separable_sets_are_a_sure_tell():
    """But for a point in the bin where a tree's threshold falls."""
    real, generated, weights = normal(400), normal(400, seed=1) + 50, counts(400)
    assert linear_auc(real, generated, weights)[:3] == (1, 1, 1)
    assert boosted_auc(real, generated, weights).value > 0.99


def test_trees_do_not_depend_on_threads():
    real, generated, weights = normal(500), 1.2 * normal(500, seed=1), counts(500)
    with threadpool_limits(limits=2):
        first = boosted_auc(real, generated, weights)
    second = boosted_auc(real, generated, weights)
    assert first.value == second.value
    np.testing.assert_array_equal(first.replicates, second.replicates)


@pytest.mark.parametrize(
    ("change", "least"),
    [(lambda images: np.roll(images, 1, axis=3), 0.9), (lambda images: np.roll(images, -1, axis=2), 0.9), (blurred, 0.95)],
)
def test_the_network_sees_a_shift_and_a_blur_by_one_pixel(change, least):
    assert cnn_auc(crystals(0), change(crystals(1)), counts(1000)).low > least


def test_the_network_does_not_tell_a_second_draw():
    assert cnn_auc(crystals(0, 2000), crystals(1, 2000), counts(2000)).value == pytest.approx(0.5, abs=0.04)


def test_equal_images_are_at_chance_and_the_global_generator_stays():
    images, weights = crystals(0, 101, 16), counts(101)
    state = torch.random.get_rng_state()
    assert cnn_auc(images, images.copy(), weights).value == 0.5
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_seed_gives_one_network():
    sets = crystals(0, 100, 16), crystals(1, 100, 16), counts(100)
    first = cnn_auc(*sets)
    torch.rand(3)
    assert cnn_auc(*sets).value == first.value
    assert cnn_auc(*sets, seed=1).value != first.value


@pytest.mark.parametrize("shape", [(16, 16), (18, 21), (33, 16)])
@pytest.mark.parametrize("n", [2, 8])
def test_the_network_takes_black_images_of_any_shape(shape, n):
    black = np.zeros((n, 1, *shape), np.uint8)
    assert cnn_auc(black, black, counts(n)).value == 0.5
    assert 0 <= cnn_auc(black, black + 255, counts(n)).value <= 1


def test_one_pair_has_no_estimate():
    assert np.isnan(linear_auc(normal(1), normal(1), counts(1)).value)
    assert np.isnan(cnn_auc(crystals(0, 1, 16), crystals(1, 1, 16), counts(1)).value)


def test_unpaired_sets_are_refused():
    with pytest.raises(ValueError, match="equally many rows"):
        linear_auc(normal(8), normal(9), counts(8))
