"""All measures together: which faults they see, on controls, and that no set of images breaks them."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from toycrystals.dataset import DatasetSpec, make_samples, redraw
from toycrystals.metrics.catalogue import METRICS
from toycrystals.metrics.comparison import draw_values, floors, tidy, z_scores
from toycrystals.metrics.controls import make_controls
from toycrystals.metrics.features import FactorNetwork, FactorObjective, FeatureConfig, FeatureExtractor
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.summary import ImageJudge, ImageSettings
from toycrystals.rng import seed_initialisation
from toycrystals.training import Trainer, TrainingConfig

N, SPEC = 400, DatasetSpec("rot_only", 4, 32, seed=0)
SETTINGS = ImageSettings(theta_step=2.0, aspect_step=0.05, neighbours=5, candidates=32)


@pytest.fixture(scope="module")
def judge():
    training = make_samples(SPEC, "train", 2048)
    config = FeatureConfig(SPEC.variant, 4, 32, components=16, width=16)
    images, types, factors = (torch.from_numpy(a) for a in (training.images, training.type, training.factors))
    seed_initialisation(0)
    network = FactorNetwork(config)
    objective = FactorObjective(network, config, images, types, factors)
    trainer = Trainer(network, objective, len(images), TrainingConfig(0, 3, 64, 2e-3, torch.float32), torch.device("cpu"))
    for _ in trainer.run():
        pass
    return ImageJudge(SPEC, make_samples(SPEC, "test", N), training, FeatureExtractor.fit(config, network, images), SETTINGS)


@pytest.fixture(scope="module")
def no_bootstrap(judge):
    return bootstrap_weights(judge.held_out.type, 0)


@pytest.fixture(scope="module")
def floor(judge, no_bootstrap):
    held_out = judge.held_out
    draws = [redraw(SPEC, held_out.type, held_out.factors, draw).images for draw in range(1, 9)]
    return floors(pd.concat(draw_values(i, judge(images, no_bootstrap, answers=True).measures) for i, images in enumerate(draws)))


@pytest.fixture(scope="module")
def z(judge, floor, no_bootstrap):
    """z-scores of the controls, and of real images."""
    training = make_samples(SPEC, "train", 2048)
    made = make_controls(SPEC, judge.held_out, training)
    made["real"] = redraw(SPEC, judge.held_out.type, judge.held_out.factors).images
    tables = [tidy(name, judge(images, no_bootstrap, answers=True).measures, floor) for name, images in made.items()]
    return z_scores(pd.concat(tables))


SEEN = {
    "shuffled": ["matched_psnr", "matched_ssim", "type_accuracy_merged", "theta_error_median", "auc_boosted"],
    "rotated": ["matched_psnr", "theta_error_median", "mmd2_pca", "frechet_pca", "coverage_pca"],
    "blurred": ["matched_psnr", "matched_ssim", "mmd2_pca", "sliced_w2_pca", "precision_pca", "auc_cnn", "mass_w1"],
    "shifted": ["matched_psnr", "matched_ssim", "mmd2_pca", "precision_pca", "auc_cnn"],
    "collapsed": ["theta_error_median", "recall_pca", "coverage_pca", "frechet_pca"],
    "copies": ["copy_image"],
    "type_missing": ["type_accuracy_merged", "type_tv", "mmd2_pca", "mmd2_network", "frechet_network", "recall_network"],
    "angles_missing": ["theta_error_p95", "frechet_pca", "recall_pca", "coverage_pca"],
}
BLIND = {
    # Sets of images are the same, whatever was asked for.
    "shuffled": ["frechet_pca", "coverage_pca", "mass_w1", "fft_radial_l2"],
    # The two traditional scores average over all directions.
    "rotated": ["mass_w1", "fft_radial_l2"],
    "copies": ["type_accuracy_merged", "precision_pca", "type_tv"],
}


@pytest.mark.parametrize(("control", "metric"), [(c, m) for c, metrics in SEEN.items() for m in metrics])
def test_metric_sees_the_control_that_it_exists_for(z, control, metric):
    assert z.loc[control, metric] > 5.0
    assert z.loc[control, metric] > 2.0 * z.loc["real", metric]


@pytest.mark.parametrize(("control", "metric"), [(c, m) for c, metrics in BLIND.items() for m in metrics])
def test_metric_is_blind_where_it_is_said_to_be(z, control, metric):
    assert abs(z.loc[control, metric]) < 10.0


def test_real_images_are_at_the_floor_in_nearly_every_measure(z):
    assert (z.loc["real"] < 4.0).mean() > 0.9, z.loc["real"].sort_values()


@pytest.fixture(scope="module")
def weights(judge):
    return bootstrap_weights(judge.held_out.type, 100)


def test_measures_are_in_the_catalogue_and_intervals_hold_their_values(judge, weights):
    real = redraw(SPEC, judge.held_out.type, judge.held_out.factors).images
    measures = judge(real, weights, answers=True).measures
    assert {metric for metric, _ in measures} <= set(METRICS)
    for key, estimate in measures.items():
        if math.isfinite(estimate.low):
            assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12, key


def test_without_answers_nothing_is_compared_with_the_requests(judge, weights):
    images = judge.held_out.images[np.random.default_rng(0).permutation(N)]
    report = judge(images, weights, answers=False)
    names = {metric for metric, _ in report.measures}
    assert not names & {"matched_psnr", "type_accuracy", "theta_error_median", "aspect_w1"}
    assert {"type_frequency", "type_tv", "found_theta_w1", "found_aspect_w1", "valid", "mmd2_pca"} <= names
    assert report.measures["type_tv", "all"].value < 0.02
    assert "mse" not in report.table


@pytest.mark.parametrize("kind", ["black", "white", "one image", "noise"])
@pytest.mark.parametrize("answers", [True, False])
def test_no_image_breaks_the_evaluation(judge, weights, kind, answers):
    images = {
        "black": np.zeros_like(judge.held_out.images),
        "white": np.full_like(judge.held_out.images, 255),
        "one image": judge.held_out.images[:1].repeat(N, axis=0),
        "noise": np.random.default_rng(0).integers(0, 256, judge.held_out.images.shape).astype(np.uint8),
    }[kind]
    report = judge(images, weights, answers=answers)
    assert report.measures["valid", "all"].value == (1.0 if kind == "one image" else 0.0)
    assert len(report.table) == N
    assert report.confusion.sum() == 2 * N
    assert report.measures["mmd2_pca", "all"].value > 0.1
    table = tidy("x", report.measures, {})
    assert (table["verdict"] == "no valid image").all() == (kind != "one image")
