"""Codes in the units of their condition in a linear world, and densities in nats against closed forms of normals."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.distributions import Normal, kl_divergence

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.base import ALL, MEASURES
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.latent import (
    active_units,
    condition_features,
    conditional_moments,
    information,
    nats,
    residuals,
)
from toycrystals.models.latents import Latents, held_out_codes
from toycrystals.models.vae import Posterior


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def conditions(n, seed=0):
    generator = make_generator(seed)
    labels = torch.rand((n, 4), generator=generator) * torch.tensor([8.0, math.pi / 3, 0.25, 0.6])
    labels[:, 0] += 6.0
    return Conditions(torch.randint(4, (n,), generator=generator), labels)


@pytest.mark.parametrize(("variant", "linear"), [("simple", 0), ("rot_only", 0), ("full", 3)])
@pytest.mark.parametrize("n_types", [2, 4])
def test_condition_features_are_the_type_the_angle_on_its_circle_and_other_labels_in_the_unit_range(variant, linear, n_types):
    asked = conditions(50)
    asked.type.remainder_(n_types)
    features = condition_features(asked, variant, n_types)
    assert features.shape == (50, n_types + 2 + linear)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features[:, :n_types], np.eye(n_types)[asked.type])
    order = np.array([lattice.symmetry_order for lattice in LATTICES])[asked.type]
    phase = order * asked.labels[:, 1].numpy()
    np.testing.assert_allclose(features[:, n_types : n_types + 2], np.stack([np.sin(phase), np.cos(phase)], axis=1), atol=1e-5)
    assert np.abs(features).max() <= 1.0 + 1e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_of_no_conditions_are_no_rows(variant):
    assert condition_features(conditions(0), variant, 4).shape[0] == 0


# Of the visible labels, what a code of each type moves by, and how far it lies from there: means of deviation HIDDEN, posteriors
# of deviation OWN.
DIM, HIDDEN, OWN = 3, torch.tensor([0.5, 0.2, 0.0]), torch.tensor([0.3, 0.1, 0.4])
SLOPES = normal(4, 4, DIM, seed=9) / torch.tensor([8.0, 1.0, 0.25, 0.6])[:, None]


def line(asked, variant):
    """a + B c, of each type its own; the angle within half a period about the middle of its range."""
    visible = torch.tensor(VARIANTS[variant].visible)
    return asked.type[:, None] + torch.einsum("nl,nld->nd", asked.labels * visible, SLOPES[asked.type])


def linear_world(n, variant, seed):
    """Labels in the inner part of their range, so that no angle is near another's around a period."""
    asked = conditions(n, seed)
    asked.labels[:, 1] = 0.3 + 0.3 * asked.labels[:, 1]
    mu = line(asked, variant) + HIDDEN * normal(n, DIM, seed=seed + 50)
    return Latents(Posterior(mu, 2 * OWN.log().expand(n, DIM)), asked)


@pytest.mark.parametrize(("variant", "n"), [("simple", 8000), ("rot_only", 8000), ("full", 40_000)])
def test_moments_are_those_of_a_linear_world(variant, n):
    """64 neighbours: the mean is known to an eighth of the deviation, which is known to a tenth."""
    training, asked = linear_world(n, variant, 0), linear_world(400, variant, 1).conditions
    mean, deviation = conditional_moments(asked, training, variant)
    assert (mean.dtype, mean.shape, deviation.shape) == (torch.float64, (400, DIM), (400, DIM))
    expected = (HIDDEN.square() + OWN.square()).sqrt()
    # Of the means, whose scatter HIDDEN is; the third is exact.
    away = (mean - line(asked, variant)) / HIDDEN.clamp_min(1e-3)
    assert (away.square().mean(dim=0).sqrt()[:2] < 0.3).all()
    assert (away[:, 2].abs() * 1e-3 < 2e-3).all()
    torch.testing.assert_close(deviation.mean(dim=0), expected.double(), rtol=0.05, atol=0.0)
    assert (deviation / expected - 1).abs().max() < 0.35


