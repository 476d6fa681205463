"""Samplers against normal data, whose optimal denoiser and probability flow have closed forms, and against diffusers."""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from gaussian import COVARIANCE, MEAN, GaussianDenoiser, flowed, normal, nothing, scalar
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import ConditionEncoder, Conditions
from toycrystals.diffusion import sampler as module
from toycrystals.diffusion.denoiser import Backbone, NetworkDenoiser, estimates
from toycrystals.diffusion.sampler import (
    ALPHA_START,
    SAMPLERS,
    STOCHASTIC,
    SamplerSettings,
    Step,
    ddim_step,
    dpmpp_2m_step,
    sample,
    time_grid,
)
from toycrystals.diffusion.schedule import CosineSchedule, LinearSchedule

every_schedule = pytest.mark.parametrize("schedule", [LinearSchedule(1000), CosineSchedule()], ids=["linear", "cosine"])


def ddim(steps, eta=0.0):
    return SamplerSettings("ddim", steps, eta, guidance=1.0)


def draw(schedule, x_1, steps, eta=0.0, seed=0, sampler="ddim"):
    settings = SamplerSettings(sampler, steps, eta, guidance=1.0)
    return sample(GaussianDenoiser(schedule), schedule, x_1, nothing(len(x_1)), make_generator(seed), settings)


def flow(x_1, schedule):
    """The exact probability flow from where sampling begins to the data."""
    return flowed(x_1, schedule(time_grid(1, schedule)[0]), (1.0, 0.0))[0]


@every_schedule
@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 800), ("dpmpp_2m", 100)])
def test_noise_is_mapped_to_the_data_distribution(schedule, sampler, steps):
    """The map is affine for normal data, so that three points give its exact mean and covariance.

    Beginning with N(0, I) instead of the marginal, the mean is off by at most `ALPHA_START` times the mean and a deviation.
    """
    x_1 = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
    origin, *ends = draw(schedule, x_1, steps, sampler=sampler)
    slopes = torch.stack(ends) - origin
    torch.testing.assert_close(origin, flow(x_1[:1], schedule)[0], rtol=0.0, atol=0.02)
    assert (origin - MEAN).norm() < 1.1 * ALPHA_START * MEAN.norm() * COVARIANCE.trace().sqrt()
    torch.testing.assert_close(slopes.T @ slopes, COVARIANCE, rtol=0.02, atol=0.0)


@every_schedule
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_steps_reproduce_mean_and_covariance(schedule, eta):
    n = 8000
    x_0 = draw(schedule, normal(n, 2), steps=300, eta=eta, seed=1)
    assert ((x_0.mean(dim=0) - MEAN).abs() < 5 * COVARIANCE.diagonal().sqrt() / math.sqrt(n) + 0.01).all()
    torch.testing.assert_close(x_0.T.cov(), COVARIANCE, rtol=0.08, atol=0.0)


def distances_from_flow(sampler, steps):
    """Of as many samples, the norm of what is between them and the exact flow."""
    x_1 = normal(32, 2)
    found = [draw(CosineSchedule(), x_1, n, sampler=sampler) for n in steps]
    return np.array([float((x_0 - flow(x_1, CosineSchedule())).norm()) for x_0 in found])


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1.0), ("dpmpp_2m", 2.0)])
def test_deterministic_samplers_converge_to_the_probability_flow_at_their_order(sampler, order):
    """The second order is N^-2 log N: next to the data steps that are even in time are long ones of the log-SNR."""
    steps = np.array([256, 512, 1024])
    errors = distances_from_flow(sampler, steps) / np.log(steps) ** (order - 1.0)
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-order, abs=0.06 * order)


def test_dpmpp_is_far_nearer_to_the_flow_than_ddim_at_the_steps_that_are_used():
    assert distances_from_flow("dpmpp_2m", [25]) < 0.1 * distances_from_flow("ddim", [25])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_stochastic_samplers_with_eta_draw_noise(sampler):
    for eta in (0.0, 0.5):
        generator = make_generator(3)
        before, settings = generator.get_state(), SamplerSettings(sampler, 5, eta, guidance=1.0)
        sample(GaussianDenoiser(CosineSchedule()), CosineSchedule(), normal(4, 2), nothing(4), generator, settings)
        assert torch.equal(generator.get_state(), before) == (eta == 0.0 or sampler not in STOCHASTIC)


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
    x_s = ddim_step(Step(x_t, (x_t - sigma_t * eps) / alpha_t, eps, t, s), schedule, eta, make_generator(3))
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
    found = ddim_step(Step(x_t, x_0, eps, t, s), schedule, 1.0, make_generator(3))
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-7)


