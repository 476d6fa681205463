"""Precision, recall and coverage against loops over the definitions, with what each one sees."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from toycrystals.metrics import manifold as module
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.manifold import manifold

MEASURES = ("precision", "recall", "coverage")


def normal(n, dim=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def values(real, generated, k=3):
    return {name: estimate.value for name, estimate in manifold(real, generated, k, np.empty((0, len(real)), "f")).items()}


def per_point(real, generated, k):
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    radius_real = np.sort(cdist(real, real), axis=1)[:, k]
    radius_generated = np.sort(cdist(generated, generated), axis=1)[:, k]
    between = cdist(real, generated)
    inside = between <= radius_real[:, None]
    return {
        "precision": inside.any(axis=0),
        "recall": (between <= radius_generated[None, :]).any(axis=1),
        "coverage": inside.any(axis=1),
    }


@pytest.mark.parametrize("n", [8, 100, 700])
@pytest.mark.parametrize("k", [1, 5])
def test_measures_follow_their_definitions(n, k):
    real, generated = normal(n), 0.8 * normal(n, seed=1) + np.float32(0.3)
    weights = bootstrap_weights(np.arange(n) % 2, 20)
    found, expected = manifold(real, generated, k, weights), per_point(real, generated, k)
    assert tuple(found) == MEASURES
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(expected[name].mean())
        np.testing.assert_allclose(estimate.replicates, [np.repeat(expected[name], w.astype(int)).mean() for w in weights])
        assert estimate.low <= estimate.value <= estimate.high


def test_the_size_of_a_chunk_does_not_matter(monkeypatch):
    whole = values(normal(150), normal(150, seed=1))
    monkeypatch.setattr(module, "_CHUNK", 32)
    assert values(normal(150), normal(150, seed=1)) == whole


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("distinct", [200, 20, 1])
def test_identical_sets_are_perfect_however_many_rows_repeat(offset, distinct):
    real = normal(200)[np.arange(200) % distinct] + np.float32(offset)
    found = values(real, real.copy(), 5)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert values(real, real[::-1].copy(), 5)["coverage"] == 1


def test_one_repeated_image_is_precise_but_covers_nothing():
    real = normal(300)
    found = values(real, np.repeat(real[:1], 300, axis=0))
    assert found["precision"] == 1
    assert found["recall"] == pytest.approx(1 / 300)
    assert found["coverage"] < 0.1


def test_a_missing_mode_costs_recall_and_coverage():
    real = normal(400)
    real[::2] += 20
    found = values(real, normal(400, seed=1), 5)
    assert found["precision"] > 0.9
    assert found["recall"] < 0.55
    assert found["coverage"] < 0.55


def test_an_added_mode_costs_precision():
    generated = normal(400, seed=1)
    generated[::2] += 20
    found = values(normal(400), generated, 5)
    assert found["precision"] < 0.55
    assert found["recall"] > 0.9


def test_far_sets_share_nothing():
    assert set(values(normal(50), normal(50) + 100).values()) == {0.0}


@pytest.mark.parametrize("n", [1, 2, 8])
def test_fewer_points_than_neighbours_do_not_fail(n):
    assert values(normal(n), normal(n), 10)["precision"] == 1
