"""A network's output, read as eps, x0 or v, turned into an estimate of x_0 and eps; and the loss that trains it.

eps:  x_0 = (x_t - sigma_t eps) / alpha_t
x0:   eps = (x_t - alpha_t x_0) / sigma_t
v:    v = alpha_t eps - sigma_t x_0  (Salimans and Ho 2022),  x_0 = alpha_t x_t - sigma_t v,  eps = sigma_t x_t + alpha_t v
"""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toycrystals.crystals.conditions import ConditionEncoder, Conditions, keep_mask
from toycrystals.diffusion.schedule import Schedule
from toycrystals.models.networks import ResidualBlock

Prediction = Literal["eps", "x0", "v"]


class Denoiser(Protocol):
    """Noisy x_t [N, D] at times t [N] to estimates (x_0, eps), each [N, D]."""

    def __call__(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]: ...


class Backbone(nn.Module):
    """A residual MLP modulated by time and condition: [N, D] -> [N, D]."""

    frequencies: Tensor

    def __init__(self, dim: int, width: int, blocks: int, condition: ConditionEncoder, time_features: int = 32) -> None:
        super().__init__()
        self.condition = condition
        self.register_buffer("frequencies", torch.logspace(0, 2, time_features), persistent=False)
        self.embed = nn.Sequential(
            nn.Linear(2 * time_features + condition.features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, condition_features=width) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, x_t: Tensor, t: Tensor, conditions: Conditions, present: Tensor | None = None) -> Tensor:
        """x_t [N, D], t [N] in [0, 1] -> [N, D]; see `ConditionEncoder` for `present`."""
        phase = t[:, None] * self.frequencies * (math.pi / 2)
        embedding = self.embed(torch.cat([phase.sin(), phase.cos(), self.condition(conditions, present)], dim=1))
        h = self.enter(x_t)
        for block in self.blocks:
            h = block(h, embedding)
        out: Tensor = self.leave(h).float()
        return out


class NetworkDenoiser(nn.Module):
    """A `Denoiser` from a backbone, a schedule and the meaning of the backbone's output."""

    def __init__(self, backbone: Backbone, schedule: Schedule, prediction: Prediction) -> None:
        super().__init__()
        self.backbone, self.schedule, self.prediction = backbone, schedule, prediction

    def forward(self, x_t: Tensor, t: Tensor, conditions: Conditions, guidance: float = 1.0) -> tuple[Tensor, Tensor]:
        """`guidance` w (Ho and Salimans 2022): outputs are null + w (conditional - null); 1 asks the network once."""
        output = self.backbone(x_t, t, conditions)
        if guidance != 1.0:
            null = self.backbone(x_t, t, conditions, torch.zeros_like(t, dtype=torch.bool))
            output = null + guidance * (output - null)
        alpha_t, sigma_t = (level[:, None] for level in self.schedule(t))
        return estimates(output, x_t, alpha_t, sigma_t, self.prediction)


def estimates(output: Tensor, x_t: Tensor, alpha_t: Tensor, sigma_t: Tensor, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """(x_0, eps) from a network's output at levels alpha_t, sigma_t > 0, which broadcast against x_t."""
    match prediction:
        case "eps":
            return (x_t - sigma_t * output) / alpha_t, output
        case "x0":
            return output, (x_t - alpha_t * output) / sigma_t
        case "v":
            return alpha_t * x_t - sigma_t * output, sigma_t * x_t + alpha_t * output


def target(x_0: Tensor, eps: Tensor, alpha_t: Tensor, sigma_t: Tensor, prediction: Prediction) -> Tensor:
    """What a network should answer at x_t = alpha_t x_0 + sigma_t eps."""
    match prediction:
        case "eps":
            return eps
        case "x0":
            return x_0
        case "v":
            return alpha_t * eps - sigma_t * x_0


def diffusion_loss(
    denoiser: NetworkDenoiser, x_0: Tensor, conditions: Conditions, generator: torch.Generator, condition_dropout: float = 0.0
) -> Tensor:
    """Mean squared error of the network's output at random times, x_0 [N, D] of unit variance.

    The times of a batch are one uniform draw shifted by i / N (Kingma et al. 2021, appendix I.1): each is uniform on [0, 1),
    and together they cover it evenly, which takes noise out of the gradient.
    """
    n = len(x_0)
    u = torch.rand(1, generator=generator, device=x_0.device)
    t = torch.remainder(u + torch.arange(n, device=x_0.device) / n, 1.0)
    eps = torch.randn(x_0.shape, generator=generator, device=x_0.device)
    alpha_t, sigma_t = (level[:, None] for level in denoiser.schedule(t))
    present = keep_mask(n, condition_dropout, generator, x_0.device)
    output = denoiser.backbone(alpha_t * x_0 + sigma_t * eps, t, conditions, present)
    return F.mse_loss(output, target(x_0, eps, alpha_t, sigma_t, denoiser.prediction))
