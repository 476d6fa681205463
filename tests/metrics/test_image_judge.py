"""All measures of images together: which faults they see, on controls, and that no set of images breaks them."""

import math

import numpy as np
import pandas as pd
import pytest
from small_judge import SETTINGS

from toycrystals.crystals.dataset import DatasetSpec, make_samples, redraw
from toycrystals.metrics.base import ALL, MEASURES, ON_IMAGES, PRIMARY, rows_of
from toycrystals.metrics.comparison import tidy, z_scores
from toycrystals.metrics.controls import make_controls
from toycrystals.metrics.copying import CLOSE
from toycrystals.metrics.images import ImageJudge
from toycrystals.metrics.intervals import bootstrap_weights

N, DRAWS, SPEC = 320, 10, DatasetSpec("rot_only", 4, 32, seed=0)


@pytest.fixture(scope="module")
def training():
    return make_samples(SPEC, "train", 2048)


@pytest.fixture(scope="module")
def judge(training):
    return ImageJudge.fit(SPEC, make_samples(SPEC, "test", N), training, SETTINGS)


@pytest.fixture(scope="module")
def drawn(judge):
    """A draw of real images for the conditions."""
    return lambda draw: redraw(SPEC, judge.held_out.type, judge.held_out.factors, draw).images


@pytest.fixture(scope="module")
def weights(judge):
    return bootstrap_weights(judge.held_out.type, 100)


@pytest.fixture(scope="module")
def z(judge, training, drawn):
    """How far each control, and one more draw of real images, is from real ones, in every measure, as the pipeline says it."""
    no_bootstrap = bootstrap_weights(judge.held_out.type, 0)

    def values(images):
        return judge(images, no_bootstrap, answers=True)[0]

    floor = pd.concat(rows_of("real", values(drawn(draw))).assign(draw=draw) for draw in range(1, DRAWS + 1))
    made = {"real": drawn(0), **make_controls(SPEC, judge.held_out, training)}
    return z_scores(pd.concat(tidy(name, [values(images)], floor) for name, images in made.items()))


# The measures that are there to see the fault of a control, and those that are known not to.
SEEN = {
    "shuffled": ["matched_psnr", "type_accuracy_merged", "theta_error_median", "theta_error_p95", "auc_pca"],
    "rotated": ["matched_psnr", "theta_error_median", "mmd2_pca", "frechet_pca", "precision_pca", "recall_pca", "coverage_pca"],
    "blurred": ["matched_psnr", "nearest_ncc", "mmd2_pca", "frechet_pca", "precision_pca", "coverage_pca", "auc_pca"],
    "shifted": ["matched_psnr", "nearest_ncc", "valid", "mmd2_pca", "frechet_pca", "precision_pca", "coverage_pca", "auc_pca"],
    "collapsed": ["matched_psnr", "theta_error_median", "mmd2_pca", "frechet_pca", "recall_pca", "coverage_pca", "auc_pca"],
    "copies": ["copy_image"],
    "type_missing": ["type_accuracy_merged", "type_tv", "mmd2_pca", "frechet_pca", "recall_pca", "coverage_pca", "auc_pca"],
    "angles_missing": ["theta_error_p95", "mmd2_pca", "frechet_pca", "recall_pca", "coverage_pca", "auc_pca"],
}
# What is right of a set of real images, whatever was asked for.
_SETS = ["mmd2_pca", "frechet_pca", "precision_pca", "recall_pca", "coverage_pca", "type_tv"]
BLIND = {
    "shuffled": ["valid", "nearest_ncc", *_SETS],
    "rotated": ["valid", "type_accuracy_merged"],
    "blurred": ["valid", "type_accuracy_merged", "type_tv"],
    "shifted": [],
    "collapsed": ["valid", "nearest_ncc", "type_accuracy_merged", "type_tv"],
    # Copies are the best of images by everything but what asks for it.
    "copies": ["valid", "nearest_ncc", "type_accuracy_merged", "auc_pca", *_SETS],
    "type_missing": ["valid", "precision_pca"],
    "angles_missing": ["valid", "precision_pca", "type_accuracy_merged", "type_tv"],
}


def test_every_fault_is_caught_by_what_is_there_to_catch_it(z):
    controls = z.drop(index="real")
    assert set(controls.index) == set(SEEN) == set(BLIND)
    seen = {name: set(z.columns[z.loc[name] >= 3.0]) for name in controls.index}
    missed = {(name, metric) for name in SEEN for metric in SEEN[name] if metric not in seen[name]}
    seen_by_chance = {(name, metric) for name in BLIND for metric in BLIND[name] if metric in seen[name]}
    assert not missed | seen_by_chance, z.T.to_string()
    # No measure is there for nothing, and the two that were chosen before any result see all but copies.
    assert set(z.columns) == set().union(*seen.values())
    assert all(seen[name] & set(PRIMARY) for name in set(SEEN) - {"copies"})


