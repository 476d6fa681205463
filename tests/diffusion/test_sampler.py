"""Samplers against normal data, whose optimal denoiser and probability flow have closed forms, and against diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import ConditionEncoder, Conditions
from toycrystals.diffusion.denoiser import Backbone, NetworkDenoiser
from toycrystals.diffusion.sampler import SAMPLERS, SamplerSettings, ddim_step, sample, time_grid
from toycrystals.diffusion.schedule import CosineSchedule, LinearSchedule

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.5, 0.6], [0.6, 0.4]], dtype=torch.float64)
every_schedule = pytest.mark.parametrize("schedule", [LinearSchedule(1000), CosineSchedule()], ids=["linear", "cosine"])


class GaussianDenoiser:
    """E[x_0 | x_t] = m + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha m) for x_0 ~ N(m, C); keeps the times asked for."""

    def __init__(self, schedule):
        self.schedule, self.times = schedule, []

    def __call__(self, x_t, t, conditions):
        self.times.append(float(t[0]))
        assert t.shape == (len(x_t),)
        alpha_t, sigma_t = self.schedule(t[0])
        gain = alpha_t * COVARIANCE @ torch.linalg.inv(alpha_t**2 * COVARIANCE + sigma_t**2 * torch.eye(2))
        x_0 = MEAN + (x_t - alpha_t * MEAN) @ gain.T
        return x_0, (x_t - alpha_t * x_0) / sigma_t


def nothing(n):
    return Conditions(torch.zeros(n, dtype=torch.long), torch.zeros(n, 4))


def ddim(steps, eta=0.0):
    return SamplerSettings("ddim", steps, eta, guidance=1.0)


def draw(schedule, x_1, steps, eta=0.0, seed=0):
    return sample(GaussianDenoiser(schedule), schedule, x_1, nothing(len(x_1)), make_generator(seed), ddim(steps, eta))


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed), dtype=torch.float64)


def flow(x_1, schedule):
    """The exact probability flow from t = 1 to 0: along an eigenvector of C, deviations scale as the marginal's does."""
    alpha, sigma = schedule(scalar(1.0))
    variances, axes = torch.linalg.eigh(COVARIANCE)
    scale = (variances / (alpha**2 * variances + sigma**2)).sqrt()
    return MEAN + ((x_1 - alpha * MEAN) @ axes * scale) @ axes.T


@every_schedule
def test_ddim_maps_noise_to_the_data_distribution(schedule):
    """The map is affine for normal data, so that three points give its exact mean and covariance."""
    origin, *ends = draw(schedule, torch.cat([torch.zeros(1, 2), torch.eye(2)]).double(), steps=800)
    slopes = torch.stack(ends) - origin
    torch.testing.assert_close(origin, MEAN, rtol=0.0, atol=0.02)
    torch.testing.assert_close(slopes.T @ slopes, COVARIANCE, rtol=0.02, atol=0.0)


@every_schedule
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_steps_reproduce_mean_and_covariance(schedule, eta):
    n = 8000
    x_0 = draw(schedule, normal(n, 2), steps=300, eta=eta, seed=1)
    assert ((x_0.mean(dim=0) - MEAN).abs() < 5 * COVARIANCE.diagonal().sqrt() / math.sqrt(n) + 0.01).all()
    torch.testing.assert_close(x_0.T.cov(), COVARIANCE, rtol=0.08, atol=0.0)


def test_ddim_converges_to_the_probability_flow_at_first_order():
    x_1, steps = normal(32, 2), [32, 64, 128, 256]
    errors = [float((draw(CosineSchedule(), x_1, n) - flow(x_1, CosineSchedule())).norm()) for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.1)


def test_ddim_draws_no_noise():
    generator = make_generator(3)
    before = generator.get_state()
    sample(GaussianDenoiser(CosineSchedule()), CosineSchedule(), normal(4, 2), nothing(4), generator, ddim(5))
    assert torch.equal(generator.get_state(), before)


