"""From noise to data: DDIM (Song, Meng and Ermon 2021) with eta; eta = 1 is the ancestral sampler of DDPM.

One step from t to s < t, with x_0 and eps the denoiser's estimates at x_t:

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


@dataclass(frozen=True)
class SamplerSettings:
    """How codes are drawn step by step: which of `SAMPLERS`, number of steps, eta (0 DDIM, 1 DDPM), guidance (1 is none)."""

    sampler: str
    steps: int
    eta: float
    guidance: float


def time_grid(steps: int) -> Tensor:
    """steps + 1 times, float64, from the noisiest level, 1, to the data, 0. Raises `ValueError` for fewer than one step."""
    if steps < 1:
        raise ValueError(f"expected at least 1 sampling step, got {steps}")
    return torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)


def ddim_step(
    x_t: Tensor, x_0: Tensor, eps: Tensor, t: Tensor, s: Tensor, schedule: Schedule, eta: float, generator: torch.Generator
) -> Tensor:
    """x_s from x_t [N, D] and the estimates at t; t and s < t are float64 scalars."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    c = eta * sigma_s / sigma_t * torch.sqrt((1.0 - (alpha_t / alpha_s) ** 2).clamp_min(0.0))
    x_s = float(alpha_s) * x_0 + float(torch.sqrt((sigma_s**2 - c**2).clamp_min(0.0))) * eps
    if c > 0.0:
        x_s = x_s + float(c) * torch.randn(x_t.shape, generator=generator, device=x_t.device, dtype=x_t.dtype)
    return x_s


# A sampler by name: from x_t, the estimates x_0 and eps, and the times t and s < t to x_s.
SAMPLERS = {"ddim": ddim_step}


def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    x_1: Tensor,
    conditions: Conditions,
    generator: torch.Generator,
    settings: SamplerSettings,
) -> Tensor:
    """Walk x_1 ~ N(0, I) [N, D] down the grid to data [N, D], asking the denoiser once a step."""
    step = SAMPLERS[settings.sampler]
    x = x_1
    for t, s in itertools.pairwise(time_grid(settings.steps)):
        x_0, eps = denoiser(x, t.to(x).expand(len(x)), conditions)
        x = step(x, x_0, eps, t, s, schedule, settings.eta, generator)
    return x