@every_schedule
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_one_step_gives_the_first_estimate(schedule, eta):
    x_1 = normal(5, 2)
    estimate, _ = GaussianDenoiser(schedule)(x_1, time_grid(1, schedule)[:1].expand(5), nothing(5))
    torch.testing.assert_close(draw(schedule, x_1, steps=1, eta=eta), estimate)


def dpmpp(step, schedule=None):
    return dpmpp_2m_step(step, schedule or CosineSchedule(), 0.0, make_generator(0))


@every_schedule
def test_dpmpp_is_ddim_on_the_first_and_the_last_step(schedule):
    x_0, eps, before = normal(6, 2, seed=1), normal(6, 2, seed=2), (normal(6, 2, seed=3), scalar(0.8))
    alpha_t, sigma_t = schedule(scalar(0.6))
    for s, first in ((0.4, True), (0.0, True), (0.0, False)):
        step = Step(alpha_t * x_0 + sigma_t * eps, x_0, eps, scalar(0.6), scalar(s), None if first else before)
        expected = ddim_step(step, schedule, 0.0, make_generator(0))
        torch.testing.assert_close(dpmpp(step, schedule), expected, rtol=0.0, atol=1e-12)
    # In between it is another.
    step = Step(x_0, x_0, eps, scalar(0.6), scalar(0.4), before)
    assert (dpmpp(step, schedule) - ddim_step(step, schedule, 0.0, make_generator(0))).abs().min() > 1e-4


def test_a_step_of_dpmpp_is_wrong_in_third_order_where_the_estimate_is_linear_in_the_log_snr():
    """x_s = (sigma_s / sigma_t) x_t + sigma_s times the integral of e^lambda x_0(lambda).

    The midpoint leaves h^3 / 12 of the slope of x_0; DDIM leaves h^2 / 2.
    """
    schedule, t = CosineSchedule(), scalar(0.5)
    alpha_t, sigma_t = schedule(t)
    middle = (alpha_t / sigma_t).log()
    for h in (0.2, 0.1, 0.05):
        t_before, s = (schedule.time(torch.sigmoid(2.0 * (middle + gap)).sqrt()) for gap in (-0.7 * h, h))
        sigma_s = schedule(s)[1]
        x_t, slope = normal(3, 2), normal(3, 2, seed=1)
        found = dpmpp(Step(x_t, 0.0 * slope, x_t, t, s, (-0.7 * h * slope, t_before)))
        # The integral of e^l (l - middle) from middle to middle + h.
        exact = sigma_s / sigma_t * x_t + sigma_s * (alpha_t / sigma_t) * (math.exp(h) * (h - 1.0) + 1.0) * slope
        assert ((found - exact).abs() < 0.1 * h**3 * slope.abs()).all()
        assert ((sigma_s / sigma_t * x_t - exact).abs() > 0.2 * h**2 * slope.abs()).all()


@pytest.mark.parametrize("indices", [[979, 900, 700, 500, 301, 120, 19], [999, 500, 0], [499]], ids=str)
def test_dpmpp_equals_that_of_diffusers(indices, monkeypatch):
    """On uneven grids of the levels of DDPM; both end without noise, by a step of first order."""
    scheduler = DPMSolverMultistepScheduler(1000, beta_schedule="linear", algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(timesteps=indices)
    schedule = LinearSchedule(1000)
    denoiser, expected, times = GaussianDenoiser(schedule), normal(8, 2), scalar([(i + 1) / 1000 for i in indices])
    for index, t in zip(indices, times, strict=True):
        _, eps = denoiser(expected, t.expand(8), nothing(8))
        expected = scheduler.step(eps, index, expected).prev_sample
    grid = torch.cat([times, torch.zeros(1, dtype=torch.float64)])
    monkeypatch.setattr(module, "time_grid", lambda steps, _: grid[: steps + 1])
    found = draw(schedule, normal(8, 2), len(indices), sampler="dpmpp_2m")
    torch.testing.assert_close(found, expected, rtol=0.0, atol=2e-4)


@every_schedule
@given(steps=st.integers(1, 500))
@settings(deadline=None)
def test_grid_falls_evenly_from_where_the_signal_is_a_trace_to_the_data(schedule, steps):
    grid = time_grid(steps, schedule)
    assert schedule(grid[0])[0] == pytest.approx(ALPHA_START, rel=1e-9)
    assert grid[-1] == 0.0
    torch.testing.assert_close(grid.diff(), (-grid[0] / steps).expand(steps))


def test_grid_begins_at_the_end_of_a_schedule_that_leaves_more_signal():
    """Of two levels sqrt(0.95 * 0.001) = 0.031 is left."""
    assert time_grid(4, LinearSchedule(2)).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("steps", [0, -3])
def test_a_grid_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"at least 1 sampling step, got {steps}"):
        time_grid(steps, CosineSchedule())


