"""The diffusion prior: latent units, what its samples depend on, and two clusters learned from end to end."""

import math
from dataclasses import replace

import pytest
import torch

from toycrystals.conditioning import Conditions
from toycrystals.latents import Latents, LatentScaling
from toycrystals.priors.base import SamplerSettings
from toycrystals.priors.diffusion import DiffusionConfig, DiffusionObjective, DiffusionPrior, measure_deviation, measure_scaling
from toycrystals.priors.registry import restore_prior
from toycrystals.rng import make_generator, seed_initialisation
from toycrystals.training import Trainer, TrainingConfig
from toycrystals.vae import Posterior

CONFIG = DiffusionConfig("simple", 2, 2, True, 1, 32, 2, "cosine", 100, "v", "means", 0.0)
SETTINGS = SamplerSettings(steps=5, eta=0.0, guidance=1.0)
CENTRES = torch.tensor([[4.0, 0.0], [-4.0, 2.0]])
SHARE, DEVIATION = 0.25, 0.8


def conditions(types):
    return Conditions(types, torch.zeros(len(types), 4))


def alternating(n):
    return conditions(torch.arange(n) % 2)


def build(scaling=None, settings=SETTINGS, **changes):
    """A prior with random weights: at its true start, modulation is zero and conditions have no effect."""
    prior = DiffusionPrior(replace(CONFIG, **changes), scaling or LatentScaling(2), settings)
    generator = make_generator(0)
    for parameter in prior.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return prior.eval().requires_grad_(False)


def scaling(shift, scale):
    result = LatentScaling(2)
    result.shift.copy_(torch.tensor(shift))
    result.scale.copy_(torch.tensor(scale))
    return result


def two_clusters(n=2048):
    """Codes of the first type, a quarter of all, about one centre, and of the second type about the other."""
    types = (torch.rand(n, generator=make_generator(1)) >= SHARE).long()
    mu = CENTRES[types] + DEVIATION * torch.randn((n, 2), generator=make_generator(2))
    return Latents(Posterior(mu, torch.full_like(mu, -20.0)), conditions(types))


def trained(conditional):
    latents = two_clusters()
    seed_initialisation(0)
    config = replace(CONFIG, conditional=conditional)
    prior = DiffusionPrior(config, measure_scaling(latents, "global", "means"), replace(SETTINGS, steps=25))
    objective = DiffusionObjective(prior, latents, condition_dropout=0.0)
    training = TrainingConfig(
        0, epochs=60, batch_size=256, learning_rate=4e-3, dtype=torch.float32, ema_decay=0.98, warmup_steps=20
    )
    trainer = Trainer(prior, objective, len(latents), training, torch.device("cpu"))
    for _ in trainer.run():
        pass
    trainer.use_average()
    return prior.eval().requires_grad_(False)