def test_moments_of_a_type_without_labels_are_those_of_the_type():
    training, asked = linear_world(4000, "simple", 0), conditions(20, 9)
    mean, deviation = conditional_moments(asked, training, "simple")
    for i, kind in enumerate(asked.type):
        mu = training.posterior.mu[training.conditions.type == kind].double()
        torch.testing.assert_close(mean[i], mu.mean(dim=0))
        torch.testing.assert_close(deviation[i], (mu.var(dim=0, correction=0) + OWN.double().square()).sqrt())


@pytest.mark.parametrize("variant", ["simple", "rot_only", "full"])
def test_residuals_of_held_out_codes_are_standard_normal_within_every_type(variant):
    training, held_out = linear_world(40_000, variant, 0), linear_world(4000, variant, 1)
    units = residuals(held_out_codes(held_out, 0), *conditional_moments(held_out.conditions, training, variant))
    assert units.dtype == np.float32
    for k in range(4):
        for column in units[held_out.conditions.type == k].T:
            assert abs(column.mean()) < 4 / math.sqrt(1000)
            assert column.std() == pytest.approx(1.0, abs=0.12)
            assert kstest(column / column.std(), "norm").pvalue > 1e-4


def test_angles_near_each_other_around_the_period_are_neighbours():
    """Codes on a line through 0; without the circle, half of the neighbours would lie a period away."""
    period, near = LATTICES[2].period, 0.02 * torch.rand(400, generator=make_generator(0)) - 0.01
    mu = (100.0 * near)[:, None] + 0.01 * normal(400, 1)
    labels = torch.zeros(400, 4)
    labels[:, 1] = near % period
    training = Latents(Posterior(mu, torch.full_like(mu, -12.0)), Conditions(torch.full((400,), 2), labels))
    asked = Conditions(torch.full((2,), 2), torch.tensor([[0.0, 0.001, 0.0, 0.0], [0.0, period - 0.001, 0.0, 0.0]]))
    mean, deviation = conditional_moments(asked, training, "rot_only")
    torch.testing.assert_close(mean[:, 0], torch.tensor([0.1, -0.1], dtype=torch.float64), rtol=0.0, atol=0.01)
    assert (deviation < 0.02).all()


