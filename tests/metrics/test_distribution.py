"""Set-against-set scores against plain implementations of their definitions, with their documented blind spots."""

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance

from toycrystals.dataset import DatasetSpec, make_samples
from toycrystals.metrics.distribution import (
    COSTLY_REPLICATES,
    circular_wasserstein1,
    fft_radial_l2,
    frechet,
    mass_w1,
    radial_power,
    random_directions,
    sliced_wasserstein,
    wasserstein1,
)
from toycrystals.metrics.intervals import bootstrap_weights

SIZES = [(32, 32), (33, 33), (24, 40)]


def noise(n, shape=(32, 32), seed=0):
    return np.random.default_rng(seed).random((n, *shape), dtype=np.float32)


@pytest.fixture(scope="module")
def crystals():
    images = make_samples(DatasetSpec("rot_only", 4, 64, seed=0), "test", 64).images[:, 0]
    return images.astype(np.float32) / 255


def mass_oracle(a, b):
    """Wasserstein-1 of equally many numbers: the mean distance between those of equal rank."""
    return np.abs(np.sort(a.mean(axis=(1, 2))) - np.sort(b.mean(axis=(1, 2)))).mean()


def power_oracle(images):
    """Image by image, ring by ring, with the zero frequency shifted to the middle."""
    height, width = images.shape[1:]
    y, x = np.indices((height, width))
    ring = np.floor(np.hypot(y - height // 2, x - width // 2))
    spectra = [np.abs(np.fft.fftshift(np.fft.fft2(image.astype(np.float64)))) ** 2 for image in images]
    profile = np.array([np.mean(spectra, axis=0)[ring == r].mean() for r in range(min(height, width) // 2 + 1)])
    return profile / profile.sum()


@given(seed=st.integers(0, 1000), n=st.integers(1, 30), offset=st.floats(-0.5, 0.5))
@settings(deadline=None)
def test_mass_distance_compares_sorted_means(seed, n, offset):
    a, b = noise(n, (8, 8), seed), noise(n, (8, 8), seed + 1) + np.float32(offset)
    assert mass_w1(a, b).value == pytest.approx(mass_oracle(a, b), abs=1e-6)


def test_mass_distance_of_sets_of_different_sizes():
    """Means 0 and 1 against 0, 0 and 1: a sixth of the mass moves by 1."""
    a, b = (np.ones((1, 4, 4), np.float32) * np.array(means, np.float32)[:, None, None] for means in ([0, 1], [0, 0, 1]))
    assert mass_w1(a, b).value == pytest.approx(1 / 6)


@pytest.mark.parametrize("shape", SIZES)
def test_radial_power_follows_its_definition(shape):
    images = noise(7, shape)
    np.testing.assert_allclose(radial_power(images), power_oracle(images), rtol=1e-5)


def test_radial_power_of_many_images_counts_each_once():
    images = noise(1300, (16, 16))
    images[-1] += 5 * np.sin(np.arange(16, dtype=np.float32))
    np.testing.assert_allclose(radial_power(images), power_oracle(images), rtol=1e-5)


@pytest.mark.parametrize("frequency", [1, 5, 16])
def test_a_wave_has_its_power_in_its_own_ring(frequency):
    wave = np.cos(2 * np.pi * frequency * np.arange(32) / 32) * np.ones((32, 1))
    profile = radial_power(wave[None].astype(np.float32))
    assert profile.argmax() == frequency
    assert profile[frequency] == pytest.approx(1.0, abs=1e-6)


def test_radial_distance_is_that_of_the_profiles():
    a, b = noise(5), noise(6, seed=1) ** 3
    expected = np.sqrt(np.mean((power_oracle(a) - power_oracle(b)) ** 2))
    assert fft_radial_l2(a, b) == pytest.approx(expected, rel=1e-4)
    assert fft_radial_l2(b, a) == pytest.approx(expected, rel=1e-4)


def test_black_images_have_no_profile_and_raise_no_warning():
    black = np.zeros((3, 16, 16), np.float32)
    assert not radial_power(black).any()
    assert fft_radial_l2(black, black) == mass_w1(black, black).value == 0
    assert fft_radial_l2(black, noise(3, (16, 16))) > 0


def mass(a, b):
    return mass_w1(a, b).value


@pytest.mark.parametrize("score", [mass, fft_radial_l2])
def test_scores_of_equal_sets_are_zero_in_any_order(score, crystals):
    assert score(crystals, crystals) == 0.0
    assert score(crystals, crystals[::-1]) < 1e-9


@pytest.mark.parametrize("score", [mass, fft_radial_l2])
def test_scores_are_blind_to_quarter_turns(score, crystals):
    assert score(crystals, np.rot90(crystals, axes=(1, 2))) < 1e-7


@pytest.mark.parametrize("score", [mass, fft_radial_l2])
def test_scores_see_a_change_of_contrast(score, crystals):
    floor = score(crystals[:32], crystals[32:])
    assert score(crystals, crystals**2) > 2 * floor


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
    weights = counts(60)
    found = frechet(x.astype(np.float32), y.astype(np.float32), weights)
    assert found.value == pytest.approx(frechet_oracle(x, y), rel=1e-5)
    assert found.value == pytest.approx(
        ot.gaussian.bures_wasserstein_distance(x.mean(0), y.mean(0), np.cov(x.T), np.cov(y.T)) ** 2, rel=1e-5
    )
    np.testing.assert_allclose(found.replicates, [frechet_oracle(*resamples(w, x, y)) for w in weights], rtol=1e-5)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_frechet_of_shifted_points_is_the_squared_shift_at_any_rank(rank):
    x = normal(30) * (np.arange(4) < rank) + 100
    shift = np.array([3.0, 0.0, -4.0, 0.0])
    assert frechet(x, x + shift, counts(30)).value == pytest.approx(25, rel=1e-9)
    assert frechet(x, x, counts(30)).value == pytest.approx(0, abs=1e-10)


def test_frechet_of_scaled_points_is_the_scaled_spread():
    x = normal(50)
    x -= x.mean(axis=0)
    assert frechet(x, 3 * x, counts(50)).value == pytest.approx(4 * np.trace(np.cov(x.T)))


def test_frechet_of_fewer_points_than_dimensions():
    x, y = normal(8, 20), normal(8, 20, 1)
    found = frechet(x, y, counts(8))
    assert found.value == pytest.approx(frechet(y, x, counts(8)).value)
    assert np.isfinite(found.replicates).all()


def test_frechet_knows_two_moments_and_no_more():
    """Signs of normals, scaled alike, are no normals; the sliced distance sees it."""
    x, y, other = normal(4000), np.sign(normal(4000, seed=1)), normal(4000, seed=2)
    directions, none = random_directions(4, 32), np.empty((0, 4000), np.float32)
    assert frechet(x, y, none).value < 0.02
    assert sliced_wasserstein(x, y, directions, none).value > 3 * sliced_wasserstein(x, other, directions, none).value


def test_sliced_distance_is_that_of_pot():
    x, y, directions, weights = normal(40), 1.5 * normal(40, seed=1), random_directions(4, 10), counts(40)
    found = sliced_wasserstein(x, y, directions, weights)
    assert found.value == pytest.approx(ot.sliced_wasserstein_distance(x, y, projections=directions.T), rel=1e-9)
    expected = [ot.sliced_wasserstein_distance(*resamples(w, x, y), projections=directions.T) for w in weights]
    np.testing.assert_allclose(found.replicates, expected, rtol=1e-9)


def test_sliced_distance_of_shifted_points():
    x, directions = normal(20), random_directions(4, 10, seed=3)
    shift = np.array([1.0, 2.0, 3.0, 4.0])
    found = sliced_wasserstein(x, x + shift, directions, counts(20))
    expected = np.sqrt(np.mean((directions @ shift) ** 2))
    assert found.value == pytest.approx(expected)
    np.testing.assert_allclose(found.replicates, expected)
    assert sliced_wasserstein(x, x[::-1], directions, counts(20)).value == 0


def test_directions_are_unit_vectors_all_around_that_a_seed_gives():
    directions = random_directions(3, 2000, seed=1)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.T @ directions / 2000, np.eye(3) / 3, atol=0.03)
    np.testing.assert_array_equal(directions, random_directions(3, 2000, seed=1))
    assert not np.array_equal(directions, random_directions(3, 2000, seed=2))


@pytest.mark.parametrize("distance", [frechet, lambda x, y, w: sliced_wasserstein(x, y, random_directions(4, 3), w)])
def test_costly_measures_take_the_first_replicates_of_paired_sets(distance):
    x, y = normal(10), normal(10, seed=1)
    weights = counts(10, COSTLY_REPLICATES + 50)
    weights[0], weights[1] = 1, 0
    found = distance(x, y, weights)
    assert len(found.replicates) == COSTLY_REPLICATES
    np.testing.assert_allclose(found.replicates[:2], found.value)
    assert np.isnan(distance(x, y, weights[:0]).low)
    assert distance(np.zeros((8, 4)), np.zeros((8, 4)), counts(8))[:3] == (0, 0, 0)
    with pytest.raises(ValueError, match="equally many rows"):
        distance(x, y[:9], weights)
