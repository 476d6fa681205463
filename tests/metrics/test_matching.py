"""Images against the exact lattice that was asked for; standardising, grids and decibels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toycrystals.crystals.dataset import DatasetSpec, exact_bytes, exact_errors, exact_images, make_samples
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.matching import grid, match_requested, psnr, standardise, unit_images

SIZE, STEP = 64, 0.02
# An aspect this far from 1 and from sqrt(3) keeps the rectangular lattice apart from the others.
ASPECTS = [0.77, 0.8543, 1.1787, 1.33]


def draw(lattice_type, n, aspects=ASPECTS, seed=0):
    """Spacing, theta in degrees that are not on a grid, aspect: [n] each."""
    rng = np.random.default_rng(seed)
    low, high = VARIANTS["rot_only"].theta
    aspect = rng.choice(aspects, n) if LATTICES[lattice_type].has_aspect else np.ones(n)
    return np.full(n, 10.0), rng.uniform(low, high, n), aspect


def every_type(n):
    """Exact crystals of all types with their truth: images, types, spacing, theta, aspect."""
    parts = [(k, *draw(k, n, seed=k)) for k in range(4)]
    images = np.concatenate([exact_images(k, spacing, theta, aspect, SIZE) for k, spacing, theta, aspect in parts])
    types = np.repeat(np.arange(4), n)
    return images, types, *(np.concatenate([part[i] for part in parts]) for i in (1, 2, 3))


def rounded(images):
    return np.round(images * 255).astype(np.float32) / 255


@pytest.mark.parametrize("aspect_step", [0.05, 0.02, 0.01])
def test_exact_images_match_their_request(aspect_step):
    images, types, spacing, theta, aspect = every_type(6)
    matched = match_requested(images, types, spacing, theta, aspect_step)
    np.testing.assert_allclose(matched.aspect, aspect, rtol=0.0, atol=2e-5)
    assert (matched.mse[types != 1] < 1e-12).all()
    assert psnr(matched.mse[types == 1].max()) > 75.0


def test_rounding_is_the_floor_of_the_matched_error():
    """Images of 256 levels differ from exact ones by the error of rounding, at most 1/510, and no more than that."""
    samples = make_samples(DatasetSpec("rot_only", 4, SIZE, seed=0), "test", 200)
    kept = samples[np.flatnonzero(samples.type != 1)]
    spacing, theta = kept.factors[:, :2].astype(np.float64).T
    matched = match_requested(unit_images(kept.images), kept.type, spacing, theta, STEP)
    expected = exact_images_of(kept.type, spacing, theta)
    assert (matched.mse <= (1 / 510) ** 2).all()
    np.testing.assert_allclose(matched.mse, np.mean((rounded(expected) - expected) ** 2, axis=(1, 2)), rtol=0.01)


def exact_images_of(types, spacing, theta):
    rows = [exact_images(int(k), spacing[[i]], theta[[i]], np.ones(1), SIZE) for i, k in enumerate(types)]
    return np.concatenate(rows).astype(np.float64)


def test_matched_error_sees_one_degree():
    images, types, spacing, theta, _ = every_type(6)
    turned = match_requested(images, types, spacing, theta + math.radians(1.0), STEP)
    assert psnr(turned.mse.min()) < 32.0


def test_matched_error_is_blind_to_the_symmetry_of_the_request():
    images, types, spacing, theta, _ = every_type(4)
    period = np.array([lattice.period for lattice in LATTICES])[types]
    straight, turned = (match_requested(images, types, spacing, angle, STEP) for angle in (theta, theta + period))
    np.testing.assert_allclose(turned.mse, straight.mse, rtol=1e-3, atol=1e-9)


def test_rows_are_matched_with_their_own_request():
    images, types, spacing, theta, _ = every_type(4)
    order = np.random.default_rng(0).permutation(len(images))
    straight = match_requested(images, types, spacing, theta, STEP)
    shuffled = match_requested(images[order], types[order], spacing[order], theta[order], STEP)
    np.testing.assert_array_equal(shuffled.mse, straight.mse[order])
    np.testing.assert_array_equal(shuffled.aspect, straight.aspect[order])
    wrong = match_requested(images, types[order], spacing, theta, STEP)
    assert (wrong.mse[types != types[order]] > 100 * straight.mse.max()).all()


def test_long_lists_are_matched_as_their_parts():
    n, size = 700, 32
    spacing, theta, aspect = draw(1, n)
    images, types = exact_images(1, spacing, theta, aspect, size), np.ones(n, dtype=np.int64)
    whole = match_requested(images, types, spacing, theta, 0.05)
    parts = [match_requested(*(v[part] for v in (images, types, spacing, theta)), 0.05) for part in (slice(0, 90), slice(90, n))]
    np.testing.assert_array_equal(whole.mse, np.concatenate([part.mse for part in parts]))
    np.testing.assert_array_equal(whole.aspect, np.concatenate([part.aspect for part in parts]))


def real_rectangles(n=60):
    """Rectangular crystals as they are stored, with the whole range of aspects and both of its ends: images, theta, aspect."""
    rng = np.random.default_rng(0)
    aspect = np.concatenate([[0.75, 1.35, 0.7501, 1.3499], rng.uniform(0.75, 1.35, n - 4)])
    theta = rng.uniform(*VARIANTS["rot_only"].theta, n)
    return unit_images(exact_bytes(1, np.full(n, 10.0), theta, aspect, SIZE)[:, None]), theta, aspect


def nearest_thousandth(images, theta, aspect):
    """The least error over aspects that are 1e-3 apart, as far from the true one as can be."""
    tried = aspect[:, None] + 1e-3 * np.array([-0.5, 0.5])
    errors = [exact_errors(images, 1, np.full(len(images), 10.0), theta, column) for column in tried.T]
    return np.min(errors, axis=0)


@pytest.mark.parametrize("aspect_step", [0.05, 0.02, 0.01])
@pytest.mark.parametrize("known", [None, 0.0, 0.015], ids=["searched", "known", "nearly known"])
def test_rectangles_are_matched_as_well_as_by_their_true_aspect(aspect_step, known):
    """Rounding is all that is left. The control: aspects to a thousandth, which lose most of a decibel."""
    images, theta, aspect = real_rectangles()
    n = len(images)
    hint = None if known is None else aspect + known
    matched = match_requested(images, np.ones(n, dtype=np.int64), np.full(n, 10.0), theta, aspect_step, hint)
    truth = exact_errors(images, 1, np.full(n, 10.0), theta, aspect)
    gained = 10 * np.log10(truth / matched.mse)
    assert gained.min() > -0.05
    assert abs(psnr(matched.mse.mean()) - psnr(truth.mean())) < 0.05
    assert matched.aspect.min() >= 0.75
    assert matched.aspect.max() <= 1.35
    assert psnr(truth.mean()) - psnr(nearest_thousandth(images, theta, aspect).mean()) > 0.5


@pytest.mark.parametrize("aspect", [0.75, 1.35])
def test_aspects_at_the_ends_of_the_range_are_found(aspect):
    images = exact_images(1, np.array([10.0]), np.array([0.3]), np.array([aspect]), SIZE)
    matched = match_requested(images, np.array([1]), np.array([10.0]), np.array([0.3]), STEP)
    assert matched.aspect[0] == pytest.approx(aspect, abs=1e-3)


@pytest.mark.parametrize(("aspect", "end"), [(0.73, 0.75), (1.38, 1.35)])
def test_aspects_that_the_data_cannot_have_are_not_reported(aspect, end):
    """Images are compared with lattices that exist in the data: the answer is the end of their range."""
    spacing, theta, types = np.array([10.0]), np.array([0.3]), np.array([1])
    images = exact_images(1, spacing, theta, np.array([aspect]), SIZE)
    assert match_requested(images, types, spacing, theta, STEP).aspect[0] == end


@given(seed=st.integers(0, 1000), gain=st.floats(0.1, 10.0), offset=st.floats(-2.0, 2.0))
@settings(deadline=None)
def test_standardised_images_multiply_to_their_correlation(seed, gain, offset):
    a, b = np.random.default_rng(seed).random((2, 9, 9))
    flat = standardise(np.stack([a, gain * b + offset]).astype(np.float32))
    assert flat.shape == (2, 81)
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat.sum(axis=1), 0.0, atol=1e-3)
    np.testing.assert_allclose(flat @ flat.T, np.corrcoef(a.ravel(), b.ravel()), rtol=0.0, atol=1e-3)


def test_constant_images_standardise_to_zero():
    images = unit_images(np.arange(256, dtype=np.uint8)[:, None, None, None].repeat(SIZE, axis=2).repeat(SIZE, axis=3))
    assert not standardise(images).any()


def test_bytes_become_unit_images():
    images = unit_images(np.array([0, 51, 255, 102], dtype=np.uint8).reshape(1, 1, 2, 2))
    np.testing.assert_allclose(images, [[[0.0, 0.2], [1.0, 0.4]]], rtol=1e-6)
    assert images.dtype == np.float32


@given(low=st.floats(0.0, 10.0), width=st.floats(0.0, 2.0), step=st.floats(0.01, 1.0))
@settings(deadline=None)
def test_grids_reach_both_bounds_in_even_steps_that_are_small_enough(low, width, step):
    values = grid((low, low + width), step)
    assert values[0] == low
    assert values[-1] == pytest.approx(low + width, abs=1e-6)
    np.testing.assert_allclose(np.diff(values, 2), 0.0, atol=1e-9)
    assert (np.diff(values) <= step * (1 + 1e-9)).all()


def test_a_grid_between_equal_bounds_is_one_value():
    assert grid((1.0, 1.0), 0.02).tolist() == [1.0]


@pytest.mark.parametrize(("mse", "expected"), [(1.0, 0.0), (0.1, 10.0), (1e-4, 40.0), (0.0, 99.0), (1e-11, 99.0), (10.0, -10.0)])
def test_psnr_is_minus_ten_log_ten_and_finite(mse, expected):
    assert psnr(mse) == pytest.approx(expected)
