"""Energy scores against all pairs and a closed form, and what they see."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toycrystals.metrics.latent import energy_scores


def brute_force_energy(draws, truth):
    result = []
    for z, target in zip(draws, truth, strict=True):
        pairs = [np.linalg.norm(a - b) for a, b in itertools.permutations(z, 2)]
        result.append(np.mean([np.linalg.norm(a - target) for a in z]) - 0.5 * np.mean(pairs))
    return result


@given(k=st.integers(2, 9), dim=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_energy_scores_are_those_of_all_pairs(k, dim, seed):
    rng = np.random.default_rng(seed)
    draws, truth = rng.normal(size=(4, k, dim)), rng.normal(size=(4, dim))
    np.testing.assert_allclose(energy_scores(draws, truth), brute_force_energy(draws, truth), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(energy_scores(draws[:, ::-1], truth), energy_scores(draws, truth), atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 16])
def test_energy_scores_have_no_bias_in_the_number_of_draws(k):
    """Of a normal against itself: E|Z - Z'| / 2 = sqrt(2) E(chi_3) / 2 = 2 / sqrt(pi)."""
    rng = np.random.default_rng(k)
    scores = energy_scores(rng.normal(size=(20_000, k, 3)), rng.normal(size=(20_000, 3)))
    assert abs(scores.mean() - 2 / math.sqrt(math.pi)) < 4 * scores.std() / math.sqrt(20_000)


def test_only_the_true_distribution_has_the_lowest_energy_score():
    rng = np.random.default_rng(0)
    truth, z = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 8, 3))
    right = energy_scores(z, truth)
    half = np.where(rng.random((4000, 8, 1)) < 0.5, 0.0, z)
    for wrong in (z + 0.4, 1.4 * z, 0.7 * z, 0.0 * z, half, z * [1.0, 1.0, 0.5], np.repeat(z[..., :1], 3, axis=2)):
        worse = energy_scores(wrong, truth) - right
        assert worse.mean() > 5 * worse.std() / math.sqrt(4000)


def test_energy_scores_see_codes_drawn_for_other_conditions():
    """Together they are distributed like the truth; one by one they are not."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(500, 1, 3))
    truth, draws = (centre + 0.3 * rng.normal(size=(500, k, 3)) for k in (1, 8))
    right, shuffled = (energy_scores(z, truth[:, 0]).mean() for z in (draws, draws[rng.permutation(500)]))
    assert right < 0.5
    assert shuffled > 3 * right
