"""What images show against what was asked for: types, angles, frequencies, hidden factors, copies, swapped codes."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_judge import small_judge

from toycrystals.crystals.dataset import DatasetSpec, redraw
from toycrystals.crystals.lattice import LATTICES, TYPES
from toycrystals.metrics.base import ALL
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.matching import psnr, unit_images
from toycrystals.metrics.recovery import REASONS, Recovered
from toycrystals.metrics.truth import (
    answers_type,
    aspect_measures,
    copies_of_images,
    factor_measures,
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


def recovered(types, reason=0, **factors):
    """Lattices of `types` [N] with the given factors [N], those that were asked for."""
    n = len(types)
    values = {"spacing": np.full(n, 10.0), "theta": np.zeros(n), "aspect": np.ones(n), "ncc": np.ones(n)} | factors
    asked = {f"asked_{name}": value for name, value in values.items() if name != "vacancy"}
    return Recovered(type=types, reason=np.full(n, reason), **{"vacancy": np.full(n, np.nan)} | values, **asked)


@pytest.fixture(scope="module")
def judge():
    return small_judge(SPEC, N)


@pytest.fixture(scope="module")
def held_out(judge):
    return judge.held_out


@pytest.fixture(scope="module")
def weights(held_out):
    return bootstrap_weights(held_out.type, 200)


@pytest.fixture(scope="module")
def judged(judge, weights):
    """What is known of any images."""
    return lambda images, answers=True: judge.judge(images, weights, answers=answers)


@pytest.fixture(scope="module")
def real(judged, held_out):
    return judged(redraw(SPEC, held_out.type, held_out.factors).images)


@pytest.mark.parametrize(
    ("asked", "shown", "expected"),
    [
        (SQUARE, found(SQUARE), True),
        (SQUARE, found(RECTANGULAR, aspect=1.01), True),
        (SQUARE, found(RECTANGULAR, aspect=1.1), False),
        (RECTANGULAR, found(SQUARE), True),
        (TRIANGULAR, found(HONEYCOMB), False),
        (SQUARE, found(TRIANGULAR, aspect=1.0), False),
        (SQUARE, found(SQUARE, reason=REASONS.index("no_lattice")), False),
        (RECTANGULAR, found(SQUARE, reason=REASONS.index("blank")), False),
    ],
)
def test_near_squares_are_merged_and_nothing_else(asked, shown, expected):
    assert answers_type(np.array([asked]), shown).tolist() == [expected]


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
    measures = request_measures(real)
    assert measures["type_accuracy_merged", ALL].value == 1.0
    assert measures["type_accuracy_merged", ALL].low > 0.97
    assert measures["theta_error_median", ALL].value < 0.05
    assert {metric for metric, _ in measures} == {
        "matched_psnr", "type_accuracy_merged", "theta_error_median", "theta_error_p95"
    }  # fmt: skip
    for key, estimate in measures.items():
        assert estimate.low <= estimate.value <= estimate.high, key


def test_matched_psnr_is_of_the_mean_error_and_not_the_mean_of_decibels(real, held_out):
    mse, measures = real.matched.mse, request_measures(real)
    assert measures["matched_psnr", ALL].value == pytest.approx(psnr(mse.mean()))
    for k, name in enumerate(TYPES):
        assert measures["matched_psnr", name].value == pytest.approx(psnr(mse[held_out.type == k].mean()))


def test_table_has_what_was_asked_and_found(real, held_out):
    table = image_table(real)
    assert list(table["asked_type"]) == [TYPES[k] for k in held_out.type]
    np.testing.assert_allclose(table["asked_theta"], np.rad2deg(held_out.factors[:, 1]), rtol=1e-6)
    np.testing.assert_array_equal(table["mse"], real.matched.mse)
    assert (table["reason"] == "ok").all()
    squares = table[table["asked_type"] == "square"]
    np.testing.assert_allclose(squares["found_theta"], squares["asked_theta"], atol=0.1)


def test_shuffled_requests_are_seen(held_out, judged, real):
    order = np.random.default_rng(0).permutation(N)
    shuffled = request_measures(judged(held_out.images[order]))
    assert shuffled["type_accuracy_merged", ALL].value < 0.5
    assert shuffled["theta_error_median", ALL].value > 1.0
    assert shuffled["matched_psnr", ALL].value < request_measures(real)["matched_psnr", ALL].value - 25.0


def test_without_answers_no_request_is_measured(judged, held_out):
    untold = judged(held_out.images, answers=False)
    assert request_measures(untold) == aspect_measures(untold) == {}
    assert "asked_type" not in image_table(untold)


@pytest.mark.parametrize("variant", ["simple", "rot_only", "full"])
@pytest.mark.parametrize("lost", [0.25, 0.75])
def test_errors_of_factors_that_vary_are_measured(real, held_out, variant, lost):
    """5 % in spacing and 0.1 in vacancy; an image without lattice is off by as much as can be."""
    spacing, theta, vacancy = held_out.factors.astype(np.float64).T[:3]
    seen = recovered(held_out.type, spacing=1.05 * spacing, theta=theta, vacancy=vacancy + 0.1)
    seen.reason[: int(lost * N)] = REASONS.index("no_lattice")
    measures = request_measures(replace(real, spec=replace(SPEC, variant=variant), found=seen))
    varying = {"spacing_error_median", "vacancy_error_mean"} & {metric for metric, _ in measures}
    assert varying == ({"spacing_error_median", "vacancy_error_mean"} if variant == "full" else set())
    if varying:
        assert measures["spacing_error_median", ALL].value == pytest.approx(0.05 if lost < 0.5 else 14.0 / 6.0 - 1.0)
        assert measures["vacancy_error_mean", ALL].value == pytest.approx((1.0 - lost) * 0.1 + lost * 1.0)


def test_frequencies_are_those_of_the_images_whatever_was_asked(judged, held_out):
    triangular = held_out.images[np.flatnonzero(held_out.type == TRIANGULAR)[:1]].repeat(N, axis=0)
    measured = judged(triangular)
    measures = population_measures(measured)
    assert [measures["type_frequency", name].value for name in TYPES] == [0.0, 0.0, 1.0, 0.0]
    assert measures["type_tv", ALL].value == pytest.approx(1.0 - np.mean(held_out.type == TRIANGULAR))
    assert {kind for _, kind in factor_measures(measured)} == {"triangular"}


def test_variation_is_half_the_distance_of_the_frequencies(real, held_out):
    """All squares but a tenth are squares, the others no lattice or of another type."""
    types = held_out.type.copy()
    squares = np.flatnonzero(types == SQUARE)
    types[squares[:8]] = HONEYCOMB
    seen = recovered(types)
    seen.reason[squares[8:12]] = REASONS.index("no_lattice")
    assert population_measures(replace(real, found=seen))["type_tv", ALL].value == pytest.approx(12 / N)


def test_real_images_have_the_frequencies_and_factors_of_the_data(real):
    measures = population_measures(real) | aspect_measures(real) | factor_measures(real)
    assert measures["valid", ALL].value == 1.0
    assert measures["type_tv", ALL].value < 0.02
    assert all(measures["found_theta_w1", name].value < 0.5 for name in TYPES)
    # Twice 40 draws from a range of 0.6.
    assert measures["aspect_w1", ALL].value < 0.06
    assert ("found_aspect_w1", "rectangular") in measures
    assert ("found_aspect_w1", "square") not in measures


def test_a_turn_of_all_lattices_is_the_distance_of_their_angles(real, held_out):
    theta = held_out.factors[:, 1].astype(np.float64)
    turned = np.array([(angle + 0.1) % LATTICES[k].period for angle, k in zip(theta, held_out.type, strict=True)])
    seen = recovered(held_out.type, theta=turned, aspect=held_out.factors[:, 4].astype(np.float64))
    measures = factor_measures(replace(real, found=seen))
    turn = math.degrees(0.1)
    # Angles that fill a third of their circle all have to turn; those that fill all of it need not.
    assert measures["found_theta_w1", "rectangular"].value == pytest.approx(turn, rel=1e-3)
    assert all(measures["found_theta_w1", name].value < turn + 1e-3 for name in TYPES)
    assert measures["found_theta_w1", "triangular"].value < 0.5 * turn
    assert measures["found_aspect_w1", "rectangular"].value == 0.0


def test_a_collapsed_hidden_factor_is_seen(real, held_out):
    truth = held_out.factors[held_out.type == RECTANGULAR, 4]
    collapsed = replace(real, found=recovered(held_out.type))
    assert aspect_measures(collapsed)["aspect_w1", ALL].value == pytest.approx(np.abs(truth - 1.0).mean(), rel=1e-5)
    # No lattice has no aspect: it is as far from the truth as any.
    low, high = LATTICES[RECTANGULAR].aspect_range
    gone = replace(real, found=recovered(held_out.type, reason=REASONS.index("no_lattice")))
    farthest = np.sort(np.where(truth > 1.0, low, high))
    expected = np.abs(farthest - np.sort(truth)).mean()
    assert aspect_measures(gone)["aspect_w1", ALL].value == pytest.approx(expected, rel=1e-5)


def test_no_lattice_at_all_gives_a_row_that_says_so(held_out, judged):
    black = judged(np.zeros_like(held_out.images))
    measures = request_measures(black) | population_measures(black)
    assert factor_measures(black) == {}
    assert measures["valid", ALL].value == 0.0
    assert measures["type_accuracy_merged", ALL].value == 0.0
    assert measures["type_tv", ALL].value == pytest.approx(1.0)
    assert [measures["reason", name].value for name in REASONS] == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert measures["theta_error_median", "square"].value == 45.0


def test_copies_are_counted_where_they_can_be_told(real, held_out):
    """Of half of the images nothing can be told; of the others every second one is close."""
    rows = np.arange(N)
    measures = copies_of_images(replace(real, copies=(rows % 4 == 0, rows % 2 == 0)))
    assert measures["copy_image", ALL].value == 0.5
    squares = rows[(held_out.type == SQUARE) & (rows % 2 == 0)]
    assert measures["copy_image", "square"].value == np.mean(squares % 4 == 0)
    nothing = copies_of_images(replace(real, copies=(rows < 0, rows < 0)))
    assert list(nothing) == [("copy_image", ALL)]
    assert math.isnan(nothing["copy_image", ALL].value)


@pytest.mark.parametrize("obeys", ["decoder", "code"])
def test_swapped_codes_tell_whom_the_images_obey(judge, held_out, weights, obeys):
    code, decoder = held_out, held_out[np.roll(np.arange(N), N // 2)]
    images = (code if obeys == "code" else decoder).images
    measures = swap_measures(judge.recovery(unit_images(images), decoder.type), code, decoder, weights)
    other = "decoder" if obeys == "code" else "code"
    assert measures[f"swap_{obeys}_type", ALL].value > 0.98
    assert measures[f"swap_{other}_type", ALL].value < 0.02
