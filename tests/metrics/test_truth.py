"""What images show against what was asked for: types, angles, frequencies, swapped codes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from toycrystals.dataset import DatasetSpec, make_samples, redraw
from toycrystals.lattice import LATTICES, TYPES
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.matching import psnr, unit_images
from toycrystals.metrics.recovery import REASONS, LatticeRecovery, Recovered
from toycrystals.metrics.truth import (
    ALL,
    answers_type,
    confusion,
    image_table,
    population_measures,
    request_measures,
    swap_measures,
    theta_error,
)

N, SPEC = 160, DatasetSpec("rot_only", 4, 64, seed=0)
SQUARE, RECTANGULAR, TRIANGULAR, HONEYCOMB = range(4)


def found(kind, theta=0.0, aspect=1.0, reason=0):
    """One recovered lattice, of the type that was asked for, too."""
    one, zero = np.array([1.0]), np.array([0.0])
    return Recovered(
        np.array([kind]), one * 10, one * theta, one * aspect, zero * np.nan, one, np.array([reason]),
        one * 10, one * theta, one * aspect, one,
    )  # fmt: skip


@pytest.fixture(scope="module")
def held_out():
    return make_samples(SPEC, "test", N)


@pytest.fixture(scope="module")
def recovery():
    return LatticeRecovery("rot_only", 4, 64, theta_step=2.0, aspect_step=0.05)


@pytest.fixture(scope="module")
def weights(held_out):
    return bootstrap_weights(held_out.type, 200)


def measure(images, held_out, recovery, weights):
    seen = recovery(unit_images(images), held_out.type)
    table = image_table(unit_images(images), held_out, seen, "rot_only", 0.02, answers=True)
    return seen, table, request_measures(table, held_out.type, weights)


@pytest.fixture(scope="module")
def real(held_out, recovery, weights):
    return measure(redraw(SPEC, held_out.type, held_out.factors).images, held_out, recovery, weights)


@pytest.mark.parametrize(
    ("asked", "shown", "strict", "merged"),
    [
        (SQUARE, found(SQUARE), True, True),
        (SQUARE, found(RECTANGULAR, aspect=1.01), False, True),
        (SQUARE, found(RECTANGULAR, aspect=1.1), False, False),
        (RECTANGULAR, found(SQUARE), False, True),
        (TRIANGULAR, found(HONEYCOMB), False, False),
        (SQUARE, found(TRIANGULAR, aspect=1.0), False, False),
        (SQUARE, found(SQUARE, reason=REASONS.index("no_lattice")), False, False),
        (RECTANGULAR, found(SQUARE, reason=REASONS.index("blank")), False, False),
    ],
)
def test_near_squares_are_merged_and_nothing_else(asked, shown, strict, merged):
    assert [bool(answer[0]) for answer in answers_type(np.array([asked]), shown)] == [strict, merged]


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("turns", [-1, 0, 2])
def test_angle_error_is_modulo_the_period_of_the_type(kind, turns):
    shown = found(kind, theta=0.3 + math.radians(2.0) + turns * LATTICES[kind].period, aspect=1.2)
    assert theta_error(np.array([kind]), np.array([0.3]), shown) == pytest.approx(2.0)


def test_angle_of_a_square_drawn_for_a_rectangle_is_modulo_a_quarter_turn():
    turned = {"theta": 0.1 + math.pi / 2}
    assert theta_error(np.array([RECTANGULAR]), np.array([0.1]), found(RECTANGULAR, aspect=1.01, **turned)) == pytest.approx(0.0)
    assert theta_error(np.array([RECTANGULAR]), np.array([0.1]), found(RECTANGULAR, aspect=1.2, **turned)) == pytest.approx(90.0)


@pytest.mark.parametrize("kind", range(4))
def test_an_image_without_lattice_has_the_largest_error_of_its_type(kind):
    shown = found(kind, theta=0.3, reason=REASONS.index("no_lattice"))
    assert theta_error(np.array([kind]), np.array([0.3]), shown) == pytest.approx(math.degrees(LATTICES[kind].period) / 2)


def test_real_images_answer_their_requests(real):
    _, table, measures = real
    assert measures["type_accuracy_merged", ALL].value == 1.0
    assert measures["type_accuracy_merged", ALL].low > 0.97
    assert measures["theta_error_median", ALL].value < 0.05
    assert measures["matched_correlation", ALL].value > 0.999
    assert measures["matched_ssim", ALL].value > 0.999
    assert (table["reason"] == "ok").all()


def test_matched_psnr_is_of_the_mean_error_and_not_the_mean_of_decibels(real, held_out):
    _, table, measures = real
    mse = table["mse"].to_numpy()
    assert measures["matched_psnr", ALL].value == pytest.approx(psnr(mse.mean()))
    for k, name in enumerate(TYPES):
        assert measures["matched_psnr", name].value == pytest.approx(psnr(mse[held_out.type == k].mean()))


def test_every_interval_holds_its_value(real):
    for (metric, kind), estimate in real[2].items():
        assert estimate.low <= estimate.value <= estimate.high, (metric, kind)


def test_table_has_what_was_asked_and_found(real, held_out):
    _, table, _ = real
    assert list(table["asked_type"]) == [TYPES[k] for k in held_out.type]
    np.testing.assert_allclose(table["asked_theta"], np.rad2deg(held_out.factors[:, 1]), rtol=1e-6)
    squares = table[table["asked_type"] == "square"]
    np.testing.assert_allclose(squares["found_theta"], squares["asked_theta"], atol=0.1)


def test_shuffled_requests_are_seen(held_out, recovery, weights, real):
    order = np.random.default_rng(0).permutation(N)
    _, _, shuffled = measure(held_out.images[order], held_out, recovery, weights)
    assert shuffled["type_accuracy_merged", ALL].value < 0.5
    assert shuffled["theta_error_median", ALL].value > 1.0
    assert shuffled["matched_psnr", ALL].value < real[2]["matched_psnr", ALL].value - 25.0
    assert shuffled["matched_ssim", ALL].value < 0.6


def test_confusion_counts_every_image_once(real, held_out):
    counts = confusion(held_out.type, real[0], 4)
    asked = np.bincount(held_out.type)
    np.testing.assert_array_equal(counts.sum(axis=2), [asked, asked])
    assert (counts[:, :, 4] == 0).all()
    np.testing.assert_array_equal(counts[1, :, :4], np.diag(asked))
    spoilt = replace(real[0], reason=np.full(N, REASONS.index("blank")))
    np.testing.assert_array_equal(confusion(held_out.type, spoilt, 4)[:, :, 4], [asked, asked])


def test_only_near_squares_leave_their_cell_when_merged():
    asked, shown = np.array([SQUARE]), [found(RECTANGULAR, aspect=aspect) for aspect in (1.01, 1.2)]
    near, far = (confusion(asked, one, 4) for one in shown)
    assert near[0, SQUARE, RECTANGULAR] == near[1, SQUARE, SQUARE] == 1
    assert far[0, SQUARE, RECTANGULAR] == far[1, SQUARE, RECTANGULAR] == 1


def population(seen, held_out, weights, answers=False):
    return population_measures(seen, held_out, "rot_only", weights, answers=answers)


def test_frequencies_are_those_of_the_images_whatever_was_asked(held_out, recovery, weights):
    triangular = held_out.images[np.flatnonzero(held_out.type == TRIANGULAR)[:1]].repeat(N, axis=0)
    measures = population(recovery(unit_images(triangular)), held_out, weights)
    assert [measures["type_frequency", name].value for name in TYPES] == [0.0, 0.0, 1.0, 0.0]
    assert measures["type_tv", ALL].value == pytest.approx(1.0 - np.mean(held_out.type == TRIANGULAR))
    assert ("found_theta_w1", "square") not in measures


def test_real_images_have_the_frequencies_and_factors_of_the_data(held_out, real, weights):
    measures = population(real[0], held_out, weights, answers=True)
    assert measures["valid", ALL].value == 1.0
    assert measures["type_tv", ALL].value < 0.02
    assert all(measures["found_theta_w1", name].value < 0.5 for name in TYPES)
    # Twice 40 draws from a range of 0.6.
    assert measures["aspect_w1", ALL].value < 0.06
    assert ("found_aspect_w1", "rectangular") in measures
    assert ("found_aspect_w1", "square") not in measures


def test_a_collapsed_hidden_factor_is_seen(held_out, weights):
    seen = replace(
        found(SQUARE),
        **{name: np.full(N, 1.0) for name in ("spacing", "theta", "aspect", "vacancy", "ncc", "asked_aspect")},
        type=held_out.type,
        reason=np.zeros(N, dtype=np.int64),
    )
    truth = held_out.factors[held_out.type == RECTANGULAR, 4]
    expected = np.abs(truth - 1.0).mean()
    assert population(seen, held_out, weights, answers=True)["aspect_w1", ALL].value == pytest.approx(expected, rel=1e-5)


def test_no_lattice_at_all_gives_a_row_that_says_so(held_out, recovery, weights):
    seen, _, measures = measure(np.zeros_like(held_out.images), held_out, recovery, weights)
    measures |= population(seen, held_out, weights, answers=True)
    assert measures["valid", ALL].value == 0.0
    assert measures["type_accuracy", ALL].value == 0.0
    assert measures["type_tv", ALL].value == pytest.approx(1.0)
    assert [measures["reason", name].value for name in REASONS] == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert measures["theta_error_median", "square"].value == 45.0


@pytest.mark.parametrize("obeys", ["decoder", "code"])
def test_swapped_codes_tell_whom_the_images_obey(held_out, recovery, weights, obeys):
    code, decoder = held_out, held_out[np.roll(np.arange(N), N // 2)]
    images = (code if obeys == "code" else decoder).images
    measures = swap_measures(recovery(unit_images(images), decoder.type), code, decoder, weights)
    other = "decoder" if obeys == "code" else "code"
    assert measures[f"swap_{obeys}_type", ALL].value > 0.98
    assert measures[f"swap_{obeys}_theta", ALL].value < 0.1
    assert measures[f"swap_{other}_type", ALL].value < 0.5
    assert measures[f"swap_{other}_theta", ALL].value > 2.0
