"""Predictions and estimates as inverse maps, guidance as a line through two outputs, and what the loss asks for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import ConditionEncoder, Conditions
from toycrystals.diffusion.denoiser import Backbone, NetworkDenoiser, diffusion_loss, estimates, target
from toycrystals.diffusion.schedule import CosineSchedule

every_prediction = pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
angles = st.floats(0.02, math.pi / 2 - 0.02)
values = st.floats(-5.0, 5.0)


def double(*numbers):
    return [torch.tensor([number], dtype=torch.float64) for number in numbers]


def conditions(n, seed=0):
    generator = make_generator(seed)
    labels = torch.zeros(n, 4)
    labels[:, 1] = torch.rand(n, generator=generator)
    return Conditions(torch.randint(4, (n,), generator=generator), labels)


def network(prediction="v", conditional=True):
    """A denoiser with weights far from their start, where modulation is zero and conditions have no effect."""
    backbone = Backbone(3, 16, 2, ConditionEncoder("rot_only", 4, 4, conditional))
    generator = make_generator(7)
    for parameter in backbone.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return NetworkDenoiser(backbone, CosineSchedule(), prediction).requires_grad_(False)


class Oracle(nn.Module):
    """Answers what `target` asks for rows x_0, plus `offset`, and keeps what it was asked."""

    def __init__(self, x_0, prediction, offset=0.0):
        super().__init__()
        self.x_0, self.prediction, self.offset = x_0, prediction, offset

    def forward(self, x_t, t, requests, present=None):
        self.t, self.present = t, present
        alpha_t, sigma_t = (level[:, None] for level in CosineSchedule()(t))
        eps = (x_t - alpha_t * self.x_0) / sigma_t
        return target(self.x_0, eps, alpha_t, sigma_t, self.prediction) + self.offset


def oracle_loss(n=64, prediction="v", offset=0.0, seed=0, dropout=0.0):
    x_0 = torch.randn((n, 3), generator=make_generator(1))
    oracle = Oracle(x_0, prediction, offset)
    denoiser = NetworkDenoiser(oracle, CosineSchedule(), prediction)
    loss = diffusion_loss(denoiser, x_0, conditions(n), make_generator(seed), dropout)
    return float(loss), oracle


@every_prediction
@given(angle=angles, x_0=values, eps=values)
@settings(deadline=None)
def test_estimates_invert_targets(prediction, angle, x_0, eps):
    alpha_t, sigma_t, x_0, eps = double(math.cos(angle), math.sin(angle), x_0, eps)
    output = target(x_0, eps, alpha_t, sigma_t, prediction)
    found = estimates(output, alpha_t * x_0 + sigma_t * eps, alpha_t, sigma_t, prediction)
    torch.testing.assert_close(found, (x_0, eps), rtol=0.0, atol=1e-10)


@every_prediction
@given(angle=angles, output=values, x_t=values)
@settings(deadline=None)
def test_estimates_explain_what_was_seen(prediction, angle, output, x_t):
    alpha_t, sigma_t, output, x_t = double(math.cos(angle), math.sin(angle), output, x_t)
    x_0, eps = estimates(output, x_t, alpha_t, sigma_t, prediction)
    torch.testing.assert_close(alpha_t * x_0 + sigma_t * eps, x_t, rtol=0.0, atol=1e-10)


@given(angle=angles, x_0=values, eps=values)
@settings(deadline=None)
def test_v_is_the_velocity_along_the_arc(angle, x_0, eps):
    phi, x_0, eps = double(angle, x_0, eps)
    phi.requires_grad_()
    (velocity,) = torch.autograd.grad(phi.cos() * x_0 + phi.sin() * eps, phi)
    torch.testing.assert_close(target(x_0, eps, phi.detach().cos(), phi.detach().sin(), "v"), velocity, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(("prediction", "expected"), [("eps", 3.0), ("x0", 2.0)])
def test_targets_are_what_they_are_called(prediction, expected):
    assert float(target(*double(2.0, 3.0, 0.6, 0.8), prediction)) == expected


@every_prediction
@pytest.mark.parametrize("guidance", [-1.0, 0.5, 3.0])
def test_guidance_extrapolates_from_null_to_conditional(prediction, guidance):
    x_t, t = torch.randn((6, 3), generator=make_generator(2)), torch.linspace(0.1, 0.9, 6)
    null, conditional, guided = (network(prediction)(x_t, t, conditions(6), w) for w in (0.0, 1.0, guidance))
    for a, b, c in zip(null, conditional, guided, strict=True):
        assert (a - b).abs().min() > 1e-4
        torch.testing.assert_close(c, a + guidance * (b - a), rtol=1e-4, atol=1e-4)


def test_guidance_zero_sees_no_condition():
    x_t, t = torch.randn((6, 3), generator=make_generator(2)), torch.linspace(0.1, 0.9, 6)
    first, second = (network()(x_t, t, conditions(6, seed), guidance=0.0) for seed in (0, 1))
    torch.testing.assert_close(first, second, rtol=0.0, atol=0.0)


@every_prediction
def test_no_guidance_reads_the_output_of_one_call(prediction):
    x_t, t = torch.randn((6, 3), generator=make_generator(2)), torch.linspace(0.1, 0.9, 6)
    denoiser, outputs = network(prediction), []
    denoiser.backbone.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    found = denoiser(x_t, t, conditions(6))
    alpha_t, sigma_t = (level[:, None] for level in CosineSchedule()(t))
    assert len(outputs) == 1
    torch.testing.assert_close(found, estimates(outputs[0], x_t, alpha_t, sigma_t, prediction), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("conditional", [True, False])
def test_backbone_sees_conditions_only_where_it_may(conditional):
    x_t, t = torch.randn((6, 3), generator=make_generator(2)), torch.full((6,), 0.5)
    backbone = network(conditional=conditional).backbone
    same = torch.equal(backbone(x_t, t, conditions(6, 0)), backbone(x_t, t, conditions(6, 1)))
    assert same != conditional


def test_backbone_tells_times_apart():
    x_t = torch.ones(5, 3)
    outputs = network().backbone(x_t, torch.tensor([0.0, 0.001, 0.01, 0.5, 1.0]), conditions(1)[torch.zeros(5, dtype=torch.long)])
    assert torch.pdist(outputs).min() > 1e-3


@every_prediction
def test_perfect_prediction_costs_nothing(prediction):
    assert oracle_loss(prediction=prediction)[0] < 1e-6


@every_prediction
def test_loss_is_the_mean_squared_error_of_the_output(prediction):
    assert oracle_loss(prediction=prediction, offset=3.0)[0] == pytest.approx(9.0, rel=1e-3)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_times_of_a_batch_cover_the_interval_evenly(n):
    t = oracle_loss(n)[1].t.double()
    assert t.min() >= 0.0
    assert t.max() < 1.0
    assert sorted((t * n).floor().int().tolist()) == list(range(n))
    torch.testing.assert_close(t.sort().values.diff(), torch.full((n - 1,), 1 / n, dtype=torch.float64), rtol=0.0, atol=1e-6)


def test_each_time_is_uniform():
    draws = torch.stack([oracle_loss(n=3, seed=seed)[1].t for seed in range(400)])
    for column in draws.T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3


def test_loss_is_a_function_of_the_generator():
    x_0 = torch.randn((32, 3), generator=make_generator(1))
    first, second, other = (float(diffusion_loss(network(), x_0, conditions(32), make_generator(seed))) for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_conditions_are_dropped_at_the_asked_rate():
    present = oracle_loss(n=4000, dropout=0.3)[1].present
    assert present.float().mean() == pytest.approx(0.7, abs=0.03)
    assert oracle_loss()[1].present is None