class SlightlyWrong(GaussianDenoiser):
    """A network that predicts eps with an error of 1 %."""

    def __call__(self, x_t, t, conditions):
        _, eps = super().__call__(x_t, t, conditions)
        levels = (level[:, None] for level in self.schedule(t))
        return estimates(1.01 * eps, x_t, *levels, "eps")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_error_of_eps_is_not_blown_up_where_sampling_begins(sampler, monkeypatch):
    """x_0 = (x_t - sigma eps) / alpha: where alpha is 1e-3, at the end of the cosine schedule, 1 % of eps is ten of x_0."""
    schedule, x_1, settings = CosineSchedule(), normal(400, 2), SamplerSettings(sampler, 25, 0.0, guidance=1.0)
    away = []
    for start in (ALPHA_START, CosineSchedule.ALPHA_1):
        monkeypatch.setattr(module, "ALPHA_START", start)
        drawn = [sample(d(schedule), schedule, x_1, nothing(400), make_generator(0), settings)
                 for d in (GaussianDenoiser, SlightlyWrong)]  # fmt: skip
        away.append(float((drawn[1] - drawn[0]).square().mean().sqrt()))
    assert away[0] < 0.1
    assert away[1] > 0.3


def test_a_sampler_is_a_step_function_under_its_name(monkeypatch):
    """It is given the estimates at t, the times t and s, and x_0 and t of the step before; it returns where the next starts."""
    seen = []

    def halve(step, schedule, eta, generator):
        seen.append((step, eta))
        expected = GaussianDenoiser(schedule)(step.x_t, step.t.expand(3), nothing(3))
        torch.testing.assert_close((step.x_0, step.eps), expected)
        return step.x_t / 2

    monkeypatch.setitem(SAMPLERS, "halve", halve)
    x_1, settings = normal(3, 2), SamplerSettings("halve", 4, 0.3, guidance=1.0)
    found = sample(GaussianDenoiser(CosineSchedule()), CosineSchedule(), x_1, nothing(3), make_generator(0), settings)
    torch.testing.assert_close(found, x_1 / 16)
    grid = time_grid(4, CosineSchedule()).tolist()
    assert [(float(step.t), float(step.s), eta) for step, eta in seen] == [(t, s, 0.3) for t, s in itertools.pairwise(grid)]
    assert seen[0][0].before is None
    for (before, _), (step, _) in itertools.pairwise(seen):
        assert step.before[0] is before.x_0
        assert step.before[1] == before.t


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_denoiser_is_asked_once_a_step(steps):
    denoiser = GaussianDenoiser(CosineSchedule())
    sample(denoiser, CosineSchedule(), normal(3, 2), nothing(3), make_generator(0), ddim(steps))
    assert denoiser.times == time_grid(steps, CosineSchedule())[:-1].tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_do_not_see_each_other(sampler):
    backbone = Backbone(2, 16, 2, ConditionEncoder("rot_only", 4, 4, conditional=True))
    for seed, parameter in enumerate(backbone.parameters()):
        parameter.data = 0.3 * normal(*parameter.shape, seed=seed).float()
    denoiser = NetworkDenoiser(backbone, CosineSchedule(), "v").requires_grad_(False)
    conditions = Conditions(torch.arange(12) % 4, torch.linspace(0.0, 1.0, 48).view(12, 4))
    x_1, order = normal(12, 2).float(), torch.randperm(12, generator=make_generator(5))
    settings = SamplerSettings(sampler, 10, 0.0, guidance=1.0)
    straight = sample(denoiser, CosineSchedule(), x_1, conditions, make_generator(0), settings)
    shuffled = sample(denoiser, CosineSchedule(), x_1[order], conditions[order], make_generator(0), settings)
    torch.testing.assert_close(shuffled, straight[order], rtol=1e-4, atol=1e-4)
