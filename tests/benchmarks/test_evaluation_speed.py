import numpy as np
import pytest
import torch

from toycrystals.dataset import DatasetSpec, exact_images, make_samples, redraw
from toycrystals.metrics.features import FactorNetwork, FeatureConfig, FeatureExtractor
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.recovery import LatticeRecovery
from toycrystals.metrics.summary import ImageJudge, ImageSettings

N = 4096


@pytest.fixture(scope="module")
def held_out():
    return make_samples(DatasetSpec("rot_only", 4, 64, 0), "test", N)


@pytest.mark.benchmark(group="recover 4,096 lattices")
def test_recovery(benchmark, held_out):
    recovery, images = LatticeRecovery("rot_only", 4, 64, theta_step=1.0, aspect_step=0.02), unit_images(held_out.images)
    found = benchmark.pedantic(recovery, (images, held_out.type), rounds=3, warmup_rounds=1)
    assert np.mean(found.type == held_out.type) > 0.99


@pytest.mark.benchmark(group="recover 4,096 lattices")
def test_rendering_ten_candidates_for_each(benchmark, held_out):
    """What the best of ten exact images of each type and angle would cost to draw alone."""
    factors = held_out.factors.astype(np.float64)

    def draw():
        return [exact_images(k, *factors[held_out.type == k][:, [0, 1, 4]].T, 64) for _ in range(10) for k in range(4)]

    assert len(benchmark.pedantic(draw, rounds=3, warmup_rounds=1)) == 40


@pytest.fixture(scope="module")
def judge(held_out):
    spec = DatasetSpec("rot_only", 4, 64, 0)
    training = make_samples(spec, "train", 50_000)
    config = FeatureConfig("rot_only", 4, 64, components=64, width=64)
    extractor = FeatureExtractor.fit(config, FactorNetwork(config), torch.from_numpy(training.images))
    return ImageJudge(spec, held_out, training, extractor, ImageSettings(1.0, 0.02, neighbours=5, candidates=16))


@pytest.mark.benchmark(group="all measures of 4,096 images")
@pytest.mark.parametrize("replicates", [0, 1000])
def test_all_measures_of_a_method(benchmark, judge, held_out, replicates):
    images = redraw(judge.spec, held_out.type, held_out.factors).images
    weights = bootstrap_weights(held_out.type, replicates)
    report = benchmark.pedantic(lambda: judge(images, weights, answers=True), rounds=1)
    assert len(report.table) == N
