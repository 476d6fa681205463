"""One method's 4,096 images measured by a process that runs already, beside a matrix product of that size: read the ratio."""

import os

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from toycrystals.crystals.dataset import DatasetSpec, exact_images, make_samples, redraw
from toycrystals.metrics.images import ImageJudge
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.recovery import LatticeRecovery
from toycrystals.runtime.config import load_params

N, SPEC, PARAMS = 4096, DatasetSpec("rot_only", 4, 64, 0), load_params().metrics


@pytest.fixture(scope="module", autouse=True)
def all_cores():
    """As many threads as a stage has; other tests have one."""
    before, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    with threadpool_limits(limits=cores, user_api="blas"):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def held_out():
    return make_samples(SPEC, "test", N)


@pytest.fixture(scope="module")
def judge(held_out):
    return ImageJudge.fit(SPEC, held_out, make_samples(SPEC, "train", 50_000), PARAMS)


@pytest.mark.benchmark(group="recover 4,096 lattices")
def test_recovery(benchmark, held_out):
    recovery, images = LatticeRecovery("rot_only", 4, 64, PARAMS.theta_step, PARAMS.aspect_step), unit_images(held_out.images)
    found = benchmark.pedantic(recovery, (images, held_out.type), rounds=3, warmup_rounds=1)
    assert np.mean(found.type == held_out.type) > 0.99


@pytest.mark.benchmark(group="recover 4,096 lattices")
def test_rendering_ten_candidates_for_each(benchmark, held_out):
    """What the best of ten exact images of each type and angle would cost to draw alone."""
    factors = held_out.factors.astype(np.float64)

    def draw():
        return [exact_images(k, *factors[held_out.type == k][:, [0, 1, 4]].T, 64) for _ in range(10) for k in range(4)]

    assert len(benchmark.pedantic(draw, rounds=3, warmup_rounds=1)) == 40


@pytest.mark.benchmark(group="measure 4,096 images")
@pytest.mark.parametrize("replicates", [0, 1000])
def test_all_measures_of_a_method(benchmark, judge, held_out, replicates):
    images = redraw(SPEC, held_out.type, held_out.factors).images
    weights = bootstrap_weights(held_out.type, replicates)
    _, table = benchmark.pedantic(lambda: judge(images, weights, answers=True), rounds=3, warmup_rounds=1)
    assert len(table) == N


@pytest.mark.benchmark(group="measure 4,096 images")
def test_matrix_product(benchmark):
    """N x N times N x N in float32, 137 GFlop: what these cores can do at most."""
    a = torch.randn(N, N)
    benchmark.pedantic(torch.mm, (a, a), rounds=3, warmup_rounds=1)
