"""Posteriors against torch's normals: divergence, samples, and densities of one and of all."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from toycrystals.core.rng import make_generator
from toycrystals.models import vae as module
from toycrystals.models.vae import Posterior


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def posteriors(n, dim=3, spread=1.0):
    return Posterior(spread * normal(n, dim, seed=1), normal(n, dim, seed=2))


def torchs(posterior):
    return Independent(Normal(posterior.mu.double(), (posterior.logvar.double() / 2).exp()), 1)


@given(mu=st.floats(-5.0, 5.0), logvar=st.floats(-8.0, 4.0))
@settings(deadline=None)
def test_kl_equals_that_of_torch(mu, logvar):
    mu, logvar = (torch.tensor([[v]], dtype=torch.float64) for v in (mu, logvar))
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(Posterior(mu, logvar).kl(), expected, rtol=1e-9, atol=1e-9)


def test_posterior_samples_have_its_mean_and_variance():
    n, mu, logvar = 20_000, torch.tensor([3.0, -1.0, 0.0]), torch.tensor([-4.0, 0.0, 1.5])
    z = Posterior(mu.expand(n, 3), logvar.expand(n, 3)).sample(make_generator(0))
    deviation = (logvar / 2).exp()
    assert ((z.mean(dim=0) - mu).abs() < 5 * deviation / n**0.5).all()
    torch.testing.assert_close(z.std(dim=0), deviation, rtol=0.03, atol=0.0)
    assert z.T.corrcoef().tril(-1).abs().max() < 0.04


def test_posterior_samples_carry_gradients():
    """z = mu + exp(logvar / 2) eps: dz / dmu = 1 and dz / dlogvar = (z - mu) / 2."""
    mu, logvar = normal(4, 3, seed=1).requires_grad_(), normal(4, 3, seed=2).requires_grad_()
    z = Posterior(mu, logvar).sample(make_generator(0))
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(4, 3))
    torch.testing.assert_close(logvar.grad, ((z - mu) / 2).detach())


def test_log_prob_equals_that_of_torch():
    posterior, z = posteriors(50), 2.0 * normal(50, 3)
    found = posterior.log_prob(z)
    assert (found.dtype, found.shape) == (torch.float64, (50,))
    torch.testing.assert_close(found, torchs(posterior).log_prob(z.double()))


def test_log_prob_pairs_codes_with_posteriors_as_shapes_broadcast():
    """[n, 1, D] against K posteriors a row, [n, K, D], and against K for all, [K, D]."""
    posterior, z = posteriors(20), 2.0 * normal(4, 3)
    table = posterior.log_prob(z[:, None])
    assert table.shape == (4, 20)
    chosen = torch.tensor([[3, 1], [0, 0], [7, 19], [2, 5]])
    torch.testing.assert_close(posterior[chosen].log_prob(z[:, None]), table.gather(1, chosen))


@pytest.mark.parametrize("chunk", [4, 512])
def test_log_sum_is_that_of_torchs_mixture(chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    posterior, z = posteriors(30), 2.0 * normal(11, 3)
    mixture = MixtureSameFamily(Categorical(torch.ones(30, dtype=torch.float64)), torchs(posterior))
    found = posterior.log_sum(z)
    assert (found.dtype, found.shape) == (torch.float64, (11,))
    torch.testing.assert_close(found - math.log(30), mixture.log_prob(z.double()))


def test_log_sum_stays_exact_where_posteriors_are_narrow_and_far_apart():
    """The squares are multiplied out, which cancels: (z - mu)^2 / var of 1e9 and more, with deviations of e^-7."""
    posterior = Posterior(20.0 * normal(30, 3, seed=1), torch.full((30, 3), -14.0))
    z = posterior.mu[:5] + 1e-3 * normal(5, 3)
    torch.testing.assert_close(posterior.log_sum(z), posterior.log_prob(z[:, None]).logsumexp(dim=1), rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("index", [slice(3, 7), torch.tensor([5, 1, 1]), torch.arange(20) % 3 == 0])
def test_posteriors_are_picked_row_by_row(index):
    posterior = posteriors(20)
    picked = posterior[index]
    assert torch.equal(picked.mu, posterior.mu[index])
    assert torch.equal(picked.logvar, posterior.logvar[index])
    assert len(picked) == len(posterior.mu[index])


def test_posteriors_move_with_both_tensors_and_cannot_be_changed():
    posterior = posteriors(3)
    moved = posterior.to(torch.device("meta"))
    assert (moved.mu.device.type, moved.logvar.device.type) == ("meta", "meta")
    with pytest.raises(FrozenInstanceError):
        posterior.mu = moved.mu
