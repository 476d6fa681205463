"""Distances between sets against scipy and POT, with closed forms and what a Frechet distance cannot see."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance

from toycrystals.metrics.distribution import frechet, wasserstein1
from toycrystals.metrics.intervals import bootstrap_weights

with warnings.catch_warnings():
    # Of escape sequences in docstrings, where the package was not compiled when it was installed.
    warnings.simplefilter("ignore")
    import ot


def circular_wasserstein1(a, b, period, *weights):
    return wasserstein1(a, b, *weights, period=period)


def normal(n, dim=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim))


def counts(n, replicates=6):
    return bootstrap_weights(np.arange(n) % 2, replicates)


def resamples(w, *sets):
    return [np.repeat(rows, w.astype(int), axis=0) for rows in sets]


def circle_oracle(a, b, period):
    """The best of all ways to match sorted points in turn; for equally many, in a cyclic order."""
    a, b = np.sort(a % period), np.sort(b % period)
    costs = []
    for turn in range(len(b)):
        d = np.abs(a - np.roll(b, turn))
        costs.append(np.minimum(d, period - d).mean())
    return min(costs)


# Few distinct values make ties.
numbers = st.lists(st.floats(-5, 5) | st.integers(-2, 2).map(float), min_size=1, max_size=20).map(np.array)


@given(a=numbers, b=numbers)
@settings(deadline=None)
def test_wasserstein1_is_that_of_scipy(a, b):
    assert wasserstein1(a, b).value == pytest.approx(wasserstein_distance(a, b), abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (30, 30), (30, 47)])
def test_wasserstein1_replicates_are_those_of_resampled_numbers(n, m):
    a, b = normal(n, 1)[:, 0].round(1), normal(m, 1, 1)[:, 0].round(1) + 0.5
    weights_a, weights_b = counts(n, 70), counts(m, 70)
    found = wasserstein1(a, b, weights_a) if n == m else wasserstein1(a, b, weights_a, weights_b)
    expected = [wasserstein_distance(*resamples(w, a), *resamples(v, b)) for w, v in zip(weights_a, weights_b, strict=True)]
    np.testing.assert_allclose(found.replicates, expected, atol=1e-12)
    assert found.value == pytest.approx(wasserstein1(a, b).value, rel=1e-12)


def test_weights_of_one_set_do_not_serve_another_size():
    with pytest.raises(ValueError, match=r"equally many rows.*\[8, 9\]"):
        wasserstein1(np.ones(8), np.ones(9), counts(8))


@pytest.mark.parametrize("distance", [wasserstein1, lambda a, b, *w: circular_wasserstein1(a, b, 2.0, *w)])
def test_distances_of_nothing_and_of_equal_numbers(distance):
    assert np.isnan(distance(np.empty(0), np.ones(3)).value)
    assert distance(np.full(8, 0.3), np.full(8, 0.3), counts(8))[:3] == (0, 0, 0)
    missing = np.zeros((5, 8), np.float32)
    assert set(distance(np.ones(8), np.full(8, 1.5), missing).replicates) == {0.5}


@given(seed=st.integers(0, 1000), n=st.integers(1, 12), period=st.sampled_from([1.0, 60.0]))
@settings(deadline=None)
def test_circular_distance_is_the_best_cyclic_matching(seed, n, period):
    a, b = np.random.default_rng(seed).uniform(-period, 2 * period, (2, n))
    assert circular_wasserstein1(a, b, period).value == pytest.approx(circle_oracle(a, b, period), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 25)])
def test_circular_distance_is_that_of_pot(n, m):
    a, b = np.random.default_rng(0).random(n) ** 2, np.random.default_rng(1).random(m)
    weights, weights_b = counts(n), counts(m)
    found = circular_wasserstein1(3 * a, 3 * b, 3.0, weights, weights_b)
    assert found.value == pytest.approx(3 * ot.wasserstein_circle(a, b, p=1)[0], rel=1e-9)
    for w, v, replicate in zip(weights, weights_b, found.replicates, strict=True):
        expected = 3 * ot.wasserstein_circle(*resamples(w, a), *resamples(v, b), p=1)[0]
        assert replicate == pytest.approx(expected, rel=1e-6)


def test_a_rotation_costs_its_angle_and_the_circle_has_no_seam():
    angles = 0.2 * np.random.default_rng(0).random(50)
    assert circular_wasserstein1(angles, angles + 0.3, 1.0).value == pytest.approx(0.3)
    assert circular_wasserstein1(angles, angles - 0.3, 1.0).value == pytest.approx(0.3)
    assert circular_wasserstein1(angles, angles + 5, 1.0).value == pytest.approx(0, abs=1e-12)
    assert circular_wasserstein1(np.full(5, 0.01), np.full(7, 0.99), 1.0).value == pytest.approx(0.02)


def frechet_oracle(x, y):
    s_x, s_y = np.cov(x.T), np.cov(y.T)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s_x + s_y - 2 * np.real(sqrtm(s_x @ s_y)))


def test_frechet_is_that_of_fitted_normals():
    x, y = normal(60) @ normal(4, seed=2), 1.5 * normal(60, seed=1)
    found = frechet(x.astype(np.float32), y.astype(np.float32))
    assert found == pytest.approx(frechet_oracle(x, y), rel=1e-5)
    of_pot = ot.gaussian.bures_wasserstein_distance(x.mean(0), y.mean(0), np.cov(x.T), np.cov(y.T))
    assert found == pytest.approx(of_pot**2, rel=1e-5)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_frechet_of_shifted_points_is_the_squared_shift_at_any_rank(rank):
    x = normal(30) * (np.arange(4) < rank) + 100
    shift = np.array([3.0, 0.0, -4.0, 0.0])
    assert frechet(x, x + shift) == pytest.approx(25, rel=1e-9)
    assert 0.0 <= frechet(x, x) < 1e-10


def test_frechet_of_scaled_points_is_the_scaled_spread():
    x = normal(50)
    x -= x.mean(axis=0)
    assert frechet(x, 3 * x) == pytest.approx(4 * np.trace(np.cov(x.T)))


@pytest.mark.parametrize("n", [1, 2, 8])
def test_frechet_of_fewer_points_than_dimensions_is_symmetric_and_blind_to_rotations(n):
    x, y = normal(n, 20), normal(n, 20, 1)
    rotation = np.linalg.qr(normal(20, 20, 2))[0]
    assert frechet(x, y) > 0.0
    assert frechet(y, x) == pytest.approx(frechet(x, y))
    assert frechet(x @ rotation, y @ rotation) == pytest.approx(frechet(x, y))


def test_frechet_is_biased_upwards_as_one_over_n():
    """Why it is read beside a floor of as many real images, and has no bootstrap."""
    means = [np.mean([frechet(normal(n, 4, 2 * s), normal(n, 4, 2 * s + 1)) for s in range(200)]) for n in (50, 200)]
    assert means[0] / means[1] == pytest.approx(4.0, rel=0.15)


def test_frechet_knows_two_moments_and_no_more():
    """Signs of normals have the mean and the covariance of normals."""
    assert frechet(normal(4000), np.sign(normal(4000, seed=1))) < 0.02


def test_frechet_of_unpaired_sets_is_refused():
    with pytest.raises(ValueError, match="equally many rows"):
        frechet(normal(10), normal(9))
