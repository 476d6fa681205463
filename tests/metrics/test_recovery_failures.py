"""Images without a lattice have their reason and spoil no other; lists of any length have answers, other shapes are refused."""

from dataclasses import fields

import numpy as np
import pytest
from crystals import HONEYCOMB, SIZE, SQUARE, TRIANGULAR, crystal, every_type, reasons, rounded
from scipy.ndimage import gaussian_filter

from toycrystals.metrics.recovery import FAINT, NO_LATTICE, NO_LATTICE_DISTURBED, REASONS


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
