"""Set-against-set scores against plain implementations of their definitions, with their documented blind spots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toycrystals.dataset import DatasetSpec, make_samples
from toycrystals.metrics.distribution import fft_radial_l2, mass_w1, radial_power

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
    assert mass_w1(a, b) == pytest.approx(mass_oracle(a, b), abs=1e-6)


def test_mass_distance_of_sets_of_different_sizes():
    """Means 0 and 1 against 0, 0 and 1: a sixth of the mass moves by 1."""
    a, b = (np.ones((1, 4, 4), np.float32) * np.array(means, np.float32)[:, None, None] for means in ([0, 1], [0, 0, 1]))
    assert mass_w1(a, b) == pytest.approx(1 / 6)


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
    assert not radial_power(np.zeros((3, 16, 16), np.float32)).any()


@pytest.mark.parametrize("score", [mass_w1, fft_radial_l2])
def test_scores_of_equal_sets_are_zero_in_any_order(score, crystals):
    assert score(crystals, crystals) == 0.0
    assert score(crystals, crystals[::-1]) < 1e-9


@pytest.mark.parametrize("score", [mass_w1, fft_radial_l2])
def test_scores_are_blind_to_quarter_turns(score, crystals):
    assert score(crystals, np.rot90(crystals, axes=(1, 2))) < 1e-7


@pytest.mark.parametrize("score", [mass_w1, fft_radial_l2])
def test_scores_see_a_change_of_contrast(score, crystals):
    floor = score(crystals[:32], crystals[32:])
    assert score(crystals, crystals**2) > 2 * floor