def test_samples_are_in_latent_units():
    unit, scaled = build(), build(scaling([1.0, -2.0], [3.0, 0.5]))
    u, z = (prior.sample(alternating(20), make_generator(0)) for prior in (unit, scaled))
    torch.testing.assert_close(z, u * torch.tensor([3.0, 0.5]) + torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_are_a_function_of_the_generator(eta):
    prior = build(settings=replace(SETTINGS, eta=eta))
    first, second, other = (prior.sample(alternating(20), make_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.isclose(first, other).all(dim=1).any()


@pytest.mark.parametrize("conditional", [True, False])
def test_only_a_conditional_prior_sees_conditions(conditional):
    prior = build(conditional=conditional)
    first, second = (prior.sample(conditions(torch.full((20,), k)), make_generator(0)) for k in (0, 1))
    assert torch.equal(first, second) != conditional


@pytest.mark.parametrize("changed", [{"steps": 6}, {"eta": 1.0}, {"guidance": 2.0}])
def test_sampler_settings_are_obeyed(changed):
    plain, other = (
        build(settings=s).sample(alternating(20), make_generator(0)) for s in (SETTINGS, replace(SETTINGS, **changed))
    )
    assert not torch.allclose(plain, other, rtol=1e-3)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_restored_priors_give_the_same_samples(schedule, prediction):
    prior = build(scaling([1.0, -2.0], [3.0, 0.5]), schedule=schedule, prediction=prediction)
    tensors, meta = prior.tensors_and_meta()
    restored = restore_prior("diffusion", {name: tensor.clone() for name, tensor in tensors.items()}, meta, SETTINGS)
    assert torch.equal(restored.sample(alternating(20), make_generator(0)), prior.sample(alternating(20), make_generator(0)))


@pytest.mark.parametrize("fresh", [True, False])
def test_objective_uses_the_variance_only_of_fresh_samples(fresh):
    latents = two_clusters(64)
    wide = Latents(Posterior(latents.posterior.mu, torch.zeros(64, 2)), latents.conditions)
    sharp, blurred = (
        float(
            DiffusionObjective(build(train_on="samples" if fresh else "means"), codes, 0.0)(
                torch.arange(64), make_generator(0), 0.0
            )["total"]
        )
        for codes in (latents, wide)
    )
    assert (sharp == blurred) != fresh


def test_objective_trains_on_codes_scaled_to_the_unit():
    """Codes moved and stretched as the scaling says are the same codes."""
    latents, shift, scale = two_clusters(64), torch.tensor([1.0, -2.0]), torch.tensor([4.0, 0.5])
    moved = Latents(Posterior(latents.posterior.mu * scale + shift, latents.posterior.logvar), latents.conditions)
    losses = [
        DiffusionObjective(prior, codes, 0.0)(torch.arange(64), make_generator(0), 0.0)["total"]
        for prior, codes in [(build(), latents), (build(scaling(shift.tolist(), scale.tolist())), moved)]
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=0.0)


def test_objective_takes_the_samples_it_is_given():
    latents, indices = two_clusters(64), torch.tensor([5, 9, 33])
    few = Latents(Posterior(*(value[indices] for value in latents.posterior)), latents.conditions[indices])
    losses = [
        float(DiffusionObjective(build(train_on="samples"), codes, 0.0)(rows, make_generator(0), 0.0)["total"])
        for codes, rows in [(latents, indices), (few, torch.arange(3))]
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("fresh", [True, False])
def test_measured_scaling_counts_the_variance_of_fresh_samples(fresh):
    mu = two_clusters().posterior.mu
    measured = measure_scaling(
        Latents(Posterior(mu, torch.full_like(mu, 2.0)), alternating(len(mu))), "per_dimension", "samples" if fresh else "means"
    )
    expected = mu.var(dim=0, correction=0) + fresh * torch.tensor(2.0).exp()
    torch.testing.assert_close(measured.scale.square(), expected)


def test_training_recovers_the_frequencies_and_places_of_two_clusters():
    codes = trained(conditional=False).sample(alternating(4000), make_generator(0))
    distance, cluster = torch.cdist(codes, CENTRES).min(dim=1)
    assert (cluster == 0).float().mean() == pytest.approx(SHARE, abs=0.04)
    assert (distance < 4 * DEVIATION).float().mean() > 0.97
    for k in (0, 1):
        torch.testing.assert_close(codes[cluster == k].median(dim=0).values, CENTRES[k], rtol=0.0, atol=0.25)


def test_conditional_training_puts_each_type_in_its_cluster():
    types = torch.arange(1000) % 2
    codes = trained(conditional=True).sample(conditions(types), make_generator(0))
    assert (torch.cdist(codes, CENTRES).argmin(dim=1) == types).float().mean() > 0.99
    spread = (codes - CENTRES[types]).std(dim=0)
    torch.testing.assert_close(spread, torch.full((2,), DEVIATION), rtol=0.25, atol=0.0)


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        ({"train_on": "means", "posterior_width": 0.3}, 0.3),
        ({"train_on": "samples", "posterior_width": 0.3}, 1.0),
        ({"train_on": "means", "posterior_width": 0.3, "conditional": False}, 0.0),
    ],
)
def test_a_prior_is_judged_by_the_codes_that_it_draws_also_when_it_is_restored(changes, width):
    prior = build(**changes)
    assert prior.posterior_width == width
    assert restore_prior("diffusion", *prior.tensors_and_meta(), SETTINGS).posterior_width == width


def test_codes_get_their_share_of_the_noise_of_their_type():
    types = torch.arange(4000) % 2
    plain, noisy = (build(posterior_width=width, scaling=LatentScaling(2)) for width in (0.0, 0.5))
    noisy.deviation.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.1]]))
    away = noisy.sample(conditions(types), make_generator(0)) - plain.sample(conditions(types), make_generator(0))
    spread = torch.stack([away[types == k].std(dim=0) for k in range(2)])
    torch.testing.assert_close(spread, 0.5 * noisy.deviation, rtol=0.05, atol=1e-5)


def test_deviation_is_the_root_mean_square_of_each_type():
    logvar = torch.tensor([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    latents = Latents(Posterior(torch.zeros(4, 2), logvar), conditions(torch.tensor([0, 0, 1, 1])))
    found = measure_deviation(latents, 3)
    expected = [[(1 + math.e) / 2, (math.e**2 + math.e) / 2], [(math.e**2 + 1) / 2, 1.0], [0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected).sqrt())
