"""The standard normal prior against torch's own, and its independence of conditions."""

import pytest
import torch
from scipy.stats import kstest
from torch.distributions import Independent, Normal

from toycrystals.conditioning import Conditions
from toycrystals.latents import Latents
from toycrystals.priors.base import SamplerSettings
from toycrystals.priors.registry import restore_prior
from toycrystals.priors.standard import StandardNormal
from toycrystals.rng import make_generator
from toycrystals.vae import Posterior

DIM = 3


def conditions(n, lattice_type=0):
    return Conditions(torch.full((n,), lattice_type), torch.zeros(n, 4))


def test_log_prob_equals_that_of_torch():
    codes = 3.0 * torch.randn((50, DIM), generator=make_generator(0))
    expected = Independent(Normal(torch.zeros(DIM), 1.0), 1).log_prob(codes)
    torch.testing.assert_close(StandardNormal(DIM).log_prob(codes, conditions(50)), expected)


def test_samples_are_independent_standard_normals():
    codes = StandardNormal(DIM).sample(conditions(4000), make_generator(0))
    assert codes.shape == (4000, DIM)
    for column in codes.T:
        assert kstest(column.numpy(), "norm").pvalue > 1e-3
    assert codes.T.corrcoef().tril(-1).abs().max() < 0.08


def test_samples_are_a_function_of_the_generator_and_of_nothing_else():
    prior = StandardNormal(DIM)
    first, second, other = (prior.sample(conditions(5, k), make_generator(seed)) for k, seed in [(0, 0), (3, 0), (0, 1)])
    assert torch.equal(first, second)
    assert not torch.isclose(first, other).any()


def test_fitted_and_restored_priors_have_the_dimension_of_the_codes():
    prior = StandardNormal.fit(Latents(Posterior(torch.zeros(9, DIM), torch.zeros(9, DIM)), conditions(9)))
    tensors, meta = prior.tensors_and_meta()
    restored = restore_prior("standard", tensors, meta, SamplerSettings(steps=1, eta=0.0, guidance=1.0))
    assert torch.equal(restored.sample(conditions(5), make_generator(0)), prior.sample(conditions(5), make_generator(0)))
    assert restored == StandardNormal(DIM)


def test_samples_share_no_row():
    codes = StandardNormal(DIM).sample(conditions(100), make_generator(0))
    assert torch.pdist(codes).min() > 0.0
    assert codes.T.cov().diagonal().mean() == pytest.approx(1.0, abs=0.2)


def test_a_standard_normal_is_judged_by_samples_of_posteriors():
    """Posteriors are trained to be N(0, I) in the aggregate; their means alone are narrower."""
    assert StandardNormal(DIM).posterior_width == 1.0
