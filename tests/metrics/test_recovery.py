"""Ground truth recovered from images: exact, rounded, blurred, disturbed, hopeless ones, and none at all."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from toycrystals.dataset import VARIANTS, DatasetSpec, exact_images, make_samples
from toycrystals.lattice import LATTICES, place
from toycrystals.metrics.atoms import correlation, presence
from toycrystals.metrics.matching import standardise, unit_images
from toycrystals.metrics.recovery import FAINT, NO_LATTICE, NO_LATTICE_DISTURBED, REASONS, LatticeRecovery
from toycrystals.metrics.templates import Templates, thumbnails
from toycrystals.render import atom_sigma, render

SIZE = 64
SQUARE, RECTANGULAR, TRIANGULAR, HONEYCOMB = range(4)
PERIODS = np.array([lattice.period for lattice in LATTICES])
# Aspects this far from 1 keep the rectangular lattice apart from the square one.
ASPECTS = [0.77, 0.8543, 1.1787, 1.33]


@pytest.fixture(scope="module")
def recover():
    return LatticeRecovery("rot_only", 4, SIZE, theta_step=2.0, aspect_step=0.05)


@pytest.fixture(scope="module")
def recover_full():
    return LatticeRecovery("full", 4, SIZE, theta_step=2.0, aspect_step=0.05)


@pytest.fixture(scope="module")
def disturbed(recover_full):
    """Real images of the hardest variant and what is recovered from them."""
    samples = make_samples(DatasetSpec("full", 4, SIZE, seed=0), "test", 240)
    return samples, recover_full(unit_images(samples.images), samples.type)


def crystal(k, theta, aspect=1.0, spacing=10.0, size=SIZE):
    return exact_images(k, np.array([spacing]), np.array([theta]), np.array([aspect]), size)


def every_type(n):
    """Exact crystals of all types with their truth: images, types, theta, aspect."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(4), n)
    theta = rng.uniform(0.0, PERIODS[types])
    aspect = np.where(types == RECTANGULAR, rng.choice(ASPECTS, 4 * n), 1.0)
    images = np.concatenate([crystal(k, *rest) for k, *rest in zip(types, theta, aspect, strict=True)])
    return images, types, theta, aspect


def rounded(images):
    return np.round(images * 255).astype(np.float32) / 255


def blurred(images):
    noise = np.random.default_rng(0).normal(0.0, 0.1, images.shape)
    return (gaussian_filter(images, (0, 1.0, 1.0)) + noise).astype(np.float32)


def angle_error(found, theta, types):
    """In degrees, modulo the type's symmetry."""
    period = PERIODS[types]
    return np.degrees(np.abs((found - theta + period / 2) % period - period / 2))


def assert_equal(a, b):
    for field in fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


def reasons(recovered):
    return [REASONS[code] for code in recovered.reason]


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


def test_each_hopeless_image_has_its_reason(recover):
    good = crystal(HONEYCOMB, 0.3)[0]
    noise = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    spoilt = {
        "not_finite": [np.where(noise > 0.999, value, good) for value in (np.nan, np.inf, -np.inf)]
        + [np.full_like(good, np.nan)],
        "blank": [np.full_like(good, level) for level in (-2.0, 0.0, 0.5, 1.0, 1e30)],
        "faint": [good * (FAINT - 0.01), good - 0.9, -noise],
        "no_lattice": [noise, gaussian_filter(noise, 2.0) * 2, np.eye(SIZE), noise * 1e30],
        "ok": [good, good * (FAINT + 0.01), good * 1e30, good - 0.5],
    }
    images = np.stack([image for group in spoilt.values() for image in group]).astype(np.float32)
    found = recover(images, np.full(len(images), TRIANGULAR))
    assert reasons(found) == [reason for reason, group in spoilt.items() for _ in group]
    unsearched = found.reason < REASONS.index("no_lattice")
    np.testing.assert_array_equal(found.ncc[unsearched & (found.reason > 0)], 0.0)
    np.testing.assert_array_equal(found.type[found.reason == 0], HONEYCOMB)
    for field in fields(found):
        assert field.name == "vacancy" or np.isfinite(getattr(found, field.name)).all(), field.name


