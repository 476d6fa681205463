"""The density of the probability flow against normals, whose flow and density have closed forms, and traces against autograd."""

import math

import numpy as np
import pytest
import torch
from gaussian import GaussianDenoiser, flowed, normal, nothing
from torch.distributions import MultivariateNormal

from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion import flow as module
from toycrystals.diffusion.flow import log_prob, with_divergence
from toycrystals.diffusion.sampler import ALPHA_START
from toycrystals.diffusion.schedule import CosineSchedule, LinearSchedule

every_schedule = pytest.mark.parametrize("schedule", [LinearSchedule(1000), CosineSchedule()], ids=["linear", "cosine"])
every_dim = pytest.mark.parametrize("dim", [1, 2, 3])


def normal_data(dim):
    """Mean and covariance of data in the units that a prior scales codes to: mean 0, variance 1, dimensions that depend."""
    return torch.zeros(dim, dtype=torch.float64), torch.full((dim, dim), 0.7, dtype=torch.float64).fill_diagonal_(1.0)


def points(mean, covariance, n=40):
    return mean + normal(n, len(mean)) @ torch.linalg.cholesky(covariance).T


def levels(phi):
    return math.cos(phi), math.sin(phi)


def exact(x, mean, covariance, alpha_1=ALPHA_START):
    """What Runge-Kutta steps tend to: log N(flow of x; 0, I) and the log-volume of the flow, both from phi_0 to phi_1."""
    end, volume = flowed(x, levels(module._PHI_0), levels(math.acos(alpha_1)), mean, covariance)
    return -0.5 * (end.square() + math.log(2 * math.pi)).sum(dim=1) + volume


@every_schedule
@every_dim
def test_density_is_that_of_normal_data(schedule, dim):
    """What is left is N(0, I) in the place of the marginal at `ALPHA_START`, and the noise that is there at the beginning."""
    mean, covariance = normal_data(dim)
    x = points(mean, covariance)
    found = log_prob(GaussianDenoiser(schedule, mean, covariance), schedule, x, nothing(len(x)))
    assert (found.dtype, found.shape) == (torch.float64, (40,))
    torch.testing.assert_close(found, exact(x, mean, covariance), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(found, MultivariateNormal(mean, covariance).log_prob(x), rtol=0.0, atol=0.01)


@pytest.mark.parametrize("mean", [0.0, 3.0])
@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0])
def test_density_is_that_of_what_is_drawn_where_data_are_not_of_unit_variance(mean, variance):
    """The samples of the flow from N(0, I) are of this normal, not quite of that of the data."""
    mean, covariance = torch.full((2,), mean, dtype=torch.float64), variance * torch.eye(2, dtype=torch.float64)
    x = points(mean, covariance)
    found = log_prob(GaussianDenoiser(CosineSchedule(), mean, covariance), CosineSchedule(), x, nothing(len(x)))
    torch.testing.assert_close(found, exact(x, mean, covariance), rtol=2e-3, atol=2e-3)


def test_density_converges_at_fourth_order():
    mean, covariance = normal_data(2)
    x, steps = points(mean, covariance), [8, 16, 32, 64]
    denoiser = GaussianDenoiser(CosineSchedule(), mean, covariance)
    found = [log_prob(denoiser, CosineSchedule(), x, nothing(len(x)), n) for n in steps]
    errors = [float((one - exact(x, mean, covariance)).abs().max()) for one in found]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-4.0, abs=0.5)


def test_density_begins_where_a_short_schedule_ends(monkeypatch):
    """Of two levels 0.031 of the data is left, more than `ALPHA_START`."""
    mean, covariance = normal_data(2)
    schedule, x = LinearSchedule(2), points(mean, covariance)
    end = float(schedule(torch.ones((), dtype=torch.float64))[0])
    found = log_prob(GaussianDenoiser(schedule, mean, covariance), schedule, x, nothing(len(x)), steps=200)
    torch.testing.assert_close(found, exact(x, mean, covariance, end), rtol=0.0, atol=1e-3)


class ConditionalDenoiser:
    """Normal data about the angle that was asked for, wider for the second type."""

    def __call__(self, x_t, t, conditions):
        alpha_t, sigma_t = (level[:, None] for level in CosineSchedule()(t))
        mean, variance = about(conditions)
        x_0 = mean + alpha_t * variance / (alpha_t**2 * variance + sigma_t**2) * (x_t - alpha_t * mean)
        return x_0, (x_t - alpha_t * x_0) / sigma_t


def about(conditions):
    return conditions.labels[:, 1:2].double().expand(-1, 2), 0.2 + 0.6 * conditions.type[:, None].double()


def test_density_is_that_of_each_rows_own_condition():
    labels = torch.zeros(30, 4)
    labels[:, 1] = torch.linspace(-1.0, 1.0, 30)
    conditions, x = Conditions(torch.arange(30) % 2, labels), normal(30, 2)
    mean, variance = about(conditions)
    found = log_prob(ConditionalDenoiser(), CosineSchedule(), x, conditions)
    expected = torch.cat([exact(x[[i]], mean[i], variance[i] * torch.eye(2)) for i in range(30)])
    torch.testing.assert_close(found, expected, rtol=0.0, atol=5e-3)
    other = log_prob(ConditionalDenoiser(), CosineSchedule(), x, Conditions(conditions.type.flip(0), conditions.labels.flip(0)))
    assert (other - found).abs().median() > 0.5
    alone = torch.cat([log_prob(ConditionalDenoiser(), CosineSchedule(), x[[i]], conditions[[i]]) for i in range(3)])
    torch.testing.assert_close(found[:3], alone)


@every_dim
def test_divergence_is_the_trace_of_each_rows_jacobian(dim):
    def function(x):
        return torch.tanh(x @ normal(dim, dim, seed=1)) * x.square().sum(dim=1, keepdim=True)

    x = normal(7, dim)
    y, divergence = with_divergence(function, x)
    torch.testing.assert_close(y, function(x))
    assert not y.requires_grad
    assert not divergence.requires_grad
    for row, found in zip(x, divergence, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda u: function(u[None])[0], row)
        torch.testing.assert_close(found, jacobian.trace())


@every_dim
def test_divergence_of_a_linear_map_is_its_trace(dim):
    matrix = normal(dim, dim, seed=1)
    with torch.no_grad():
        _, divergence = with_divergence(lambda x: x @ matrix.T, normal(5, dim))
    torch.testing.assert_close(divergence, matrix.trace().expand(5))