def test_one_more_draw_of_real_images_is_at_the_floor(z):
    assert (z.loc["real"] < 3.0).all(), z.loc["real"]


def test_every_number_has_a_direction_and_lies_in_its_interval(judge, drawn, weights):
    measured, _ = judge(drawn(0), weights, answers=True)
    assert {metric for metric, _ in measured} <= set(MEASURES)
    assert {("matched_psnr", ALL), ("mmd2_pca", ALL), ("copy_image", ALL)} <= set(measured)
    for key, estimate in measured.items():
        if math.isfinite(estimate.low):
            assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12, key


def test_primary_metrics_alone_are_those_among_all(judge, drawn, weights):
    images = drawn(0)
    for answers in (True, False):
        measured, _ = judge(images, weights, answers=answers)
        alone = judge.primary(images, weights, answers=answers)
        assert {metric for metric, _ in alone} == (set(PRIMARY) if answers else {"mmd2_pca"})
        for key, estimate in alone.items():
            np.testing.assert_allclose(estimate[:3], measured[key][:3], err_msg=str(key))


def test_a_judge_comes_back_as_it_was(judge, drawn, weights):
    again = ImageJudge(SPEC, judge.held_out, judge.tensors, SETTINGS)
    (measured, table), (measured_again, table_again) = (one(drawn(0), weights, answers=True) for one in (judge, again))
    assert list(measured) == list(measured_again)
    for key, estimate in measured.items():
        np.testing.assert_array_equal(estimate[:3], measured_again[key][:3], err_msg=str(key))
    pd.testing.assert_frame_equal(table, table_again)


def test_without_answers_nothing_is_compared_with_the_requests(judge, weights):
    images = judge.held_out.images[np.random.default_rng(0).permutation(N)]
    measured, table = judge(images, weights, answers=False)
    names = {metric for metric, _ in measured}
    assert not names & {"matched_psnr", "type_accuracy_merged", "theta_error_median", "aspect_w1"}
    assert {"type_frequency", "type_tv", "found_theta_w1", "found_aspect_w1", "valid", "mmd2_pca"} <= names
    assert measured["type_tv", ALL].value < 0.02
    assert not {"mse", "asked_type"} & set(table)


def test_copies_of_any_training_image_are_seen_without_answers(judge, training, weights):
    """Images that were made for no condition may copy training images of any."""
    copied, _ = judge(training.images[:N], weights, answers=False)
    assert copied["copy_image", ALL].value > 0.9
    assert [kind for metric, kind in copied if metric == "copy_image"] == [ALL]
    fresh, _ = judge(make_samples(SPEC, "val", N).images, weights, answers=False)
    assert fresh["copy_image", ALL].value < 0.12


def test_of_the_held_out_images_the_announced_share_of_every_type_is_close(judge, weights):
    measured, _ = judge(judge.held_out.images, weights, answers=True)
    kinds = {kind: estimate.value for (metric, kind), estimate in measured.items() if metric == "copy_image"}
    # Of the one type whose images differ at one angle.
    assert set(kinds) == {ALL, "rectangular"}
    # Whole numbers of 76 images and more.
    assert kinds == pytest.approx(dict.fromkeys(kinds, CLOSE), abs=1 / 76)


@pytest.mark.parametrize("kind", ["black", "white", "one image", "noise"])
@pytest.mark.parametrize("answers", [True, False])
def test_no_image_breaks_the_evaluation(judge, weights, kind, answers):
    real = judge.held_out.images
    images = {
        "black": np.zeros_like(real),
        "white": np.full_like(real, 255),
        "one image": real[:1].repeat(N, axis=0),
        "noise": np.random.default_rng(0).integers(0, 256, real.shape).astype(np.uint8),
    }[kind]
    measured, table = judge(images, weights, answers=answers)
    assert measured["valid", ALL].value == (1.0 if kind == "one image" else 0.0)
    assert len(table) == N
    assert measured["mmd2_pca", ALL].value > 0.1
    verdicts = tidy("x", [measured], rows_of("0", measured)[:0])["verdict"]
    assert (verdicts == "no valid image").all() == (kind != "one image")


def test_measures_are_read_from_one_judgement(judge, drawn, weights):
    """Each registered function alone gives what the judge gives, under names that no other uses."""
    judged = judge.judge(drawn(0), weights, answers=True)
    parts = [measure(judged) for measure in ON_IMAGES]
    together, _ = judge(drawn(0), weights, answers=True)
    assert sum(map(len, parts)) == len(together)
    assert set().union(*parts) == set(together)