def test_hopeless_neighbours_change_nothing(recover):
    images, types, *_ = every_type(3)
    mixed = np.full((2 * len(images), SIZE, SIZE), np.nan, dtype=np.float32)
    mixed[1::2] = images
    found = recover(mixed, np.repeat(types, 2))
    np.testing.assert_array_equal(found.type[1::2], types)
    np.testing.assert_array_equal(found.reason, np.tile([REASONS.index("not_finite"), 0], len(images)))
    np.testing.assert_allclose(found.theta[1::2], recover(images, types).theta, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("threshold", [NO_LATTICE, NO_LATTICE_DISTURBED])
def test_the_threshold_divides_lattices_from_the_rest(recover, recover_full, threshold):
    """A lattice under more and more noise: it is lost where its correlation falls below the threshold, and only there."""
    recovery = recover if threshold == NO_LATTICE else recover_full
    noise = np.random.default_rng(0).normal(0.0, 1.0, (SIZE, SIZE))
    found = recovery(
        np.stack([crystal(SQUARE, 0.3)[0] + level * noise for level in np.linspace(0.0, 1.0, 15)]).astype(np.float32)
    )
    np.testing.assert_array_equal(found.reason == 0, found.ncc >= threshold)
    assert set(reasons(found)) == {"ok", "no_lattice"}


def test_no_images_give_no_answers(recover):
    found = recover(np.empty((0, SIZE, SIZE), dtype=np.float32), np.empty(0, dtype=np.int64))
    assert all(getattr(found, field.name).shape == (0,) for field in fields(found))


def test_one_image_repeated_is_one_answer_repeated(recover):
    found = recover(np.repeat(crystal(TRIANGULAR, 0.2), 300, axis=0))
    assert all(len(np.unique(getattr(found, name))) == 1 for name in ("type", "spacing", "aspect", "reason"))
    np.testing.assert_allclose(found.theta, 0.2, rtol=0.0, atol=1e-3)


def test_the_same_images_give_the_same_bits(recover_full, disturbed):
    samples, found = disturbed
    assert_equal(recover_full(unit_images(samples.images), samples.type), found)


def test_long_lists_are_recovered_as_their_parts(recover):
    images = rounded(np.tile(every_type(10)[0], (28, 1, 1)))  # more than one block
    whole, part = recover(images), recover(images[-40:])
    np.testing.assert_array_equal(whole.type[-40:], part.type)
    np.testing.assert_allclose(whole.theta[-40:], part.theta, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, SIZE, SIZE), (2, SIZE, 32), (SIZE, SIZE)])
