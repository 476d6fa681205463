"""Lattices recovered from exact crystals: off the grid, rounded, blurred, faded, with vacancies, asked for as another type."""

import math

import numpy as np
import pytest
from crystals import ASPECTS, PERIODS, RECTANGULAR, SIZE, SQUARE, angle_error, crystal, every_type, reasons, rounded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from toycrystals.crystals.lattice import LATTICES, place
from toycrystals.crystals.render import atom_sigma, render


def blurred(images):
    noise = np.random.default_rng(0).normal(0.0, 0.1, images.shape)
    return (gaussian_filter(images, (0, 1.0, 1.0)) + noise).astype(np.float32)


@pytest.mark.parametrize("spoil", [lambda images: images, rounded], ids=["exact", "rounded"])
def test_exact_images_are_recovered(recover, spoil):
    images, types, theta, aspect = every_type(15)
    found = recover(spoil(images))
    np.testing.assert_array_equal(found.type, types)
    np.testing.assert_array_equal(found.spacing, 10.0)
    assert angle_error(found.theta, theta, types).max() < 0.03
    np.testing.assert_allclose(found.aspect, aspect, rtol=0.0, atol=1e-3)
    assert found.ncc.min() > 0.9995
    assert found.ncc.max() < 1.0 + 1e-6
    assert set(reasons(found)) == {"ok"}
    assert np.isnan(found.vacancy).all()


@given(
    k=st.sampled_from(range(4)),
    turn=st.floats(0.0, 1.0, exclude_max=True),
    aspect=st.one_of(st.floats(0.75, 0.97), st.floats(1.03, 1.35)),
)
@settings(deadline=None, max_examples=60)
def test_lattices_between_the_points_of_the_grid_are_recovered(recover, k, turn, aspect):
    theta, aspect = turn * PERIODS[k], aspect if LATTICES[k].has_aspect else 1.0
    found = recover(crystal(k, theta, aspect))
    assert found.type[0] == k
    assert angle_error(found.theta, theta, found.type)[0] < 0.05
    assert found.aspect[0] == pytest.approx(aspect, abs=2e-3)
    assert found.ncc[0] > 0.999
    assert 0.0 <= found.theta[0] < PERIODS[k]


@given(k=st.sampled_from(range(4)), theta=st.floats(0.0, math.pi), spacing=st.floats(6.0, 14.0), aspect=st.sampled_from(ASPECTS))
@settings(deadline=None, max_examples=40)
def test_free_spacings_are_recovered(recover_full, k, theta, spacing, aspect):
    aspect = aspect if LATTICES[k].has_aspect else 1.0
    found = recover_full(crystal(k, theta, aspect, spacing))
    assert found.type[0] == k
    assert found.spacing[0] == pytest.approx(spacing, rel=2e-3)
    assert found.aspect[0] == pytest.approx(aspect, rel=3e-3)
    assert angle_error(found.theta, theta, found.type)[0] < 0.2
    assert found.ncc[0] > 0.99
    assert found.vacancy[0] == 0.0


def test_rectangles_are_told_from_their_exchanged_sides_by_the_width_of_their_atoms(recover_full):
    """8 by 9.6 with atoms of 0.96 pixels, or 9.6 by 8 with atoms of 1.15: the same points."""
    images = np.concatenate([crystal(RECTANGULAR, 0.2, 1.2, 8.0), crystal(RECTANGULAR, 0.2 + math.pi / 2, 1 / 1.2, 9.6)])
    found = recover_full(images)
    np.testing.assert_allclose(found.spacing, [8.0, 9.6], rtol=2e-3)
    np.testing.assert_allclose(found.aspect, [1.2, 1 / 1.2], rtol=2e-3)


def test_lattices_are_found_under_blur_and_noise(recover):
    images, types, theta, aspect = every_type(10)
    found = recover(blurred(images))
    np.testing.assert_array_equal(found.type, types)
    assert angle_error(found.theta, theta, types).max() < 0.6
    np.testing.assert_allclose(found.aspect, aspect, rtol=0.0, atol=0.01)
    assert found.ncc.max() < 0.99


