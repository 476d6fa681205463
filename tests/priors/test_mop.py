"""The mixture of posteriors against a brute-force search for its exemplars and torch's mixture of normals."""

import math

import numpy as np
import pytest
import torch
from small_priors import SETTINGS, latents, space
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from toycrystals.core.rng import VALIDATION, make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.lattice import LATTICES
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior
from toycrystals.priors.mop import Config, Prior
from toycrystals.runtime.errors import UserError

N, DIM, K = 160, 3, 4
# What a mixture may depend on: the nearest angles of the type, the type, or nothing.
CASES = {"nearest": ("rot_only", True), "type": ("simple", True), "everything": ("rot_only", False)}
every_case = pytest.mark.parametrize("case", CASES)
every_type = pytest.mark.parametrize("lattice_type", range(4))


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=make_generator(seed))


def requests(types, theta):
    """Conditions of `types` at `theta`, with noise in the labels that the variant hides."""
    hidden = uniform(len(types), 4, seed=8)
    hidden[:, 1] = theta
    return Conditions(types, hidden)


def mixture_of(exemplars, case="nearest", neighbours=K):
    variant, conditional = CASES[case]
    prior = Prior(Config(neighbours=neighbours), space(DIM, variant, conditional=conditional))
    list(prior.fit(exemplars, exemplars[:1], seed=0))
    return prior


def mixture(case="nearest", spread=1.0):
    """Exemplar i has mean (i, -i, 10 i) before `spread`, so that a sharp posterior's sample tells where it came from."""
    mu = spread * torch.arange(float(N))[:, None] * torch.tensor([1.0, -1.0, 10.0])
    posterior = Posterior(mu, uniform(N, DIM, seed=2) - 1.0)
    exemplars = requests(torch.arange(N) % 4, 2 * math.pi * uniform(N, seed=1))
    return mixture_of(Latents(posterior, exemplars), case)


def expected_exemplars(prior, case, lattice_type, theta):
    """Indices of the exemplars that `case` allows, by comparing angles with every copy of theta a period away."""
    exemplars = prior.exemplars.conditions
    same = np.flatnonzero(exemplars.type.numpy() == lattice_type)
    if case == "everything":
        return np.arange(len(exemplars))
    if case == "type":
        return same
    copies = theta + LATTICES[lattice_type].period * np.arange(-8, 9)
    distance = np.abs(exemplars.labels[same, 1].numpy().astype(np.float64)[:, None] - copies).min(axis=1)
    return same[np.argsort(distance)[:K]]


def torchs_mixture(prior, chosen):
    posterior = prior.exemplars.posterior[torch.from_numpy(chosen)]
    return MixtureSameFamily(
        Categorical(torch.ones(len(chosen))), Independent(Normal(posterior.mu, (posterior.logvar / 2).exp()), 1)
    )


def sharp(prior, case="nearest", neighbours=K):
    mu = prior.exemplars.posterior.mu
    return mixture_of(Latents(Posterior(mu, torch.full_like(mu, -20.0)), prior.exemplars.conditions), case, neighbours)


@every_case
@every_type
@pytest.mark.parametrize("theta", [0.0, 0.4, 1.04])
def test_samples_come_from_all_of_the_expected_exemplars_and_no_other(case, lattice_type, theta):
    prior, n = mixture(case), 3000
    codes = sharp(prior, case).sample(requests(torch.full((n,), lattice_type), theta), make_generator(0), SETTINGS)
    drawn, counts = np.unique(codes[:, 0].round().int().numpy(), return_counts=True)
    expected = np.sort(expected_exemplars(prior, case, lattice_type, theta))
    assert drawn.tolist() == expected.tolist()
    assert counts.max() < 2.5 * n / len(expected)


def test_every_request_of_a_mixed_list_gets_its_own_exemplars():
    prior = mixture()
    types, theta = torch.arange(1200) % 4, 2 * math.pi * uniform(1200, seed=5)
    chosen = sharp(prior).sample(requests(types, theta), make_generator(0), SETTINGS)[:, 0].round().int().tolist()
    for k, angle, exemplar in zip(types.tolist(), theta.tolist(), chosen, strict=True):
        assert exemplar in expected_exemplars(prior, "nearest", k, angle)


