"""Atoms seen and missed one by one, and correlations of rows."""

import numpy as np
import pytest
from crystals import HONEYCOMB, SIZE

from toycrystals.crystals.lattice import LATTICES, place
from toycrystals.crystals.render import atom_sigma, render
from toycrystals.metrics.atoms import correlation, presence
from toycrystals.metrics.matching import standardise


@pytest.mark.parametrize("k", range(4))
def test_each_absent_atom_is_seen(k):
    spacing, aspect = np.array([8.0]), np.array([1.2 if LATTICES[k].has_aspect else 1.0])
    unit = LATTICES[k].unit_sites(8.0, 0.75)
    sites = place(unit, spacing, np.array([0.3]), aspect, (SIZE / 2, SIZE / 2))
    inside = np.all((sites >= -0.5) & (sites <= SIZE - 0.5), axis=2)
    rng = np.random.default_rng(k)
    truth = rng.random(inside.shape) > 0.2
    moved = sites + 0.3 * rng.standard_normal(sites.shape)
    sigma = atom_sigma(spacing)
    present, atoms = presence(render(moved, sigma, SIZE, truth), np.zeros(1, dtype=np.intp), sites, sigma)
    np.testing.assert_array_equal(present[inside], truth[inside])
    assert present[~inside].all()
    well_inside = np.all((sites >= 6.0) & (sites <= SIZE - 7.0), axis=2) & truth
    np.testing.assert_allclose(atoms[well_inside], moved[well_inside], rtol=0.0, atol=0.05)


def test_an_atom_that_leans_into_a_vacancy_does_not_fill_it():
    spacing, unit = np.array([6.0]), LATTICES[HONEYCOMB].unit_sites(6.0)
    sites = place(unit, spacing, np.zeros(1), np.ones(1), (SIZE / 2, SIZE / 2))
    distance = np.hypot(*(sites[0] - sites[0, 0]).T)
    neighbour = np.flatnonzero(np.isclose(distance, distance[1]))[0]
    sites_moved = sites.copy()
    sites_moved[0, neighbour] += 0.36 * (sites[0, 0] - sites[0, neighbour])
    truth = np.arange(len(unit))[None] != 0
    sigma = atom_sigma(spacing)
    present, _ = presence(render(sites_moved, sigma, SIZE, truth), np.zeros(1, dtype=np.intp), sites, sigma)
    np.testing.assert_array_equal(np.flatnonzero(~present[0]), [0])


def test_correlation_is_that_of_standardised_images():
    images = np.random.default_rng(0).random((5, 9, 9)).astype(np.float32)
    images[3] = 0.5
    rows = np.array([4, 0, 2, 2, 1])
    expected = np.einsum("ij,ij->i", standardise(images), standardise(images[rows]))
    np.testing.assert_allclose(correlation(standardise(images), rows, images), expected, rtol=0.0, atol=1e-6)
