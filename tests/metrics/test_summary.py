"""The measures of one method: their names, and that real images beat spoilt ones in each measure that claims to see the fault."""

from dataclasses import replace

import numpy as np
import pytest

from toycrystals.dataset import DatasetSpec, concatenate, make_samples
from toycrystals.lattice import TYPES
from toycrystals.metrics.matching import LatticeMatcher, match_requested, psnr, unit_images
from toycrystals.metrics.summary import summarise

N, STEP = 160, 0.02
ALWAYS = {"nearest_ncc", "mass_w1", "fft_radial_l2"}


def held_out(n_types=4, variant="rot_only"):
    return make_samples(DatasetSpec(variant, n_types, 64, seed=0), "test", N)


def summary(images, samples, n_types=4, conditional=True, variant="rot_only"):
    matcher = LatticeMatcher(variant, n_types, 64, theta_step=2.0, aspect_step=0.05)
    return summarise(images, samples, matcher, STEP, conditional)


@pytest.fixture(scope="module")
def real():
    return held_out()


@pytest.fixture(scope="module")
def scores(real):
    return summary(real.images, real)


@pytest.fixture(scope="module")
def shuffled(real):
    """The same images, answering other requests."""
    return summary(real.images[np.random.default_rng(0).permutation(N)], real)


@pytest.mark.parametrize("n_types", [1, 2, 3])
@pytest.mark.parametrize("conditional", [True, False])
def test_measures_have_the_names_of_the_types_in_play(n_types, conditional):
    samples = held_out(n_types)
    expected = ALWAYS | {f"type_frequency_{name}" for name in TYPES[:n_types]}
    if conditional:
        expected |= {"matched_psnr", "type_accuracy"} | {f"matched_psnr_{name}" for name in TYPES[:n_types]}
    if n_types > 1:
        expected |= {"aspect_w1"}
    measures = summary(samples.images, samples, n_types, conditional)
    assert set(measures) == expected
    assert all(type(value) is float and np.isfinite(value) for value in measures.values())


def test_frequencies_are_those_of_the_types_and_sum_to_one(real, scores):
    frequencies = [scores[f"type_frequency_{name}"] for name in TYPES]
    assert sum(frequencies) == pytest.approx(1.0)
    assert frequencies == pytest.approx(np.bincount(real.type) / N, abs=0.03)


def test_frequencies_are_those_of_the_images_and_not_of_the_requests(real):
    triangular = real.images[np.flatnonzero(real.type == 2)[:1]].repeat(N, axis=0)
    measures = summary(triangular, real)
    assert [measures[f"type_frequency_{name}"] for name in TYPES] == [0.0, 0.0, 1.0, 0.0]
    assert measures["type_accuracy"] == pytest.approx(np.mean(real.type == 2))


def test_real_images_are_nearly_perfect(scores):
    assert scores["matched_psnr"] > 45.0
    assert all(scores[f"matched_psnr_{name}"] > 45.0 for name in TYPES)
    assert scores["type_accuracy"] > 0.97
    assert scores["nearest_ncc"] > 0.998
    assert scores["mass_w1"] == scores["fft_radial_l2"] == 0.0
    assert scores["aspect_w1"] < 1e-3


def test_shuffled_requests_lower_what_depends_on_the_request(scores, shuffled):
    assert shuffled["matched_psnr"] < scores["matched_psnr"] - 25.0
    assert shuffled["type_accuracy"] < 0.5
    assert shuffled["aspect_w1"] > 10 * scores["aspect_w1"]


@pytest.mark.parametrize("name", ["nearest_ncc", "mass_w1", "fft_radial_l2", *(f"type_frequency_{name}" for name in TYPES)])
def test_shuffled_requests_are_not_seen_by_measures_of_sets(scores, shuffled, name):
    assert shuffled[name] == pytest.approx(scores[name], abs=1e-6)


def test_noise_lowers_every_measure_of_quality(real, scores):
    noise = np.random.default_rng(0).normal(0.0, 40.0, real.images.shape)
    spoilt = summary((real.images + noise).clip(0, 255).astype(np.uint8), real)
    assert spoilt["matched_psnr"] < scores["matched_psnr"] - 20.0
    assert spoilt["nearest_ncc"] < scores["nearest_ncc"] - 0.05
    assert spoilt["mass_w1"] > 0.01
    assert spoilt["fft_radial_l2"] > 1e-4


def test_matched_psnr_is_of_the_mean_error_and_not_the_mean_of_decibels(real, scores):
    spacing, theta = real.factors[:, :2].astype(np.float64).T
    mse = match_requested(unit_images(real.images), real.type, spacing, theta, STEP).mse
    assert scores["matched_psnr"] == pytest.approx(psnr(mse.mean()))
    for k, name in enumerate(TYPES):
        assert scores[f"matched_psnr_{name}"] == pytest.approx(psnr(mse[real.type == k].mean()))


def test_aspect_distance_sees_a_collapse_of_the_hidden_factor(real):
    """One image of the rectangular type, answering for all: its distance is the mean deviation of the true aspects."""
    rectangular = np.flatnonzero(real.type == 1)
    first = real[rectangular[:1]]
    same_angle = concatenate([first] * len(rectangular))
    truth = replace(same_angle, factors=same_angle.factors.copy())
    truth.factors[:, 4] = real.factors[rectangular, 4]
    expected = np.abs(real.factors[rectangular, 4] - first.factors[0, 4]).mean()
    assert summary(same_angle.images, truth)["aspect_w1"] == pytest.approx(expected, abs=2e-3)


def test_an_unconditional_method_is_judged_by_the_aspects_that_it_shows(real, shuffled):
    order = np.random.default_rng(1).permutation(N)
    measures = summary(real.images[order], real, conditional=False)
    assert measures["aspect_w1"] < 0.02
    assert measures["nearest_ncc"] == pytest.approx(shuffled["nearest_ncc"], abs=1e-6)
