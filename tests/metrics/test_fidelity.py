"""Image against image: the same numbers as NumPy's correlation and scikit-image's structural similarity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from toycrystals.metrics.fidelity import correlation, ssim

every_measure = pytest.mark.parametrize("measure", [correlation, ssim])


def noise(n, size, seed=0):
    return np.random.default_rng(seed).random((n, size, size), dtype=np.float32)


def alike(n, size, deviation=0.1, seed=0):
    """Smooth images over the whole range, and the same with noise."""
    a = gaussian_filter(noise(n, size, seed), (0, 2, 2))
    a = (a - a.min()) / (a.max() - a.min())
    return a, (a + deviation * (noise(n, size, seed + 1) - 0.5)).clip(0.0, 1.0)


def oracle(a, b):
    """The settings of Wang et al. 2004: a Gaussian window of deviation 1.5 and the variance with 1 / n."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return [structural_similarity(x.astype(np.float64), y.astype(np.float64), **options) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("size", [11, 16, 33, 64])
@pytest.mark.parametrize("deviation", [0.001, 0.1, 2.0])
def test_ssim_is_that_of_scikit_image(size, deviation):
    a, b = alike(5, size, deviation)
    found = ssim(a, b)
    np.testing.assert_allclose(found, oracle(a, b), rtol=0.0, atol=1e-6)
    assert (found < 1.0).all()


@given(seed=st.integers(0, 1000), height=st.integers(11, 30), width=st.integers(11, 30))
@settings(deadline=None, max_examples=30)
def test_ssim_of_noise_of_any_shape_is_that_of_scikit_image(seed, height, width):
    a, b = np.random.default_rng(seed).random((2, 2, height, width), dtype=np.float32)
    np.testing.assert_allclose(ssim(a, b), oracle(a, b), rtol=0.0, atol=1e-6)


def test_ssim_of_inverted_images_is_negative():
    a = noise(4, 33)
    found = ssim(a, 1 - a)
    assert (found < -0.5).all()
    np.testing.assert_allclose(found, oracle(a, 1 - a), rtol=0.0, atol=1e-6)


def test_correlation_is_that_of_numpy():
    a, b = alike(7, 16)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(correlation(a, 1 - b), [-c for c in expected], rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(correlation(a, 0.2 + 0.5 * b), expected, rtol=0.0, atol=1e-6)


@every_measure
@pytest.mark.parametrize("size", [16, 33])
def test_equal_images_are_perfectly_alike(measure, size):
    a = noise(5, size)
    np.testing.assert_allclose(measure(a, a.copy()), 1.0, rtol=0.0, atol=1e-6)


@every_measure
def test_both_sides_are_alike(measure):
    a, b = alike(5, 16)
    np.testing.assert_allclose(measure(a, b), measure(b, a), rtol=0.0, atol=1e-12)


@every_measure
def test_more_noise_is_less_alike(measure):
    scores = [measure(*alike(20, 33, deviation)).mean() for deviation in (0.0, 0.05, 0.2, 1.0)]
    assert (np.diff(scores) < -0.001).all()


@every_measure
def test_every_image_is_compared_with_its_own_partner(measure):
    """Also in a list longer than one part of the work."""
    a, b = alike(600, 16)
    found = measure(a, b)
    assert found.shape == (600,)
    assert found.dtype == np.float64
    alone = [measure(a[[i]], b[[i]])[0] for i in (0, 7, 511, 512, 599)]
    np.testing.assert_allclose(found[[0, 7, 511, 512, 599]], alone, rtol=0.0, atol=1e-7)
    assert (measure(a, np.roll(b, 1, axis=0)) < found.min()).mean() > 0.9


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_constant_image_correlates_with_nothing_and_is_similar_only_to_its_like(level):
    flat, a = np.full((3, 16, 16), level, dtype=np.float32), noise(3, 16)
    for pair in ((flat, a), (a, flat), (flat, flat)):
        assert not correlation(*pair).any()
    np.testing.assert_allclose(ssim(flat, flat), 1.0, rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(ssim(flat, a), oracle(flat, a), rtol=0.0, atol=1e-6)
    assert (ssim(flat, a) < 0.1).all()


def test_flat_images_differ_by_their_luminance_alone():
    """(2 a b + C1) / (a^2 + b^2 + C1)."""
    a, b = (np.full((1, 16, 16), level, dtype=np.float32) for level in (0.25, 0.75))
    assert ssim(a, b)[0] == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4), abs=1e-9)


@every_measure
def test_no_images_have_no_scores(measure):
    assert measure(noise(0, 16), noise(0, 16)).shape == (0,)
