"""Rendered crystals against the slow double loop: perfect ones, those of samples, and what vacancies and jitter do to them."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from scipy.stats import kstest
from small_samples import FULL
from test_render import slow_crystal, slow_sum

from toycrystals.crystals import dataset
from toycrystals.crystals.dataset import DatasetSpec, exact_bytes, exact_images, make_block, make_samples, redraw, site_radius
from toycrystals.crystals.lattice import LATTICES, TYPES


@pytest.fixture(scope="module")
def full():
    return make_samples(FULL, "train", 2048)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 3),
    st.floats(6.0, 14.0),
    st.floats(-7.0, 7.0),
    st.floats(0.75, 1.35),
    st.integers(16, 40),
)
@example(1, 6.0, math.pi / 4, 0.75, 40)
@example(1, 6.0, -math.pi / 4, 1.35, 40)
def test_perfect_crystals_are_those_of_the_slow_double_loop(lattice_type, spacing, theta, aspect, size):
    image = exact_images(
        lattice_type, np.array([spacing]), np.array([theta]), np.array([aspect if lattice_type == 1 else 1.0]), size
    )
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], slow_crystal(lattice_type, spacing, theta, aspect, size), atol=1e-6)


@pytest.mark.parametrize("variant", ["simple", "rot_only"])
@pytest.mark.parametrize("size", [64, 33])
def test_dataset_images_are_those_of_the_slow_double_loop(variant, size):
    samples = make_samples(DatasetSpec(variant, 4, size, 3), "val", 32)
    assert set(samples.type) == {0, 1, 2, 3}
    for image, lattice_type, (spacing, theta, _, _, aspect) in zip(samples.images, samples.type, samples.factors, strict=True):
        expected = 255 * slow_crystal(lattice_type, float(spacing), float(theta), float(aspect), size)
        # Half a level of rounding, and the factors' own rounding to float32.
        assert np.abs(image[0] - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
def test_exact_bytes_are_those_of_the_dataset(lattice_type):
    samples = make_samples(DatasetSpec("rot_only", 4, 33, 3), "val", 64)
    kept = samples[np.flatnonzero(samples.type == lattice_type)]
    spacing, theta, _, _, aspect = kept.factors.astype(np.float64).T
    found = exact_bytes(lattice_type, spacing, theta, aspect, 33)
    assert (found.dtype, found.shape) == (np.uint8, (len(kept), 33, 33))
    # Factors were rounded to float32 after the images were made.
    assert np.abs(found.astype(int) - kept.images[:, 0]).max() <= 1
    assert np.mean(found == kept.images[:, 0]) > 0.999
    np.testing.assert_array_equal(found, np.floor(exact_images(lattice_type, spacing, theta, aspect, 33) * 255.0 + 0.5))


@pytest.fixture
def rendered(monkeypatch):
    """What the renderer was asked for, call by call."""
    calls = []

    def spy(sites, sigma, size, present):
        calls.append((sites.copy(), sigma.copy(), present.copy()))
        return real(sites, sigma, size, present)

    real = dataset.render_uint8
    monkeypatch.setattr(dataset, "render_uint8", spy)
    return calls


def test_disordered_images_are_those_of_the_slow_double_loop_over_their_atoms(rendered):
    samples = make_block(FULL, "train", 0, 24)
    for lattice_type, (sites, _, present) in enumerate(rendered):
        rows = np.flatnonzero(samples.type == lattice_type)
        assert len(rows) == len(sites) > 0
        for row, atoms, there in zip(rows, sites, present, strict=True):
            expected = slow_sum(atoms[there], max(0.6, 0.12 * float(samples.factors[row, 0])), 64)
            assert np.abs(samples.images[row, 0] - 255 * expected / expected.max()).max() <= 0.5 + 1e-3


def test_disordered_images_resemble_the_perfect_crystal_of_their_labels(full):
    nearly_perfect = np.flatnonzero((full.labels[:, 2] < 0.06) & (full.labels[:, 3] < 0.15))
    assert len(nearly_perfect) > 50
    for row in nearly_perfect:
        spacing, theta, _, _, aspect = full.factors[row].astype(float)
        perfect = exact_images(full.type[row], np.array([spacing]), np.array([theta]), np.array([aspect]), 64)[0]
        assert np.corrcoef(perfect.ravel(), full.images[row].ravel())[0, 1] > 0.85


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
@pytest.mark.parametrize(("theta", "spacing"), [(0.0, 10.0), (0.3, 6.5), (1.0, 13.0)])
def test_an_image_repeats_with_its_types_period_and_no_part_of_it(lattice_type, theta, spacing):
    period = LATTICES[lattice_type].period
    assert period == pytest.approx(np.deg2rad((90, 180, 60, 120)[lattice_type]))
    angles = theta + period * np.array([0.0, 1.0, -1.0, 2.0, 1 / 2, 1 / 3, 1 / 4, 0.1])
    aspect = 1.3 if lattice_type == 1 else 1.0
    images = exact_images(lattice_type, np.full(8, spacing), angles, np.full(8, aspect), 64)
    changes = np.abs(images - images[0]).max(axis=(1, 2))
    assert (changes[:4] < 1e-5).all()
    assert (changes[4:] > 0.3).all()


@pytest.mark.parametrize("size", [16, 33, 64])
def test_one_site_lies_at_half_the_width_and_height(size):
    images = make_samples(DatasetSpec("rot_only", 3, size, 1), "train", 200).images[:, 0]
    if size % 2 == 0:
        assert (images[:, size // 2, size // 2] == 255).all()
    # These three lattices look the same from both sides of a site: pixel (x, y) and pixel (W - x, H - y).
    np.testing.assert_allclose(images[:, 1:, 1:].astype(int), images[:, :0:-1, :0:-1], atol=1)


def test_a_batch_of_perfect_crystals_is_each_of_them_alone():
    rng = np.random.default_rng(0)
    spacing, theta, aspect = rng.uniform(6, 14, 12), rng.uniform(0, 3, 12), rng.uniform(0.6, 1.6, 12)
    together = exact_images(1, spacing, theta, aspect, 32)
    alone = [exact_images(1, spacing[i : i + 1], theta[i : i + 1], aspect[i : i + 1], 32)[0] for i in range(12)]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_no_crystals_give_no_images():
    assert exact_images(0, np.empty(0), np.empty(0), np.empty(0), 32).shape == (0, 32, 32)


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
def test_vacancies_and_jitter_have_the_share_and_the_spread_asked_for(lattice_type):
    b, share, spread = 400, 0.2, 0.5
    factors = np.tile([7.0, 0.4, share, spread, 0.9 if lattice_type == 1 else 1.0], (b, 1))
    ordered = factors * (1, 1, 0, 0, 1)
    sites, present = dataset._disturbed_sites(np.random.default_rng(0), FULL, lattice_type, factors)
    perfect, complete = dataset._disturbed_sites(np.random.default_rng(0), FULL, lattice_type, ordered)
    assert complete.all()
    assert np.ptp(perfect, axis=0).max() == 0.0
    n = present.size
    assert abs((~present).mean() - share) < 5 * math.sqrt(share * (1 - share) / n)
    moved = (sites - perfect).reshape(-1, 2)
    assert np.abs(moved.mean(axis=0)).max() < 5 * spread / math.sqrt(n)
    assert np.abs(moved.std(axis=0) / spread - 1).max() < 5 / math.sqrt(2 * n)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 5 / math.sqrt(n)
    assert kstest(moved.ravel()[:20_000] / spread, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(present.ravel(), np.hypot(*moved.T))[0, 1]) < 5 / math.sqrt(n)


def test_each_crystal_has_vacancies_and_jitter_of_its_own():
    factors = np.array([[10.0, 0.0, 0.0, 0.0, 1.0], [10.0, 0.0, 0.25, 0.6, 1.0], [10.0, 0.0, 0.1, 0.2, 1.0]]).repeat(200, axis=0)
    sites, present = dataset._disturbed_sites(np.random.default_rng(0), FULL, 0, factors)
    missing = (~present).reshape(3, -1).mean(axis=1)
    spreads = (sites - sites[0]).reshape(3, -1).std(axis=1)
    np.testing.assert_allclose(missing, [0.0, 0.25, 0.1], atol=0.01)
    np.testing.assert_allclose(spreads, [0.0, 0.6, 0.2], atol=0.01)


@pytest.mark.parametrize("variant", ["simple", "rot_only"])
def test_ordered_variants_have_every_site_in_its_place(variant):
    factors = np.array([[10.0, 0.2, 0.0, 0.0, 1.0]])
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    _, present = dataset._disturbed_sites(rng, DatasetSpec(variant, 4, 64, 0), 2, factors)
    assert present.all()
    assert rng.bit_generator.state == state


def test_redrawn_images_show_their_redrawn_factors():
    test = make_samples(DatasetSpec("rot_only", 4, 32, 0), "test", 40)
    again = redraw(DatasetSpec("rot_only", 4, 32, 0), test.type, test.factors)
    for image, lattice_type, (spacing, theta, _, _, aspect) in zip(again.images, again.type, again.factors, strict=True):
        expected = slow_crystal(lattice_type, float(spacing), float(theta), float(aspect), 32)
        assert np.abs(image[0] - 255 * expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("spacing", "jitter"), [([8.0], 0.0), ([6.0, 14.0], 0.0), ([6.0, 14.0], 3.6)])
def test_no_site_beyond_the_radius_reaches_a_pixel(spacing, jitter):
    """A site's atom is seen to 7 sigma, and a jittered site comes from `jitter` pixels further away."""
    radius = site_radius(64, np.array(spacing), jitter)
    for a in spacing:
        beyond = radius * a - jitter
        assert beyond - 7.0 * max(0.6, 0.12 * a) >= 32 * math.sqrt(2) - 1e-9
    assert any(math.isclose(radius * a, 32 * math.sqrt(2) + 7.0 * max(0.6, 0.12 * a) + jitter) for a in spacing)
