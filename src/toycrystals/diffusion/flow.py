"""The probability flow of a diffusion model: the ordinary differential equation with its marginals, and so its density.

With alpha = cos phi and sigma = sin phi, whatever the schedule, the flow (Song et al. 2021, equation 13) is

    dx / dphi = v(x, phi) = cos(phi) eps - sin(phi) x_0

with x_0 and eps the denoiser's estimates at x, and the density follows from its divergence (their equation 39):

    log p(x at 0) = log N(x at phi_1; 0, I) + integral of div v over phi from 0 to phi_1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.denoiser import Denoiser
from toycrystals.diffusion.sampler import ALPHA_START
from toycrystals.diffusion.schedule import Schedule

# An estimate of eps from x_0 is 0 / 0 where there is no noise: so little is added by beginning here.
_PHI_0 = 1e-2


def log_prob(denoiser: Denoiser, schedule: Schedule, x_0: Tensor, conditions: Conditions, steps: int = 16) -> Tensor:
    """log p(x_0 | c) in nats of x_0 [N, D]: [N], float64; `steps` of the classical Runge-Kutta method.

    The divergence is the exact trace of the Jacobian, D gradients an evaluation; phi_1 is where sampling begins.
    """
    first, last = math.log(_PHI_0), math.log(math.acos(max(ALPHA_START, float(schedule(torch.ones(1))[0]))))

    def slope(x: Tensor, u: float) -> tuple[Tensor, Tensor]:
        """dx / du and the divergence's share of it, u = log phi."""
        phi = math.exp(u)
        t = schedule.time(torch.tensor(math.cos(phi), dtype=torch.float64)).to(x).expand(len(x))

        def v(y: Tensor) -> Tensor:
            x_0, eps = denoiser(y, t, conditions)
            return phi * (math.cos(phi) * eps - math.sin(phi) * x_0)

        return with_divergence(v, x)

    x, total, h = x_0, torch.zeros(len(x_0), dtype=torch.float64, device=x_0.device), (last - first) / steps
    for i in range(steps):
        u = first + i * h
        k1, d1 = slope(x, u)
        k2, d2 = slope(x + h / 2 * k1, u + h / 2)
        k3, d3 = slope(x + h / 2 * k2, u + h / 2)
        k4, d4 = slope(x + h * k3, u + h)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        total += h / 6 * (d1 + 2 * d2 + 2 * d3 + d4).double()
    return total - 0.5 * (x.double().square() + math.log(2.0 * math.pi)).sum(dim=1)


def with_divergence(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """function(x) [N, D] of x [N, D], and the trace [N] of each row's Jacobian; rows must not depend on each other."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
        columns = [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return y.detach(), torch.stack(columns).sum(dim=0)