def test_training_codes_of_one_condition_have_their_mean_and_deviation():
    labels = torch.tensor([[0.0, 0.4, 0.0, 0.0]]).expand(64, -1)
    mu = normal(64, 2)
    training = Latents(Posterior(mu, torch.zeros(64, 2)), Conditions(torch.zeros(64, dtype=torch.long), labels))
    mean, deviation = conditional_moments(training.conditions[:1], training, "rot_only")
    torch.testing.assert_close(mean[0], mu.double().mean(dim=0))
    torch.testing.assert_close(deviation[0], (mu.double().var(dim=0, correction=0) + 1.0).sqrt())


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 1e30, -3e38])
def test_wild_codes_are_brought_within_reach_and_spoil_no_other(wild):
    codes, mean, deviation = normal(40, 3), normal(40, 3, seed=1).double(), normal(40, 3, seed=2).double().exp()
    spoiled = codes.clone()
    spoiled[::2, 1] = wild
    found, expected = residuals(spoiled, mean, deviation), ((codes - mean) / deviation).numpy()
    np.testing.assert_array_equal(np.abs(found[::2, 1]), 20.0)
    np.testing.assert_allclose(found[:, [0, 2]], expected[:, [0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found[1::2, 1], expected[1::2, 1], rtol=1e-5)


def test_units_whose_mean_varies_are_active():
    mu = normal(4000, 6) * torch.tensor([0.0, 0.05, 0.09, 0.11, 1.0, 3.0]) + 5.0
    assert active_units(Posterior(mu, torch.zeros_like(mu))) == 3
    # The variance inside of the posteriors does not count.
    assert active_units(Posterior(torch.zeros(50, 6), torch.full((50, 6), 3.0))) == 0


def encoder(n, spread, deviation, prior):
    """Log-densities at codes of x ~ N(0, S^2), q(z | x) = N(x, s^2) in two dimensions: of a prior N(0, prior^2), of q(z | x), and
    of the oracle q(z) = N(0, S^2 + s^2). Of the codes also the types."""  # fmt: skip
    posterior = Posterior(spread * normal(n, 2, seed=1), torch.full((n, 2), 2 * math.log(deviation)))
    z = posterior.sample(make_generator(2)).double()

    def about_zero(sd):
        return Normal(0.0, sd).log_prob(z).sum(dim=1)

    return about_zero(prior), posterior.log_prob(z), about_zero(math.hypot(spread, deviation)), np.arange(n) % 4


@pytest.mark.parametrize(("spread", "deviation", "prior"), [(1.5, 0.5, 1.0), (1.0, 1.0, 2.0), (0.3, 0.95, 1.0), (3.0, 0.5, 3.0)])
def test_rate_information_and_divergence_are_those_of_normals(spread, deviation, prior):
    log_prior, log_posterior, log_oracle, types = encoder(40_000, spread, deviation, prior)
    weights = bootstrap_weights(types, 100)
    found = nats(log_prior, log_posterior, log_oracle, types, weights) | information(log_posterior, log_oracle, types, weights)
    kinds = (ALL, "square", "rectangular", "triangular", "honeycomb")
    assert set(found) == {(name, kind) for name in ("rate", "kl_oracle", "mutual_information") for kind in kinds}
    assert {name for name, _ in found} <= set(MEASURES)
    total = math.hypot(spread, deviation)
    expected = {
        "mutual_information": 2 * math.log(total / deviation),
        "kl_oracle": 2 * float(kl_divergence(Normal(0.0, total), Normal(0.0, prior))),
    }
    expected["rate"] = sum(expected.values())
    for (name, _), estimate in found.items():
        assert estimate.value == pytest.approx(expected[name], abs=0.08)
        assert estimate.low <= estimate.value <= estimate.high
    for kind in kinds:
        parts = found["mutual_information", kind].value + found["kl_oracle", kind].value
        assert found["rate", kind].value == pytest.approx(parts, abs=1e-9)
    # Their intervals are paired too.
    gap = found["rate", ALL].replicates - found["mutual_information", ALL].replicates
    np.testing.assert_allclose(gap, found["kl_oracle", ALL].replicates, atol=1e-9)


def test_the_rate_is_the_mean_divergence_of_posteriors_from_the_prior():
    posterior = Posterior(normal(20_000, 3), normal(20_000, 3, seed=1))
    z, prior = posterior.sample(make_generator(2)), Normal(0.0, 1.0)
    types, weights = np.zeros(20_000, dtype=np.int64), np.empty((0, 20_000), dtype=np.float32)
    found = nats(prior.log_prob(z.double()).sum(dim=1), posterior.log_prob(z), None, types, weights)
    expected = kl_divergence(Normal(posterior.mu, (posterior.logvar / 2).exp()), prior).sum(dim=1).mean()
    assert set(found) == {("rate", ALL), ("rate", "square")}
    assert found["rate", ALL].value == pytest.approx(float(expected), rel=0.02)


def test_a_prior_that_is_the_oracle_costs_nothing_but_the_information():
    _, log_posterior, log_oracle, types = encoder(500, 1.5, 0.5, 1.0)
    weights = bootstrap_weights(types, 10)
    found = nats(log_oracle, log_posterior, log_oracle, types, weights)
    assert {estimate[:3] for (name, _), estimate in found.items() if name == "kl_oracle"} == {(0.0, 0.0, 0.0)}
    told = information(log_posterior, log_oracle, types, weights)
    for (_, kind), estimate in told.items():
        assert estimate[:3] == found["rate", kind][:3]


def test_without_an_oracle_only_the_rate_is_known():
    log_prior, log_posterior, _, types = encoder(60, 1.5, 0.5, 1.0)
    weights = bootstrap_weights(types, 10)
    assert {name for name, _ in nats(log_prior, log_posterior, None, types, weights)} == {"rate"}
    assert information(log_posterior, None, types, weights) == {}
