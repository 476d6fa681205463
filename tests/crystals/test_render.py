import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from toycrystals.crystals.render import CUTOFF, atom_sigma, render, render_uint8


def slow_sum(sites, sigma, size):
    """Every atom at every pixel, [size, size], without a cutoff."""
    image = np.zeros((size, size))
    y, x = np.mgrid[:size, :size]
    for site_x, site_y in sites:
        image += np.exp(-((x - site_x) ** 2 + (y - site_y) ** 2) / (2 * sigma**2))
    return image


def slow_crystal(lattice_type, spacing, theta, aspect, size):
    """A perfect crystal, [size, size] with maximum 1, from its lattice vectors: site by site, pixel by pixel."""
    v1 = complex(spacing, 0)
    v2 = (1j * spacing, 1j * spacing * aspect, spacing * complex(0.5, math.sqrt(3) / 2), spacing * complex(0.5, math.sqrt(3) / 2))
    motif = [0j] if lattice_type < 3 else [0j, spacing * complex(0.5, math.sqrt(3) / 6)]
    turn, centre = complex(math.cos(theta), math.sin(theta)), complex(size / 2, size / 2)
    reach = int(3 * size / spacing) + 6
    sites = []
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            for atom in motif:
                site = centre + turn * (i * v1 + j * v2[lattice_type] + atom)
                if -20 < site.real < size + 20 and -20 < site.imag < size + 20:
                    sites.append((site.real, site.imag))
    image = slow_sum(sites, max(0.6, 0.12 * spacing), size)
    return image / image.max()


@st.composite
def scenes(draw):
    """Sites in and around an image, those left out, the width of an atom and the image's size; at least one atom in sight."""
    size = draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 12))
    sites = rng.uniform(-15, size + 15, (n, 2))
    sites[:, draw(st.integers(0, 1))] = rng.choice([0.0, 0.5, size - 1, size / 2, -0.5], n)
    present = rng.random(n) < 0.7
    sigma = draw(st.floats(0.6, 1.68))
    return sites, present, sigma, size


@settings(deadline=None, max_examples=100)
@given(scenes())
def test_images_are_the_normalised_sum_of_all_atoms(scene):
    sites, present, sigma, size = scene
    expected = slow_sum(sites[present], sigma, size)
    # Where only the far tail of an atom is in sight, the division magnifies what the cutoff leaves out.
    assume(expected.max() > 1e-2)
    image = render(sites[None], np.array([sigma]), size, present[None])[0]
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, expected / expected.max(), atol=3e-7)


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_uint8_is_the_nearest_of_256_levels(scene):
    sites, present, sigma, size = scene
    arguments = sites[None], np.array([sigma]), size, present[None]
    levels, exact = render_uint8(*arguments), 255.0 * render(*arguments).astype(np.float64)
    assert levels.dtype == np.uint8
    assert np.abs(levels - exact).max() <= 0.5 + 1e-4
    assert levels.max() == (255 if exact.any() else 0)


def test_rows_are_y_and_columns_are_x():
    image = render_uint8(np.array([[[10.0, 3.0]]]), np.array([1.0]), 16)[0]
    assert np.unravel_index(image.argmax(), image.shape) == (3, 10)
    assert image[3, 10] == 255


def test_one_sigma_away_an_atom_has_fallen_to_the_root_of_one_over_e():
    image = render(np.array([[[8.0, 8.0]]]), np.array([2.0]), 17)[0]
    assert image[8, 8] == 1.0
    assert image[8, 10] == pytest.approx(math.exp(-0.5))
    assert image[6, 10] == pytest.approx(math.exp(-1.0))


def test_the_cutoff_leaves_out_less_than_any_level_can_show():
    assert math.exp(-(CUTOFF**2) / 2) < 3e-11


@pytest.mark.parametrize("draw", [render, render_uint8])
@pytest.mark.parametrize("present", [np.zeros((2, 3), dtype=bool), None], ids=["all vacant", "all far away"])
def test_an_image_without_atoms_is_zero(draw, present):
    sites = np.full((2, 3, 2), 8.0 if present is not None else 400.0)
    assert not draw(sites, np.ones(2), 16, present).any()


@pytest.mark.parametrize("draw", [render, render_uint8])
def test_an_image_does_not_depend_on_its_batch(draw):
    rng = np.random.default_rng(0)
    sites, sigma, present = rng.uniform(-5, 37, (6, 20, 2)), rng.uniform(0.6, 1.7, 6), rng.random((6, 20)) < 0.8
    together = draw(sites, sigma, 32, present)
    alone = [draw(sites[b : b + 1], sigma[b : b + 1], 32, present[b : b + 1])[0] for b in range(6)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("draw", [render, render_uint8])
def test_a_missing_site_is_as_if_it_were_never_there(draw):
    rng = np.random.default_rng(1)
    sites, present = rng.uniform(0, 32, (1, 20, 2)), rng.random((1, 20)) < 0.5
    np.testing.assert_array_equal(draw(sites, np.ones(1), 32, present), draw(sites[:, present[0]], np.ones(1), 32))


def test_moving_all_atoms_by_whole_pixels_moves_the_image():
    sites = np.random.default_rng(2).uniform(12, 20, (1, 8, 2))
    image = render(sites, np.ones(1), 40)[0]
    np.testing.assert_allclose(render(sites + np.array([5.0, 2.0]), np.ones(1), 40)[0][2:, 5:], image[:-2, :-5], atol=1e-6)


@pytest.mark.parametrize(("spacing", "sigma"), [(1.0, 0.6), (5.0, 0.6), (6.0, 0.72), (10.0, 1.2), (14.0, 1.68)])
def test_atoms_grow_with_the_spacing_down_to_a_floor(spacing, sigma):
    assert atom_sigma(np.array(spacing)) == pytest.approx(sigma)


def test_an_empty_batch_gives_no_images():
    assert render(np.empty((0, 3, 2)), np.empty(0), 16).shape == (0, 16, 16)
    assert render_uint8(np.empty((0, 3, 2)), np.empty(0), 16).shape == (0, 16, 16)
