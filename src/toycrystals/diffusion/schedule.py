"""x_t = alpha_t x_0 + sigma_t eps, with alpha_t^2 + sigma_t^2 = 1, alpha_0 = 1, and alpha_t / sigma_t falling in t in [0, 1]."""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor

ScheduleName = Literal["linear", "cosine"]


class Schedule(Protocol):
    """Times t [...] in [0, 1] to (alpha_t, sigma_t) of the same shape and dtype; `time` is the inverse of alpha_t."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]: ...

    def time(self, alpha: Tensor) -> Tensor: ...


class LinearSchedule:
    """The betas of DDPM (Ho et al. 2020), linear from 1e-4 to 0.02 over T levels.

    alpha at t = i / T is exactly sqrt(prod_{j <= i} (1 - beta_j)); log alpha is linear in between.
    """

    def __init__(self, timesteps: int = 1000) -> None:
        # These endpoints belong to T = 1,000; other T scale them, to about the same total noise (Song et al. 2021, appendix B).
        betas = torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64) * (1000 / timesteps)
        log_alpha = 0.5 * torch.log1p(-betas.clamp_max(0.999)).cumsum(0)
        self.log_alpha = torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha])  # [T + 1]

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        table = self.log_alpha.to(t.device)
        position = t.double() * (len(table) - 1)
        left = position.floor().long().clamp(0, len(table) - 2)
        log_alpha = torch.lerp(table[left], table[left + 1], position - left)
        return log_alpha.exp().to(t.dtype), torch.sqrt(-torch.expm1(2.0 * log_alpha)).to(t.dtype)

    def time(self, alpha: Tensor) -> Tensor:
        """The t at which alpha_t is `alpha`; 1 where the schedule ends before."""
        falls = -self.log_alpha.to(alpha.device)  # ascending
        wanted = -alpha.double().log()
        left = (torch.searchsorted(falls, wanted) - 1).clamp(0, len(falls) - 2)
        position = left + (wanted - falls[left]) / (falls[left + 1] - falls[left])
        return (position / (len(falls) - 1)).clamp(0.0, 1.0).to(alpha.dtype)


class CosineSchedule:
    """alpha_t = cos(phi t), sigma_t = sin(phi t) (Nichol and Dhariwal 2021, without the offset).

    phi is a little less than pi / 2, so that a trace of the data, `ALPHA_1`, is left at t = 1 and eps still determines x_0.
    """

    ALPHA_1 = 1e-3

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        phase = math.acos(self.ALPHA_1) * t.double()
        return phase.cos().to(t.dtype), phase.sin().to(t.dtype)

    def time(self, alpha: Tensor) -> Tensor:
        """The t at which alpha_t is `alpha`; 1 where the schedule ends before."""
        return (alpha.double().acos() / math.acos(self.ALPHA_1)).clamp(0.0, 1.0).to(alpha.dtype)


def make_schedule(name: ScheduleName, timesteps: int) -> Schedule:
    """The schedule called `name`; `timesteps` is T of the linear one."""
    return LinearSchedule(timesteps) if name == "linear" else CosineSchedule()