@every_case
def test_samples_have_the_mean_and_variance_of_the_mixture(case):
    prior, n = mixture(case, spread=0.02), 20_000
    codes = prior.sample(requests(torch.full((n,), 1), 0.3), make_generator(0), SETTINGS).double()
    chosen = expected_exemplars(prior, case, 1, 0.3)
    mu, variance = (value[chosen].double() for value in (prior.exemplars.posterior.mu, prior.exemplars.posterior.logvar.exp()))
    total = variance.mean(dim=0) + mu.var(dim=0, correction=0)
    assert ((codes.mean(dim=0) - mu.mean(dim=0)).abs() < 5 * (total / n).sqrt()).all()
    torch.testing.assert_close(codes.var(dim=0), total, rtol=0.05, atol=0.0)


@every_case
@every_type
def test_log_prob_equals_that_of_torch(case, lattice_type):
    prior, theta = mixture(case, spread=0.05), 1.04
    oracle = torchs_mixture(prior, expected_exemplars(prior, case, lattice_type, theta))
    codes = 4.0 * uniform(20, DIM, seed=3)
    found = prior.log_prob(codes, requests(torch.full((20,), lattice_type), theta))
    torch.testing.assert_close(found, oracle.log_prob(codes).double(), rtol=1e-4, atol=1e-4)


def test_log_prob_puts_each_row_under_its_own_condition():
    prior, codes = mixture(spread=0.05), 4.0 * uniform(40, DIM, seed=3)
    conditions = requests(torch.arange(40) % 4, 2 * math.pi * uniform(40, seed=6))
    alone = torch.cat([prior.log_prob(codes[[i]], conditions[torch.tensor([i])]) for i in range(40)])
    torch.testing.assert_close(prior.log_prob(codes, conditions), alone)
    assert prior.log_prob(codes, requests(conditions.type.flip(0), 0.0)).sub(alone).abs().max() > 1.0


def test_samples_are_a_function_of_the_generator():
    conditions = requests(torch.arange(40) % 4, 0.5)
    first, second, other = (mixture().sample(conditions, make_generator(seed), SETTINGS) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.isclose(first, other).all(dim=1).any()


def test_fewer_exemplars_than_neighbours_are_all_used():
    many = sharp(mixture(), neighbours=10 * N)
    codes = many.sample(requests(torch.full((2000,), 2), 0.1), make_generator(0), SETTINGS)
    assert sorted(set(codes[:, 0].round().int().tolist())) == list(range(2, N, 4))


def test_a_type_without_exemplars_is_refused():
    exemplars = mixture().exemplars
    poor = mixture_of(exemplars[exemplars.conditions.type != 2])
    with pytest.raises(UserError, match="no training sample is of type triangular"):
        poor.sample(requests(torch.tensor([0, 2]), 0.1), make_generator(0), SETTINGS)


@every_case
def test_fitting_keeps_the_exemplars_and_measures_held_out_codes(case):
    """The row is the mean of -log p, by torch's mixture, of one code of each held-out posterior."""
    train, val = latents(300, DIM), latents(40, DIM, seed=1)
    variant, conditional = CASES[case]
    prior = Prior(Config(neighbours=K), space(DIM, variant, conditional=conditional))
    (row,) = prior.fit(train, val, seed=3)
    for name, tensor in train.tensors().items():
        assert torch.equal(prior.tensors()[name], tensor)
    codes, total = val.posterior.sample(make_generator(3, VALIDATION)), 0.0
    for i, code in enumerate(codes):
        lattice_type, theta = int(val.conditions.type[i]), float(val.conditions.labels[i, 1])
        total -= float(torchs_mixture(prior, expected_exemplars(prior, case, lattice_type, theta)).log_prob(code))
    assert row == {"epoch": 1, "neighbours": K, "val_total": pytest.approx(total / 40, rel=1e-4)}


@every_case
def test_restored_mixtures_give_the_same_samples(case):
    prior, conditions = mixture(case), requests(torch.arange(40) % 4, 0.5)
    restored = Prior.restore(prior.config, prior.space, prior.tensors())
    first, second = (p.sample(conditions, make_generator(0), SETTINGS) for p in (prior, restored))
    assert torch.equal(first, second)
    assert torch.equal(prior.log_prob(first, conditions), restored.log_prob(first, conditions))
