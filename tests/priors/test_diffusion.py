"""The diffusion prior: latent units, what its samples depend on, and two clusters learned from end to end."""

import math
from dataclasses import replace

import pytest
import torch
from small_priors import SETTINGS, space
from torch.distributions import Categorical, MixtureSameFamily, Normal

from toycrystals.core import rng
from toycrystals.core.rng import make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.models import training
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior
from toycrystals.priors.diffusion import Config, DiffusionObjective, Prior
from toycrystals.runtime.errors import UserError

CONFIG = Config(
    conditional="auto", condition_dropout=0.0, scaling="global", schedule="cosine", timesteps=100, prediction="v", harmonics=1,
    width=32, blocks=2, ema_decay=0.98, epochs=60, batch_size=256, learning_rate=4e-3, precision="fp32",
)  # fmt: skip
SPACE = space(2, "simple", 2)
CENTRES = torch.tensor([[4.0, 0.0], [-4.0, 2.0]])
SHARE, DEVIATION = 0.25, 0.8


def conditions(types):
    return Conditions(types, torch.zeros(len(types), 4))


def alternating(n):
    return conditions(torch.arange(n) % 2)


def build(shift=(0.0, 0.0), scale=(1.0, 1.0), **changes):
    """A prior with random weights: at its true start, modulation is zero and conditions have no effect."""
    prior = Prior(CONFIG.model_copy(update=changes), SPACE)
    generator = make_generator(0)
    for parameter in prior.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    prior.scaling.shift.copy_(torch.tensor(shift))
    prior.scaling.scale.copy_(torch.tensor(scale))
    return prior.eval().requires_grad_(False)


def draw(prior, requests, seed=0, **changes):
    return prior.sample(requests, make_generator(seed), replace(SETTINGS, **changes))


def two_clusters(n=2048):
    """Codes of the first type, a quarter of all, about one centre, and of the second type about the other."""
    types = (torch.rand(n, generator=make_generator(1)) >= SHARE).long()
    mu = CENTRES[types] + DEVIATION * torch.randn((n, 2), generator=make_generator(2))
    return Latents(Posterior(mu, torch.full_like(mu, -20.0)), conditions(types))


def fitted(train, val=None, **changes):
    """A prior fitted to `train`, and the rows that it reported."""
    seed_initialisation(0)
    prior = Prior(CONFIG.model_copy(update=changes), SPACE)
    rows = list(prior.fit(train, train[:64] if val is None else val, seed=0))
    return prior.eval().requires_grad_(False), rows


def test_samples_are_in_latent_units():
    u, z = (draw(prior, alternating(20)) for prior in (build(), build((1.0, -2.0), (3.0, 0.5))))
    torch.testing.assert_close(z, u * torch.tensor([3.0, 0.5]) + torch.tensor([1.0, -2.0]))