def test_ancestral_samples_are_a_function_of_the_generator():
    first, second, other = (draw(CosineSchedule(), normal(4, 2), steps=5, eta=1.0, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.isclose(first, other).any()


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("index", [980, 500, 20, 0])
def test_step_equals_that_of_diffusers(eta, index):
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_schedule="linear", clip_sample=False)
    scheduler.set_timesteps(50)
    t, s = scalar((index + 1) / 1000), scalar(max(0, index - 19) / 1000)
    schedule = LinearSchedule(1000)
    alpha_t, sigma_t = schedule(t)
    x_t, eps = normal(8, 3, seed=1), normal(8, 3, seed=2)
    x_s = ddim_step(x_t, (x_t - sigma_t * eps) / alpha_t, eps, t, s, schedule, eta, make_generator(3))
    expected = scheduler.step(eps, index, x_t, eta=eta, variance_noise=normal(8, 3, seed=3)).prev_sample
    torch.testing.assert_close(x_s, expected, rtol=1e-4, atol=1e-4)


@every_schedule
@given(s=st.floats(0.0, 1.0), t=st.floats(0.0, 1.0))
@settings(deadline=None)
def test_eta_one_is_the_posterior_of_ddpm(schedule, s, t):
    """Ho et al. 2020, equations 6 and 7, with beta = 1 - alpha_t^2 / alpha_s^2."""
    assume(t - s > 1e-3)
    s, t = scalar(s), scalar(t)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    x_0, eps, z = (normal(4, 2, seed=seed) for seed in (1, 2, 3))
    x_t = alpha_t * x_0 + sigma_t * eps
    beta = 1.0 - (alpha_t / alpha_s) ** 2
    mean = alpha_s * beta / sigma_t**2 * x_0 + alpha_t / alpha_s * sigma_s**2 / sigma_t**2 * x_t
    expected = mean + (sigma_s**2 / sigma_t**2 * beta).sqrt() * z
    found = ddim_step(x_t, x_0, eps, t, s, schedule, 1.0, make_generator(3))
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-7)


@every_schedule
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_one_step_gives_the_first_estimate(schedule, eta):
    x_1 = normal(5, 2)
    estimate, _ = GaussianDenoiser(schedule)(x_1, torch.ones(5, dtype=torch.float64), nothing(5))
    torch.testing.assert_close(draw(schedule, x_1, steps=1, eta=eta), estimate)


@given(steps=st.integers(1, 500))
@settings(deadline=None)
def test_grid_falls_evenly_from_one_to_zero(steps):
    grid = time_grid(steps)
    assert grid[0] == 1.0
    assert grid[-1] == 0.0
    torch.testing.assert_close(grid.diff(), torch.full((steps,), -1 / steps, dtype=torch.float64))


@pytest.mark.parametrize("steps", [0, -3])
def test_a_grid_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"at least 1 sampling step, got {steps}"):
        time_grid(steps)


def test_a_sampler_is_a_step_function_under_its_name(monkeypatch):
    """It is given the estimates at t, and the times t and s; what it returns is where the next step starts."""
    seen = []

    def halve(x_t, x_0, eps, t, s, schedule, eta, generator):
        seen.append((float(t), float(s), eta))
        expected, _ = GaussianDenoiser(schedule)(x_t, t.expand(len(x_t)), nothing(len(x_t)))
        torch.testing.assert_close(x_0, expected)
        return x_t / 2

    monkeypatch.setitem(SAMPLERS, "halve", halve)
    x_1, settings = normal(3, 2), SamplerSettings("halve", 4, 0.3, guidance=1.0)
    found = sample(GaussianDenoiser(CosineSchedule()), CosineSchedule(), x_1, nothing(3), make_generator(0), settings)
    torch.testing.assert_close(found, x_1 / 16)
    assert seen == [(1.0, 0.75, 0.3), (0.75, 0.5, 0.3), (0.5, 0.25, 0.3), (0.25, 0.0, 0.3)]


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_denoiser_is_asked_once_a_step(steps):
    denoiser = GaussianDenoiser(CosineSchedule())
    sample(denoiser, CosineSchedule(), normal(3, 2), nothing(3), make_generator(0), ddim(steps))
    assert denoiser.times == time_grid(steps)[:-1].tolist()


def test_rows_do_not_see_each_other():
    backbone = Backbone(2, 16, 2, ConditionEncoder("rot_only", 4, 4, conditional=True))
    for seed, parameter in enumerate(backbone.parameters()):
        parameter.data = 0.3 * normal(*parameter.shape, seed=seed).float()
    denoiser = NetworkDenoiser(backbone, CosineSchedule(), "v").requires_grad_(False)
    conditions = Conditions(torch.arange(12) % 4, torch.linspace(0.0, 1.0, 48).view(12, 4))
    x_1, order = normal(12, 2).float(), torch.randperm(12, generator=make_generator(5))
    straight = sample(denoiser, CosineSchedule(), x_1, conditions, make_generator(0), ddim(10))
    shuffled = sample(denoiser, CosineSchedule(), x_1[order], conditions[order], make_generator(0), ddim(10))
    torch.testing.assert_close(shuffled, straight[order], rtol=1e-4, atol=1e-4)
