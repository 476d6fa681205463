"""Normal data, of which the optimal denoiser and the probability flow have closed forms."""

import torch

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.5, 0.6], [0.6, 0.4]], dtype=torch.float64)


class GaussianDenoiser:
    """E[x_0 | x_t] = m + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha m) for x_0 ~ N(m, C); keeps the times asked for."""

    def __init__(self, schedule, mean=MEAN, covariance=COVARIANCE):
        self.schedule, self.mean, self.covariance, self.times = schedule, mean, covariance, []

    def __call__(self, x_t, t, conditions):
        self.times.append(float(t[0]))
        assert t.shape == (len(x_t),)
        alpha_t, sigma_t = self.schedule(t[0])
        noise = sigma_t**2 * torch.eye(len(self.covariance), dtype=torch.float64)
        gain = alpha_t * self.covariance @ torch.linalg.inv(alpha_t**2 * self.covariance + noise)
        x_0 = self.mean + (x_t - alpha_t * self.mean) @ gain.T
        return x_0, (x_t - alpha_t * x_0) / sigma_t


def nothing(n):
    return Conditions(torch.zeros(n, dtype=torch.long), torch.zeros(n, 4))


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed), dtype=torch.float64)


def flowed(x, start, end, mean=MEAN, covariance=COVARIANCE):
    """The exact probability flow of x [N, D] from levels (alpha, sigma) to others, and the log-volume by which it scales.

    Along an eigenvector of C, deviations from alpha m scale as the marginal's deviation does.
    """
    variances, axes = torch.linalg.eigh(covariance)
    before, after = ((alpha**2 * variances + sigma**2).sqrt() for alpha, sigma in (start, end))
    return end[0] * mean + ((x - start[0] * mean) @ axes * (after / before)) @ axes.T, (after / before).log().sum()