def test_densities_are_in_latent_units():
    z = torch.randn((20, 2), generator=make_generator(3))
    u = (z - torch.tensor([1.0, -2.0])) / torch.tensor([3.0, 0.5])
    plain, scaled = build().log_prob(u, alternating(20)), build((1.0, -2.0), (3.0, 0.5)).log_prob(z, alternating(20))
    assert scaled.dtype == torch.float64
    torch.testing.assert_close(scaled, plain - math.log(1.5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_are_a_function_of_the_generator(eta):
    first, second, other = (draw(build(), alternating(20), seed, eta=eta) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.isclose(first, other).all(dim=1).any()


@pytest.mark.parametrize(
    ("conditional", "vae", "sees"), [("auto", True, True), ("auto", False, False), (True, False, True), (False, True, False)]
)
def test_only_a_conditional_prior_sees_conditions(conditional, vae, sees):
    prior = build(conditional=conditional)
    prior = Prior.restore(prior.config, replace(SPACE, conditional=vae), prior.tensors())
    first, second = (draw(prior, conditions(torch.full((20,), k))) for k in (0, 1))
    assert prior.conditional is sees
    assert torch.equal(first, second) != sees


@pytest.mark.parametrize("changed", [{"steps": 6}, {"eta": 1.0}, {"guidance": 2.0}, {"sampler": "dpmpp_2m"}])
def test_sampler_settings_are_obeyed(changed):
    plain, other = draw(build(), alternating(20)), draw(build(), alternating(20), **changed)
    assert not torch.allclose(plain, other, rtol=1e-3)


@pytest.mark.parametrize(
    ("prior", "settings", "words"),
    [
        ({}, {"sampler": "euler"}, "sampler = 'euler': must be one of ddim"),
        ({}, {"sampler": "dpmpp_2m", "eta": 0.5}, "eta = 0.5: must be 0 with the sampler dpmpp_2m, which draws no noise"),
        ({}, {"steps": 101}, "steps = 101: must be at most diffusion.timesteps = 100"),
        ({}, {"guidance": 2.0}, "guidance = 2.0: must be 1"),
        ({"condition_dropout": 0.1, "conditional": False}, {"guidance": 2.0}, "guidance = 2.0: must be 1"),
    ],
)
def test_settings_that_it_cannot_be_sampled_with_are_refused(prior, settings, words):
    with pytest.raises(UserError, match=f"^{words}"):
        build(**prior).require(replace(SETTINGS, **settings))


def test_settings_that_it_can_be_sampled_with_are_not():
    build().require(replace(SETTINGS, steps=100, eta=0.5))
    build().require(replace(SETTINGS, sampler="dpmpp_2m"))
    build(condition_dropout=0.1).require(replace(SETTINGS, guidance=2.0))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_restored_priors_give_the_same_samples(schedule, prediction):
    prior = build((1.0, -2.0), (3.0, 0.5), schedule=schedule, prediction=prediction)
    restored = Prior.restore(prior.config, prior.space, {name: tensor.clone() for name, tensor in prior.tensors().items()})
    codes = draw(prior, alternating(20))
    assert torch.equal(draw(restored, alternating(20)), codes)
    assert torch.equal(restored.log_prob(codes, alternating(20)), prior.log_prob(codes, alternating(20)))


def objective(prior, codes, rows):
    return float(DiffusionObjective(prior, codes, 0.0)(rows, make_generator(0), 0.0)["total"])


def test_objective_draws_fresh_samples_of_the_posteriors():
    latents, rows = two_clusters(64), torch.arange(64)
    wide = Latents(Posterior(latents.posterior.mu, torch.zeros(64, 2)), latents.conditions)
    samples = latents.posterior.mu + torch.randn((64, 2), generator=make_generator(0))
    told = Latents(Posterior(samples, torch.full_like(samples, -math.inf)), latents.conditions)
    assert objective(build(), wide, rows) == objective(build(), told, rows) != objective(build(), latents, rows)


def test_objective_trains_on_codes_scaled_to_the_unit():
    """Codes moved and stretched as the scaling says are the same codes."""
    latents, shift, scale = two_clusters(64), torch.tensor([1.0, -2.0]), torch.tensor([4.0, 0.5])
    moved = Latents(Posterior(latents.posterior.mu * scale + shift, latents.posterior.logvar), latents.conditions)
    losses = [
        DiffusionObjective(prior, codes, 0.0)(torch.arange(64), make_generator(0), 0.0)["total"]
        for prior, codes in [(build(), latents), (build(shift.tolist(), scale.tolist()), moved)]
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=0.0)


def test_objective_takes_the_samples_it_is_given():
    latents, indices = two_clusters(64), torch.tensor([5, 9, 33])
    losses = [objective(build(), codes, rows) for codes, rows in [(latents, indices), (latents[indices], torch.arange(3))]]
    assert losses[0] == losses[1]


def test_fitting_scales_by_the_variance_of_fresh_samples():
    mu = two_clusters(512).posterior.mu
    wide = Latents(Posterior(mu, torch.full_like(mu, 2.0)), alternating(len(mu)))
    prior, _ = fitted(wide, scaling="per_dimension", epochs=1)
    expected = mu.var(dim=0, correction=0) + torch.tensor(2.0).exp()
    torch.testing.assert_close(prior.scaling.scale.square(), expected)


@pytest.mark.parametrize("decay", [0.0, 0.98])
def test_fitting_reports_an_epoch_a_row_and_the_loss_on_held_out_codes_of_the_weights_that_stay(decay):
    train, val = two_clusters(512), two_clusters(64)
    prior, rows = fitted(train, val, epochs=3, ema_decay=decay)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    noise = make_generator(0, rng.VALIDATION)
    expected = DiffusionObjective(prior, val, 0.0)(torch.arange(64), noise, 0.0)["total"]
    assert rows[-1]["val_total"] == pytest.approx(float(expected), rel=1e-6)


def test_measuring_the_average_does_not_change_training():
    """The losses of an epoch are those of the trained weights, with an average or without one."""
    averaged, plain = (fitted(two_clusters(512), epochs=3, ema_decay=decay)[1] for decay in (0.98, 0.0))
    assert [row["total"] for row in averaged] == [row["total"] for row in plain]
    assert all(a["val_total"] != b["val_total"] for a, b in zip(averaged, plain, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.98])
def test_the_averaged_weights_are_those_that_stay_if_there_is_an_average(decay, monkeypatch):
    trainers = []
    real = training.Trainer.use_average

    def spy(self):
        trainers.append((self, [p.detach().clone() for p in self.parameters]))
        real(self)

    monkeypatch.setattr(training.Trainer, "use_average", spy)
    prior, _ = fitted(two_clusters(512), epochs=2, ema_decay=decay)
    trainer, last = trainers[-1]
    expected = trainer.average if decay else last
    for found, wanted in zip(prior.parameters(), expected, strict=True):
        assert torch.equal(found, wanted)
    assert any(not torch.equal(found, weight) for found, weight in zip(prior.parameters(), last, strict=True)) == (decay > 0.0)


def test_training_recovers_the_frequencies_and_places_of_two_clusters():
    prior, _ = fitted(two_clusters(), conditional=False)
    codes = draw(prior, alternating(4000), steps=25)
    distance, cluster = torch.cdist(codes, CENTRES).min(dim=1)
    assert (cluster == 0).float().mean() == pytest.approx(SHARE, abs=0.04)
    assert (distance < 4 * DEVIATION).float().mean() > 0.97
    for k in (0, 1):
        torch.testing.assert_close(codes[cluster == k].median(dim=0).values, CENTRES[k], rtol=0.0, atol=0.25)


@pytest.fixture(scope="module")
def on_a_line():
    """A prior fitted to codes of one dimension in two clusters, and the mixture of normals that these are of."""
    mixture = MixtureSameFamily(Categorical(torch.tensor([SHARE, 1.0 - SHARE])), Normal(torch.tensor([20.0, 26.0]), DEVIATION))
    torch.manual_seed(0)
    mu = mixture.sample((2048, 1))
    seed_initialisation(0)
    prior = Prior(CONFIG.model_copy(update={"conditional": False}), space(1, "simple", 2))
    latents = Latents(Posterior(mu, torch.full_like(mu, -20.0)), alternating(2048))
    list(prior.fit(latents, latents[:64], seed=0))
    return prior.eval().requires_grad_(False), mixture


def test_the_density_integrates_to_one_and_is_that_of_the_samples(on_a_line):
    """Samples fall below each point of a grid as often as the density says."""
    prior, _ = on_a_line
    grid = torch.linspace(10.0, 36.0, 1500)
    density = prior.log_prob(grid[:, None], alternating(1500)).exp()
    share = torch.cumulative_trapezoid(density, grid.double())
    assert float(share[-1]) == pytest.approx(1.0, abs=0.01)
    codes = draw(prior, alternating(4000), steps=50, sampler="dpmpp_2m").squeeze(1)
    below = (codes[:, None] < grid[1:]).double().mean(dim=0)
    # Kolmogorov and Smirnov: at 4,000 samples one in a thousand is further away than 0.031.
    assert (below - share).abs().max() < 0.035


def test_a_fitted_density_comes_near_that_of_the_data(on_a_line):
    """In nats, over fresh codes: a Kullback-Leibler divergence of little more than 0. A normal of their moments has 0.4."""
    prior, mixture = on_a_line
    torch.manual_seed(1)
    codes = mixture.sample((4000, 1))
    lost = mixture.log_prob(codes[:, 0]) - prior.log_prob(codes, alternating(4000))
    assert -0.01 < float(lost.mean()) < 0.06
    assert float((mixture.log_prob(codes) - Normal(codes.mean(), codes.std()).log_prob(codes)).mean()) > 0.3


def test_conditional_training_puts_each_type_in_its_cluster():
    types = torch.arange(1000) % 2
    prior, _ = fitted(two_clusters())
    codes = draw(prior, conditions(types), steps=25)
    assert (torch.cdist(codes, CENTRES).argmin(dim=1) == types).float().mean() > 0.99
    spread = (codes - CENTRES[types]).std(dim=0)
    torch.testing.assert_close(spread, torch.full((2,), DEVIATION), rtol=0.25, atol=0.0)
