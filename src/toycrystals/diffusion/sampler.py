"""From noise to data: DDIM (Song, Meng and Ermon 2021) with eta, of which 1 is the ancestral sampler of DDPM, and DPM-Solver++.

One step of DDIM from t to s < t, with x_0 and eps the denoiser's estimates at x_t:

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z,  c = eta (sigma_s / sigma_t) sqrt(1 - alpha_t^2 / alpha_s^2)

(their equations 12 and 16).
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.denoiser import Denoiser
from toycrystals.diffusion.schedule import Schedule

# Sampling begins where alpha_t is this much: x_0 from an estimate of eps is divided by it, so that from 1e-3 a network's error
# of 1 % would be ten times the data's spread. To begin with N(0, I) there costs about D alpha^2 / 2 nats, at D = 12 5e-3.
ALPHA_START = 0.03


@dataclass(frozen=True)
class SamplerSettings:
    """How codes are drawn step by step: which of `SAMPLERS`, number of steps, eta (0 DDIM, 1 DDPM), guidance (1 is none)."""

    sampler: str
    steps: int
    eta: float
    guidance: float


def time_grid(steps: int, schedule: Schedule) -> Tensor:
    """steps + 1 times, float64, from the level of `ALPHA_START` to the data, 0. Raises `ValueError` for fewer than one step."""
    if steps < 1:
        raise ValueError(f"expected at least 1 sampling step, got {steps}")
    start = float(schedule.time(torch.tensor(ALPHA_START, dtype=torch.float64)))
    return torch.linspace(start, 0.0, steps + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Step:
    """From x_t [N, D] and the estimates x_0 and eps there to x_s: t and s < t are float64 scalars.

    `before`: x_0 and t of the step before, None at the first.
    """

    x_t: Tensor
    x_0: Tensor
    eps: Tensor
    t: Tensor
    s: Tensor
    before: "tuple[Tensor, Tensor] | None" = None


def ddim_step(step: Step, schedule: Schedule, eta: float, generator: torch.Generator) -> Tensor:
    """DDIM and, with eta, its stochastic kin."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(step.t), schedule(step.s)
    c = eta * sigma_s / sigma_t * torch.sqrt((1.0 - (alpha_t / alpha_s) ** 2).clamp_min(0.0))
    x_s = float(alpha_s) * step.x_0 + float(torch.sqrt((sigma_s**2 - c**2).clamp_min(0.0))) * step.eps
    if c > 0.0:
        x_s = x_s + float(c) * torch.randn(x_s.shape, generator=generator, device=x_s.device, dtype=x_s.dtype)
    return x_s


def dpmpp_2m_step(step: Step, schedule: Schedule, _eta: float, _generator: torch.Generator) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), of second order: DDIM with x_0 extrapolated from the step before.

    In log-SNR lambda, x_0 + (x_0 - x_0 before) h / (2 h_before) is x_0 in the middle of a step h. The last one ends at infinite
    lambda, and is DDIM's.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(step.t), schedule(step.s)
    x_0 = step.x_0
    if step.before is not None and sigma_s > 0.0:
        x_0_before, t_before = step.before
        lambda_before, lambda_t, lambda_s = ((alpha / sigma).log() for alpha, sigma in map(schedule, (t_before, step.t, step.s)))
        x_0 = x_0 + float((lambda_s - lambda_t) / (2.0 * (lambda_t - lambda_before))) * (x_0 - x_0_before)
    return float(sigma_s / sigma_t) * step.x_t + float(alpha_s - alpha_t * sigma_s / sigma_t) * x_0


# Samplers by name: from a step to x_s.
SAMPLERS = {"ddim": ddim_step, "dpmpp_2m": dpmpp_2m_step}
# Those that draw noise, as much as eta says.
STOCHASTIC = {"ddim"}


def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    x_1: Tensor,
    conditions: Conditions,
    generator: torch.Generator,
    settings: SamplerSettings,
) -> Tensor:
    """Walk noise x_1 ~ N(0, I) [N, D] down the grid to data [N, D], asking the denoiser once a step."""
    x, before = x_1, None
    for t, s in itertools.pairwise(time_grid(settings.steps, schedule)):
        x_0, eps = denoiser(x, t.to(x).expand(len(x)), conditions)
        x = SAMPLERS[settings.sampler](Step(x, x_0, eps, t, s, before), schedule, settings.eta, generator)
        before = x_0, t
    return x
