"""Exemplars moved to the request: exact on lines, along branches that the condition cannot tell, and around the period."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from small_priors import SETTINGS, latents, space
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.lattice import LATTICES
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior
from toycrystals.priors import local as module
from toycrystals.priors import mop
from toycrystals.priors.local import Config, Prior

K, R, DEVIATION, SLOPE = 64, 8, 0.1, torch.tensor([4.0, -3.0])
# In nats, what the ridge costs, which makes a slope a little too small.
SHRUNK = 0.05


def at(theta, kind=1):
    labels = torch.zeros(len(theta), 4)
    labels[:, 1] = theta
    return Conditions(torch.full((len(theta),), kind), labels)


def made_of(train, variant="rot_only", conditional=True, neighbours=K, slope_neighbours=R):
    """A prior of these exemplars, and the plain mixture of them."""
    of = space(train.posterior.mu.shape[1], variant, conditional=conditional)
    moved = Prior(Config(neighbours=neighbours, slope_neighbours=slope_neighbours), of)
    plain = mop.Prior(mop.Config(neighbours=neighbours), of)
    for prior in (moved, plain):
        list(prior.fit(train, train[:1], seed=0))
    return moved, plain


def with_means(mu, conditions):
    return Latents(Posterior(mu, torch.full_like(mu, 2 * math.log(DEVIATION))), conditions)


def on_a_line(n=400, kind=1):
    """Means (1, 2) + theta SLOPE."""
    theta = torch.rand(n, generator=make_generator(1))
    return with_means(torch.tensor([1.0, 2.0]) + theta[:, None] * SLOPE, at(theta, kind))


def on_branches(n=800):
    """By a coin that no condition tells, means (3, 5 theta) or (-3, -5 theta): two lines of different slopes."""
    generator = make_generator(2)
    theta, side = torch.rand(n // 2, generator=generator).repeat(2), torch.arange(n) // (n // 2) * 2.0 - 1.0
    return with_means(torch.stack([3.0 * side, 5.0 * theta * side], dim=1), at(theta))


def branches(theta):
    """The true density of codes at one angle."""
    means = torch.tensor([[3.0, 5.0 * theta], [-3.0, -5.0 * theta]], dtype=torch.float64)
    return MixtureSameFamily(Categorical(torch.ones(2, dtype=torch.float64)), Independent(Normal(means, DEVIATION), 1))


def slow_log_prob(train, code, theta):
    """Of the nearest K = 12 exemplars of one type, each with the least-squares line through the R = 5 nearest in code."""
    period = LATTICES[1].period
    away = (train.conditions.labels[:, 1].double().numpy() - theta + period / 2) % period - period / 2
    chosen = np.argsort(np.abs(away))[:12]
    mu, deviation = train.posterior.mu.double().numpy()[chosen], (train.posterior.logvar.double() / 2).exp().numpy()[chosen]
    unit, densities = np.sqrt((deviation**2).mean(axis=0)), []
    for k in range(12):
        near = np.argsort((((mu - mu[k]) / unit) ** 2).sum(axis=1))[:5]
        line = np.stack([np.ones(5), away[chosen[near]]], axis=1)
        slope = np.linalg.lstsq(line, mu[near], rcond=None)[0][1]
        densities.append(norm.logpdf(code, mu[k] - away[chosen[k]] * slope, deviation[k]).sum())
    return logsumexp(densities) - math.log(12)


def test_log_prob_is_that_of_a_double_loop(monkeypatch):
    monkeypatch.setattr(module, "_RIDGE", 1e-12)
    train = Latents(latents(60, 2).posterior, at(3.0 * torch.rand(60, generator=make_generator(1))))
    moved, _ = made_of(train, neighbours=12, slope_neighbours=5)
    codes, theta = 2.0 * torch.randn((20, 2), generator=make_generator(2)), torch.linspace(0.0, 3.1, 20)
    expected = [slow_log_prob(train, *pair) for pair in zip(codes.double().numpy(), theta.double().tolist(), strict=True)]
    np.testing.assert_allclose(moved.log_prob(codes, at(theta)), expected, rtol=1e-4, atol=1e-4)


def test_components_of_codes_on_a_line_all_lie_at_the_request():
    """Where the plain mixture is as long as the line that its exemplars come from."""
    moved, plain = made_of(on_a_line())
    theta = torch.linspace(0.3, 0.7, 50)
    mean = torch.tensor([1.0, 2.0]) + theta[:, None] * SLOPE
    truth = Independent(Normal(mean.double(), DEVIATION), 1)
    codes = mean + DEVIATION * torch.randn((50, 2), generator=make_generator(3))
    found = moved.log_prob(codes, at(theta))
    torch.testing.assert_close(found, truth.log_prob(codes.double()), rtol=0.0, atol=SHRUNK)
    assert (truth.log_prob(codes.double()) - plain.log_prob(codes, at(theta))).mean() > 0.3


def test_samples_of_codes_on_a_line_lie_at_the_request():
    moved, plain = made_of(on_a_line())
    theta = torch.full((20_000,), 0.45)
    mean = torch.tensor([1.0, 2.0]) + 0.45 * SLOPE
    codes, wide = (prior.sample(at(theta), make_generator(0), SETTINGS) for prior in (moved, plain))
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.mean(dim=0), mean, rtol=0.0, atol=5 * DEVIATION / math.sqrt(20_000))
    torch.testing.assert_close(codes.T.cov(), DEVIATION**2 * torch.eye(2), rtol=0.04, atol=4e-4)
    assert (wide.var(dim=0) > 1.5 * DEVIATION**2).all()


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.8])
def test_each_exemplar_moves_along_its_own_branch(theta):
    """Slopes from the exemplars that are near in code; from all of them it would be that of neither branch."""
    torch.manual_seed(0)
    codes, theta_of = branches(theta).sample((2000,)).float(), torch.full((2000,), theta)
    truth = branches(theta).log_prob(codes.double())
    moved, plain = made_of(on_branches())
    together, _ = made_of(on_branches(), slope_neighbours=K)
    lost = [float((truth - prior.log_prob(codes, at(theta_of))).mean()) for prior in (moved, plain, together)]
    assert abs(lost[0]) < 0.02
    assert min(lost[1:]) > 0.05


def test_samples_lie_on_the_branches():
    moved, plain = made_of(on_branches())
    theta = torch.rand(2000, generator=make_generator(4)) * 0.8 + 0.1
    away = []
    for prior in (moved, plain):
        codes = prior.sample(at(theta), make_generator(0), SETTINGS)
        away.append((codes[:, 1] - 5.0 * theta * codes[:, 0].sign()).std())
        assert (codes[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert away[0] == pytest.approx(DEVIATION, rel=0.05)
    assert away[1] > 1.3 * DEVIATION


def test_the_density_is_that_of_the_samples():
    """Of the components at random places: their mean and variance, and the mixture of torch at each exemplar's own spread."""
    train = Latents(Posterior(*torch.randn((2, 300, 2), generator=make_generator(5))), on_a_line(300).conditions)
    moved, _ = made_of(train, neighbours=12, slope_neighbours=5)
    asked = at(torch.full((40_000,), 0.4))
    codes = moved.sample(asked, make_generator(0), SETTINGS)
    x = torch.linspace(-9.0, 9.0, 181)
    grid = torch.cartesian_prod(x, x)
    density = moved.log_prob(grid, at(torch.full((len(grid),), 0.4))).exp() * (x[1] - x[0]) ** 2
    assert float(density.sum()) == pytest.approx(1.0, abs=1e-3)
    mean = density @ grid.double()
    covariance = (density[:, None] * (grid - mean)).T @ (grid - mean)
    torch.testing.assert_close(codes.double().mean(dim=0), mean, rtol=0.0, atol=0.04)
    torch.testing.assert_close(codes.double().T.cov(), covariance, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("variant", "conditional"), [("simple", True), ("simple", False), ("rot_only", False)])
