import math
from dataclasses import FrozenInstanceError

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from toycrystals.crystals.lattice import LATTICES, TYPES, place, wrapped

ROOT3 = math.sqrt(3.0)
# Second lattice vector (the first is (1, 0)), motif, symmetry order: written down here a second time.
GEOMETRY = {
    "square": ((0.0, 1.0), [(0.0, 0.0)], 4),
    "rectangular": ((0.0, 1.0), [(0.0, 0.0)], 2),
    "triangular": ((0.5, ROOT3 / 2), [(0.0, 0.0)], 6),
    "honeycomb": ((0.5, ROOT3 / 2), [(0.0, 0.0), (0.5, ROOT3 / 6)], 3),
}
BOX = 40


def every_site(name):
    """All sites with indices in a box that is far larger than any disc asked for below."""
    (x2, y2), motif, _ = GEOMETRY[name]
    return [(i + j * x2 + dx, j * y2 + dy) for i in range(-BOX, BOX + 1) for j in range(-BOX, BOX + 1) for dx, dy in motif]


EVERY_SITE = {name: np.array(every_site(name)) for name in GEOMETRY}
lattices = st.sampled_from(LATTICES)


def by_coordinates(sites):
    return sites[np.lexsort(sites.T.round(6))]


def test_types_are_in_their_documented_order():
    assert TYPES == tuple(GEOMETRY) == ("square", "rectangular", "triangular", "honeycomb")


@settings(deadline=None, max_examples=60)
@given(lattices, st.floats(0.0, 14.0), st.floats(0.7, 1.4))
def test_unit_sites_are_exactly_those_within_the_radius(lattice, radius, aspect):
    every = EVERY_SITE[lattice.name]
    distance = np.hypot(every[:, 0], aspect * every[:, 1])
    assume(np.abs(distance - radius).min() > 1e-9)
    expected = every[distance <= radius]
    found = lattice.unit_sites(radius, aspect)
    assert found.shape == expected.shape
    np.testing.assert_allclose(by_coordinates(found), by_coordinates(expected), atol=1e-12)


@pytest.mark.parametrize("lattice", LATTICES, ids=TYPES)
@pytest.mark.parametrize("aspect", [0.75, 1.0, 1.35])
def test_sites_are_sorted_by_distance_then_coordinates_with_the_central_one_first(lattice, aspect):
    sites = lattice.unit_sites(9.3, aspect)
    assert tuple(sites[0]) == (0.0, 0.0)
    keys = [(round(math.hypot(x, aspect * y), 7), round(x, 7), round(y, 7)) for x, y in sites]
    assert keys == sorted(keys)


def turned(sites, angle):
    return sites @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def is_symmetric(lattice, angle, aspect):
    """Whether turning the sites near the centre by `angle` puts each of them on another."""
    inner, outer = (lattice.unit_sites(radius, aspect) * (1.0, aspect) for radius in (4.3, 5.0))
    gaps = np.linalg.norm(turned(inner, angle)[:, None] - outer[None], axis=2).min(axis=1)
    return bool(gaps.max() < 1e-9)


@pytest.mark.parametrize("lattice", LATTICES, ids=TYPES)
def test_symmetry_order_is_right_and_no_higher_one_holds(lattice):
    aspect = 1.3 if lattice.has_aspect else 1.0
    assert lattice.symmetry_order == GEOMETRY[lattice.name][2]
    assert lattice.period * lattice.symmetry_order == pytest.approx(2 * math.pi)
    assert is_symmetric(lattice, lattice.period, aspect)
    assert not any(is_symmetric(lattice, 2 * math.pi / n, aspect) for n in range(lattice.symmetry_order + 1, 25))


def test_only_the_rectangular_lattice_has_an_aspect():
    assert [lattice.aspect_range for lattice in LATTICES] == [(1.0, 1.0), (0.75, 1.35), (1.0, 1.0), (1.0, 1.0)]
    assert [lattice.has_aspect for lattice in LATTICES] == [False, True, False, False]


def test_nearest_neighbours_of_the_honeycomb_are_three_at_a_over_root_three():
    sites = LATTICES[3].unit_sites(0.99)
    np.testing.assert_allclose(np.linalg.norm(sites[1:], axis=1), [1 / ROOT3] * 3)


@settings(deadline=None, max_examples=50)
@given(lattices, st.integers(0, 2**32 - 1))
def test_place_turns_and_scales_about_the_centre(lattice, seed):
    rng = np.random.default_rng(seed)
    unit = lattice.unit_sites(3.0)
    spacing, theta, aspect = rng.uniform(1, 20, 5), rng.uniform(-7, 7, 5), rng.uniform(0.5, 2, 5)
    cx, cy = rng.uniform(-50, 50, 2)
    placed = place(unit, spacing, theta, aspect, (cx, cy))
    assert placed.shape == (5, len(unit), 2)
    stretched = unit[None, :, 0] + 1j * aspect[:, None] * unit[None, :, 1]
    expected = complex(cx, cy) + (spacing * np.exp(1j * theta))[:, None] * stretched
    np.testing.assert_allclose(placed[..., 0] + 1j * placed[..., 1], expected, atol=1e-10)


def test_rotation_is_counter_clockwise_in_x_y_pixel_coordinates():
    quarter = place(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([10.0]), np.array([math.pi / 2]), np.array([1.5]), (32.0, 16.0))
    np.testing.assert_allclose(quarter[0], [[32.0, 26.0], [17.0, 16.0]])


@settings(deadline=None, max_examples=60)
@given(st.floats(-30.0, 30.0), st.floats(0.1, 7.0))
def test_wrapped_differences_are_the_shortest_turn(difference, period):
    found = wrapped(np.array([difference]), period)[0]
    assert -period / 2 - 1e-9 <= found <= period / 2 + 1e-9
    turns = (difference - found) / period
    assert turns == pytest.approx(round(turns), abs=1e-6)
    assert abs(found) == pytest.approx(np.abs(difference + period * np.arange(-400, 401)).min(), abs=1e-6)
    assert wrapped(torch.tensor([difference], dtype=torch.float64), period).item() == pytest.approx(found, abs=1e-9)


def test_half_a_period_is_wrapped_to_the_lower_end():
    np.testing.assert_array_equal(wrapped(np.array([2.0, -2.0, 1.0, -1.0, 6.0]), 4.0), [-2.0, -2.0, 1.0, -1.0, -2.0])


def test_every_difference_may_have_a_period_of_its_own():
    np.testing.assert_array_equal(wrapped(np.array([3.0, 3.0]), np.array([4.0, 10.0])), [-1.0, 3.0])


def test_a_lattice_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        LATTICES[0].symmetry_order = 8
