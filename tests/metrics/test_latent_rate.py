"""Active units and the split of the rate: closed forms of a linear Gaussian encoder, densities of others, a double loop."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from torch.distributions import Normal, kl_divergence

from toycrystals.core.rng import make_generator
from toycrystals.metrics.latent import active_units, split_kl
from toycrystals.models.vae import Posterior


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def test_units_whose_mean_varies_are_active():
    mu = normal(4000, 6) * torch.tensor([0.0, 0.05, 0.09, 0.11, 1.0, 3.0]) + 5.0
    assert active_units(Posterior(mu, torch.zeros_like(mu))) == 3
    # The variance inside of the posteriors does not count.
    assert active_units(Posterior(torch.zeros(50, 6), torch.full((50, 6), 3.0))) == 0


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_log_sums_are_those_of_scipy(spread):
    """Log-variances of -20 to 3 in float64; codes near their posteriors, so that large squares cancel."""
    training = Posterior(spread * normal(40, 5), torch.linspace(-20.0, 3.0, 200).reshape(40, 5))
    z = training.sample(make_generator(1))[:30]
    codes, mu, sigma = (v.double().numpy() for v in (z[:, None], training.mu, (0.5 * training.logvar.double()).exp()))
    expected = logsumexp(norm.logpdf(codes, mu, sigma).sum(axis=2), axis=1)
    np.testing.assert_allclose(training.log_sum(z), expected, rtol=1e-5, atol=1e-4)


def test_log_densities_are_those_of_torch():
    z, mu, logvar = normal(9, 5), normal(9, 5, seed=1), 4 * normal(9, 5, seed=2)
    expected = Normal(mu.double(), (0.5 * logvar.double()).exp()).log_prob(z.double()).sum(dim=1)
    np.testing.assert_allclose(Posterior(mu, logvar).log_prob(z), expected)


def linear_encoder(n, spread, deviation, seed, dim=2):
    """x ~ N(0, S^2) and q(z | x) = N(x, s^2), so that q(z) = N(0, S^2 + s^2) in each of the dimensions."""
    mu = spread * normal(n, dim, seed=seed)
    return Posterior(mu, torch.full_like(mu, 2 * math.log(deviation)))


def one_type(n):
    return torch.zeros(n, dtype=torch.int64)


def test_normals_of_the_types_make_up_the_aggregate():
    """Two clusters far apart: one normal for each of them knows the aggregate, one for both does not."""
    training, held_out = linear_encoder(2000, 0.5, 0.5, seed=2), linear_encoder(500, 0.5, 0.5, seed=1)
    types = torch.arange(2000) % 2
    apart = Posterior(training.mu + 20.0 * types[:, None], training.logvar)
    half = Posterior(held_out.mu + 20.0 * (torch.arange(500) % 2)[:, None], held_out.logvar - 12.0)
    told, untold = (
        split_kl(half, Posterior(apart.mu, apart.logvar - 12.0), kinds, make_generator(0)) for kinds in (types, 0 * types)
    )
    assert told.mi_high < untold.mi_high - 1.0


@pytest.mark.parametrize(("spread", "deviation"), [(1.5, 0.5), (1.0, 1.0), (0.3, 0.95), (3.0, 0.5)])
def test_the_rate_is_split_as_in_closed_form(spread, deviation):
    dim, total = 2, spread**2 + deviation**2
    information = dim * 0.5 * math.log(1 + spread**2 / deviation**2)
    aggregate = dim * 0.5 * (total - 1 - math.log(total))
    held_out = linear_encoder(1500, spread, deviation, seed=1)
    split = split_kl(held_out, linear_encoder(4000, spread, deviation, seed=2), one_type(4000), make_generator(3))

    # What is left of chance is that of which held-out images there are: known exactly, for the same codes.
    z = held_out.sample(make_generator(3)).double()
    own = held_out.log_prob(z)
    exact = float((own - Normal(0.0, math.sqrt(total)).log_prob(z).sum(dim=1)).mean())
    assert exact == pytest.approx(information, abs=0.15)
    assert split.mi_low - 0.01 < exact < split.mi_high + 0.01
    assert split.mi_low < split.mi_high < split.mi_low + 0.1
    assert split.rate - split.mi_high - 0.3 < aggregate < split.rate - split.mi_low + 0.3
    assert split.rate == pytest.approx(information + aggregate, abs=0.3)


def test_the_rate_is_the_mean_divergence_from_the_prior():
    held_out = Posterior(normal(700, 3), normal(700, 3, seed=1))
    split = split_kl(held_out, linear_encoder(50, 1.0, 1.0, seed=2, dim=3), one_type(50), make_generator(0))
    expected = kl_divergence(Normal(held_out.mu, (0.5 * held_out.logvar).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    assert split.rate == pytest.approx(float(expected), rel=1e-5)


def test_bounds_are_those_of_a_double_loop():
    """More codes than one part of the work holds."""
    held_out, training = linear_encoder(600, 1.5, 0.7, seed=1, dim=3), linear_encoder(20, 1.5, 0.7, seed=2, dim=3)
    z = held_out.sample(make_generator(5)).double()
    low, high = [], []
    covariance = np.cov(training.mu.T.numpy(), ddof=0) + np.diag(training.logvar.exp().mean(dim=0).numpy())
    normals = multivariate_normal(training.mu.mean(dim=0).numpy(), covariance).pdf(z.numpy())
    for i in range(600):
        own = held_out[i : i + 1].log_prob(z[i])[0].exp()
        others = training.log_prob(z[i]).exp().sum()
        low.append(math.log(own / ((own + others) / 21)))
        high.append([math.log(own / r) for r in (others / 20, normals[i], (others / 20 + normals[i]) / 2)])
    split = split_kl(held_out, training, one_type(20), make_generator(5))
    assert split.mi_low == pytest.approx(np.mean(low), abs=1e-6)
    assert split.mi_high == pytest.approx(min(split.rate, *np.mean(high, axis=0)), abs=1e-4)


def test_the_lower_bound_saturates_where_posteriors_do_not_overlap():
    split = split_kl(
        linear_encoder(300, 1.0, 1e-4, seed=1), linear_encoder(400, 1.0, 1e-4, seed=2), one_type(400), make_generator(0)
    )
    truth = 2 * 0.5 * math.log(1 + 1e8)
    assert split.mi_low == pytest.approx(math.log(401), abs=0.01)
    assert split.mi_low < truth
    # The normal of the type still bounds from above, and here it is the aggregate.
    assert split.mi_high == pytest.approx(truth, abs=0.3)


def test_an_encoder_that_says_nothing_has_no_information():
    """Each posterior is the same, so that the bounds meet at 0 and all of the rate is the aggregate's."""
    same = Posterior(torch.full((200, 3), 0.7), torch.full((200, 3), -0.5))
    split = split_kl(same, Posterior(same.mu[:50], same.logvar[:50]), one_type(50), make_generator(0))
    assert split.mi_low == pytest.approx(0.0, abs=1e-6)
    assert split.mi_high == pytest.approx(0.0, abs=1e-6)
    assert split.rate == pytest.approx(3 * 0.5 * (0.49 + math.exp(-0.5) - 1 + 0.5), rel=1e-5)