def test_without_labels_or_conditions_it_is_the_mixture_of_posteriors(variant, conditional):
    moved, plain = made_of(latents(300, 3), variant, conditional)
    asked = latents(40, 3, seed=1).conditions
    codes = plain.sample(asked, make_generator(0), SETTINGS)
    assert torch.equal(moved.sample(asked, make_generator(0), SETTINGS), codes)
    assert torch.equal(moved.log_prob(codes, asked), plain.log_prob(codes, asked))


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("theta", [0.01, -0.02])
def test_angles_are_compared_around_the_period(kind, theta):
    """On a line through 0, on both sides of the period's end."""
    period = LATTICES[kind].period
    near = 0.6 * torch.rand(200, generator=make_generator(1)) - 0.3
    moved, _ = made_of(with_means(near[:, None] * SLOPE, at(near % period, kind)))
    codes = theta * SLOPE + DEVIATION * torch.randn((30, 2), generator=make_generator(3))
    truth = Independent(Normal(theta * SLOPE.double(), DEVIATION), 1).log_prob(codes.double())
    found = moved.log_prob(codes, at(torch.full((30,), theta % period), kind))
    torch.testing.assert_close(found, truth, rtol=0.0, atol=SHRUNK)


def test_every_visible_label_is_moved_along():
    """Spacing, vacancy and jitter beside the angle, of types side by side."""
    generator = make_generator(6)
    labels = torch.rand((1200, 4), generator=generator) * torch.tensor([8.0, 0.5, 0.25, 0.6]) + torch.tensor([6.0, 0, 0, 0])
    types, slopes = torch.arange(1200) % 2, torch.randn((2, 4, 3), generator=generator)
    mu = torch.einsum("nl,nld->nd", labels, slopes[types])
    moved, plain = made_of(with_means(mu, Conditions(types, labels)), "full", slope_neighbours=16)
    asked = Conditions(types, labels)[500:540]
    codes = mu[500:540] + DEVIATION * torch.randn((40, 3), generator=make_generator(3))
    truth = Independent(Normal(mu[500:540].double(), DEVIATION), 1).log_prob(codes.double())
    torch.testing.assert_close(moved.log_prob(codes, asked), truth, rtol=0.0, atol=2 * SHRUNK)
    assert (truth - plain.log_prob(codes, asked)).mean() > 1.0


def test_exemplars_of_one_condition_stay_where_they_are():
    """There is no slope where labels do not differ."""
    train = Latents(latents(40, 2).posterior, at(torch.full((40,), 0.3)))
    moved, plain = made_of(train)
    codes, asked = train.posterior.mu, at(torch.full((40,), 0.3))
    torch.testing.assert_close(moved.log_prob(codes, asked), plain.log_prob(codes, asked))


def test_fewer_exemplars_than_the_slope_is_to_come_from_are_all_used():
    few = on_a_line(5)
    found = [made_of(few, slope_neighbours=r)[0].log_prob(few.posterior.mu, few.conditions) for r in (5, 100)]
    torch.testing.assert_close(*found)


def test_parts_of_the_work_do_not_show(monkeypatch):
    moved, _ = made_of(on_branches())
    asked, codes = at(torch.linspace(0.1, 0.9, 30)), torch.randn((30, 2), generator=make_generator(0))
    whole = moved.log_prob(codes, asked)
    assert whole.dtype == torch.float64
    monkeypatch.setattr(module, "_NUMBERS", 1)
    torch.testing.assert_close(moved.log_prob(codes, asked), whole)
