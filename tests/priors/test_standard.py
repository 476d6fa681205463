"""The standard normal prior against torch's own, and its independence of conditions."""

import math

import pytest
import torch
from scipy.stats import kstest
from small_priors import SETTINGS, latents, space
from torch.distributions import Independent, Normal

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.priors.standard import Config, Prior

DIM = 3


def conditions(n, lattice_type=0):
    return Conditions(torch.full((n,), lattice_type), torch.zeros(n, 4))


@pytest.fixture
def prior():
    return Prior(Config(), space(DIM))


def test_log_prob_equals_that_of_torch(prior):
    codes = 3.0 * torch.randn((50, DIM), generator=make_generator(0))
    expected = Independent(Normal(torch.zeros(DIM), 1.0), 1).log_prob(codes)
    torch.testing.assert_close(prior.log_prob(codes, conditions(50)), expected.double(), rtol=1e-6, atol=1e-6)


def test_samples_are_independent_standard_normals(prior):
    codes = prior.sample(conditions(4000), make_generator(0), SETTINGS)
    assert codes.shape == (4000, DIM)
    for column in codes.T:
        assert kstest(column.numpy(), "norm").pvalue > 1e-3
    assert codes.T.corrcoef().tril(-1).abs().max() < 0.08


def test_samples_are_a_function_of_the_generator_and_of_nothing_else(prior):
    first, second, other = (
        prior.sample(conditions(5, k), make_generator(seed), SETTINGS) for k, seed in [(0, 0), (3, 0), (0, 1)]
    )
    assert torch.equal(first, second)
    assert not torch.isclose(first, other).any()
    assert not prior.conditional


def test_fitting_measures_the_nll_of_held_out_codes_and_learns_nothing(prior):
    """Over codes mu + sigma eps: D / 2 log 2 pi + (mu^2 + sigma^2) / 2, summed over dimensions."""
    train, val = latents(9, DIM), latents(4000, DIM, seed=1)
    second = val.posterior.mu.square() + val.posterior.logvar.exp()
    expected = 0.5 * DIM * math.log(2 * math.pi) + 0.5 * second.sum(dim=1).mean()
    assert list(prior.fit(train, val, seed=0)) == [{"epoch": 0, "val_total": pytest.approx(float(expected), rel=0.03)}]
    assert prior.tensors() == {}