@pytest.mark.parametrize("k", range(4))
def test_turning_by_the_symmetry_period_changes_nothing(recover, k):
    aspect = 0.8543 if LATTICES[k].has_aspect else 1.0
    found = recover(np.concatenate([crystal(k, 0.3 + turns * PERIODS[k], aspect) for turns in (-1, 0, 1, 5)]))
    np.testing.assert_allclose(found.theta, 0.3, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("degrees", [-0.3, -1e-9, 0.0, 0.3])
def test_angles_lie_in_the_period_of_the_type(recover, degrees):
    """An angle below zero is as far below the period, on the other side of the grid's first angle."""
    for k, period in enumerate(PERIODS):
        found = recover(crystal(k, math.radians(degrees), 0.8543 if LATTICES[k].has_aspect else 1.0))
        assert 0.0 <= found.theta[0] < period
        assert angle_error(found.theta, math.radians(degrees), found.type)[0] < 0.05


@pytest.mark.parametrize("aspect", [0.73, 1.38])
def test_aspects_that_the_data_cannot_have_are_not_reported(recover, aspect):
    found = recover(crystal(RECTANGULAR, 0.3, aspect))
    assert found.aspect[0] == pytest.approx(np.clip(aspect, 0.75, 1.35))


def test_a_square_is_no_rectangle_but_a_rectangle_of_one_percent_is(recover):
    found = recover(rounded(np.concatenate([crystal(RECTANGULAR, 0.3, aspect) for aspect in (1.0, 0.99, 1.01)])))
    assert found.type.tolist() == [SQUARE, RECTANGULAR, RECTANGULAR]


def test_correlation_is_that_with_the_lattice_that_is_reported(recover):
    images, types, *_ = every_type(3)
    images, asked = blurred(images), (types + 1) % 4
    found = recover(images, asked)
    for i, image in enumerate(images):
        for k, theta, aspect, spacing, ncc in (
            (found.type[i], found.theta[i], found.aspect[i], found.spacing[i], found.ncc[i]),
            (asked[i], found.asked_theta[i], found.asked_aspect[i], found.asked_spacing[i], found.asked_ncc[i]),
        ):
            lattice = crystal(int(k), theta, aspect, spacing)
            assert ncc == pytest.approx(np.corrcoef(image.ravel(), lattice.ravel())[0, 1], abs=1e-5)


def test_steps_that_lead_away_are_not_taken(recover, monkeypatch):
    """Without a better lattice to be had, the answer is the best of the grid."""

    def astray(images, rows, *_):
        return np.tile(np.eye(3), (len(rows), 1, 1)), np.full((len(rows), 3), 0.2)

    monkeypatch.setattr("toycrystals.metrics.recovery.normal_equations", astray)
    degrees, aspect = np.array([4.3, 31.6, 59.9, 88.2]), np.array([1.0, 0.812, 1.0, 1.0])
    found = recover(np.concatenate([crystal(k, math.radians(degrees[k]), aspect[k]) for k in range(4)]))
    np.testing.assert_allclose(np.degrees(found.theta), [4.0, 32.0, 0.0, 88.0], rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(found.aspect, [1.0, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("k", range(4))
def test_brightness_and_contrast_change_nothing(recover_full, k):
    spacing, aspect = np.array([9.0]), np.array([1.2 if LATTICES[k].has_aspect else 1.0])
    sites = place(LATTICES[k].unit_sites(8.0, 0.75), spacing, np.array([0.3]), aspect, (SIZE / 2, SIZE / 2))
    image = render(sites, atom_sigma(spacing), SIZE, np.random.default_rng(1).random(sites.shape[:2]) > 0.2)
    straight, faded = recover_full(image), recover_full(0.3 * image + 0.6)
    for name in ("type", "vacancy"):
        np.testing.assert_array_equal(getattr(faded, name), getattr(straight, name))
    for name in ("spacing", "theta", "aspect", "ncc"):
        np.testing.assert_allclose(getattr(faded, name), getattr(straight, name), rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("k", range(4))
def test_vacancies_are_a_share_of_the_sites_inside(recover_full, k):
    spacing, theta, aspect = np.array([9.0]), np.array([0.3]), np.array([1.2 if LATTICES[k].has_aspect else 1.0])
    sites = place(LATTICES[k].unit_sites(8.0, 0.75), spacing, theta, aspect, (SIZE / 2, SIZE / 2))
    present = np.random.default_rng(1).random(sites.shape[:2]) > 0.15
    found = recover_full(render(sites, atom_sigma(spacing), SIZE, present))
    inside = np.all((sites >= -0.5) & (sites <= SIZE - 0.5), axis=2)
    assert found.type[0] == k
    # The rest of the sites lie on the image's very border, where the recovered lattice may count one more or less.
    assert found.vacancy[0] == pytest.approx(np.mean(~present[inside]), abs=0.02)
    assert found.vacancy[0] > 0.05


def test_the_asked_type_may_be_another_than_the_one_found(recover):
    images, types, *_ = every_type(4)
    asked = (types + 1) % 4
    found = recover(images, asked)
    np.testing.assert_array_equal(found.type, types)
    wrong = asked != RECTANGULAR  # a square is a rectangle of aspect 1
    assert (found.asked_ncc[wrong] < 0.9).all()
    np.testing.assert_allclose(found.asked_aspect[types == SQUARE], 1.0, rtol=0.0, atol=1e-3)
    assert (found.asked_ncc[types == SQUARE] > 0.999).all()
    right = recover(images, types)
    for name in ("spacing", "theta", "aspect", "ncc"):
        np.testing.assert_array_equal(getattr(right, f"asked_{name}"), getattr(right, name))
        np.testing.assert_array_equal(getattr(right, name), getattr(found, name))


def test_where_no_type_is_asked_for_the_found_lattice_stands_in(recover):
    found = recover(every_type(2)[0])
    for name in ("spacing", "theta", "aspect", "ncc"):
        np.testing.assert_array_equal(getattr(found, f"asked_{name}"), getattr(found, name))