def test_images_of_another_shape_are_refused(recover, shape):
    with pytest.raises(ValueError, match="expected images"):
        recover(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("asked", [[0], [0, 4], [-1, 0]])
def test_types_that_are_not_searched_cannot_be_asked_for(recover, asked):
    with pytest.raises(ValueError, match="expected 2 types from 0 to 3"):
        recover(np.zeros((2, SIZE, SIZE), dtype=np.float32), np.array(asked))


def test_real_images_are_recovered(recover):
    samples = make_samples(DatasetSpec("rot_only", 4, SIZE, seed=0), "test", 400)
    found = recover(unit_images(samples.images), samples.type)
    errors = angle_error(found.asked_theta, samples.factors[:, 1].astype(np.float64), samples.type)
    assert np.mean(found.type == samples.type) >= 0.995
    assert np.median(errors) < 0.005
    assert np.quantile(errors, 0.95) < 0.03
    assert np.abs(found.asked_aspect - samples.factors[:, 4]).max() < 2e-3
    assert found.ncc.min() > 0.998


def test_disturbed_images_are_recovered(disturbed):
    samples, found = disturbed
    spacing, theta, _, _, aspect = samples.factors.T.astype(np.float64)
    right = found.type == samples.type
    assert right.mean() >= 0.97
    # Only a rectangle that is nearly a square, and the reverse, is mistaken.
    assert set(samples.type[~right]) | set(found.type[~right]) <= {SQUARE, RECTANGULAR}
    assert np.abs(aspect[~right] - 1.0).max(initial=0.0) < 0.06
    errors = angle_error(found.theta, theta, samples.type)[right]
    assert np.median(errors) < 0.08
    assert np.quantile(errors, 0.95) < 0.4
    # A rectangle is not turned by 90 degrees, with its sides exchanged.
    assert np.mean(errors > 2.0) < 0.01
    assert np.median(np.abs(found.spacing / spacing - 1.0)[right]) < 0.002
    assert np.quantile(np.abs(found.aspect - aspect)[right], 0.95) < 0.02
    assert set(reasons(found)) == {"ok"}


def test_vacancies_are_counted_to_the_noise_of_their_draw(disturbed):
    """Vacancies are independent draws: the share in one image scatters about its factor as a binomial does."""
    samples, found = disturbed
    right = found.type == samples.type
    factor = samples.factors[right, 2].astype(np.float64)
    error = found.vacancy[right] - factor
    assert np.median(np.abs(error)) < 0.032
    assert abs(error.mean()) < 0.01
    assert np.corrcoef(found.vacancy[right], factor)[0, 1] > 0.75


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


@pytest.mark.parametrize("variant", ["simple", "rot_only", "full"])
@pytest.mark.parametrize(("n_types", "size"), [(1, 64), (4, 32), (3, 128), (2, 16)])
def test_every_variant_size_and_number_of_types(variant, n_types, size):
    recovery = LatticeRecovery(variant, n_types, size, theta_step=6.0 if variant == "full" else 2.0, aspect_step=0.1)
    samples = make_samples(DatasetSpec(variant, n_types, size, seed=0), "test", 40)
    found = recovery(unit_images(samples.images), samples.type)
    assert found.type.max() < n_types
    assert ((found.theta >= 0.0) & (found.theta < PERIODS[found.type])).all()
    if size >= 32:
        assert np.mean(found.type == samples.type) >= 0.85
    if variant != "full":
        assert set(reasons(found)) == {"ok"}
        np.testing.assert_array_equal(found.spacing, 10.0)
        errors = angle_error(found.asked_theta, samples.factors[:, 1], samples.type)
        # 16 pixels hold little more than one atom: some rectangles look the same after a quarter turn.
        assert errors.max() < 0.1 if size >= 32 else np.median(errors) < 0.5
    else:
        low, high = VARIANTS["full"].spacing
        assert ((found.spacing >= low) & (found.spacing <= high)).all()
        assert ((found.vacancy >= 0.0) & (found.vacancy <= 1.0)).all()


def test_correlation_is_that_of_standardised_images():
    images = np.random.default_rng(0).random((5, 9, 9)).astype(np.float32)
    images[3] = 0.5
    rows = np.array([4, 0, 2, 2, 1])
    expected = np.einsum("ij,ij->i", standardise(images), standardise(images[rows]))
    np.testing.assert_allclose(correlation(standardise(images), rows, images), expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("size", "pixels"), [(16, 256), (32, 1024), (64, 1024), (128, 1024)])
def test_thumbnails_show_the_centre(size, pixels):
    images = np.random.default_rng(0).random((3, size, size)).astype(np.float32)
    flat = thumbnails(images)
    assert flat.shape == (3, pixels)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 1.0, rtol=1e-5)
    if size == 128:
        np.testing.assert_array_equal(flat, thumbnails(images[:, 32:96, 32:96]))


def test_a_template_is_its_own_best_hit():
    templates = Templates("full", 4, 32, theta_step=10.0, aspect_step=0.2)
    rows = np.random.default_rng(0).integers(len(templates.lattice), size=20)
    types = np.repeat(templates.type, np.diff(templates.ends, prepend=0))[rows]
    images = [
        crystal(k, lattice[1], lattice[2], lattice[0], 32) for k, lattice in zip(types, templates.lattice[rows], strict=True)
    ]
    hits = templates.search(np.concatenate(images))
    np.testing.assert_allclose(hits.ncc.max(axis=1), 1.0, rtol=0.0, atol=1e-5)
    own = (hits.type == types[:, None]) & (hits.lattice[..., 0] == templates.lattice[rows, :1])
    np.testing.assert_allclose(hits.ncc[own], 1.0, rtol=0.0, atol=1e-5)
