"""The true density of codes: of exact images, of aspects rendered one by one, and of real images drawn again and again."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from toycrystals.core.rng import make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import DatasetSpec, exact_images, make_samples, redraw, to_unit_interval
from toycrystals.models import oracle as module
from toycrystals.models.oracle import log_oracle
from toycrystals.models.vae import VAE, VAEConfig

CPU, SIZE, DIM = torch.device("cpu"), 16, 2
RECTANGULAR = 1


def build(variant="rot_only", conditional=True, dim=DIM):
    """An encoder of which means move with the aspect by more than its posteriors are wide."""
    seed_initialisation(0)
    vae = VAE(VAEConfig(variant, 4, SIZE, "mlp", conditional, harmonics=2, latent_dim=dim, width=32))
    weight, bias = list(vae.encoder.parameters())[-2:]
    weight.data[:dim] *= 60.0
    bias.data[:dim], bias.data[dim:] = 0.0, -3.0
    return vae.requires_grad_(False)


def real(n, variant="rot_only"):
    """Real images with their conditions."""
    samples = make_samples(DatasetSpec(variant, 4, SIZE, seed=0), "test", n)
    return samples, Conditions(torch.from_numpy(samples.type), torch.from_numpy(samples.labels))


def posterior_of(vae, images, conditions):
    return vae.encode(to_unit_interval(torch.from_numpy(images)), conditions)


def codes_for(n, dim=DIM):
    return 2.0 * torch.randn((n, dim), generator=make_generator(5))


@pytest.mark.parametrize("variant", ["rot_only", "simple"])
def test_of_types_without_an_aspect_it_is_the_posterior_of_the_image(variant):
    """Of the real one, byte for byte."""
    (samples, conditions), vae, z = real(80, variant), build(variant), codes_for(80)
    found = log_oracle(vae, z, conditions, CPU)
    assert (found.dtype, found.shape) == (torch.float64, (80,))
    expected = posterior_of(vae, samples.images, conditions).log_prob(z)
    plain = conditions.type != RECTANGULAR
    torch.testing.assert_close(found[plain], expected[plain], rtol=1e-4, atol=1e-4)
    assert (found - expected).abs()[~plain].max() > 0.1


def slow(vae, code, theta, count):
    """log of the mean over aspects in the middles of `count` equal parts of their range, one image at a time."""
    densities = []
    asked = Conditions(torch.tensor([RECTANGULAR]), torch.tensor([[0.0, theta, 0.0, 0.0]]))
    for i in range(count):
        aspect = 0.75 + (i + 0.5) / count * (1.35 - 0.75)
        exact = exact_images(RECTANGULAR, np.array([10.0]), np.array([theta]), np.array([aspect]), SIZE)
        posterior = vae.encode(torch.round(torch.from_numpy(exact)[:, None] * 255) / 255, asked)
        densities.append(float(posterior.log_prob(code[None])[0]))
    return logsumexp(densities) - math.log(count)


@pytest.mark.parametrize("images", [16, 4096])
def test_of_rectangular_crystals_it_is_the_mean_over_aspects(monkeypatch, images):
    """In parts of two conditions, and all at once."""
    monkeypatch.setattr(module, "ASPECTS", 8)
    monkeypatch.setattr(module, "_IMAGES", images)
    vae, theta, z = build(), torch.linspace(0.0, 1.0, 7), codes_for(7)
    labels = torch.stack([torch.zeros(7), theta, torch.zeros(7), torch.zeros(7)], dim=1)
    found = log_oracle(vae, z, Conditions(torch.full((7,), RECTANGULAR), labels), CPU)
    expected = [slow(vae, code, float(angle), 8) for code, angle in zip(z, theta, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_it_is_the_density_of_codes_of_real_images_drawn_again_and_again():
    """Of one rectangular request, 4,000 images with their own aspects: the mean of their posteriors' densities."""
    vae, n = build(), 4000
    types, factors = np.full(n, RECTANGULAR), np.tile(np.array([10.0, 0.4, 0.0, 0.0, 1.0], dtype=np.float32), (n, 1))
    drawn = redraw(DatasetSpec("rot_only", 4, SIZE, seed=0), types, factors)
    conditions = Conditions(torch.from_numpy(drawn.type), torch.from_numpy(drawn.labels))
    posterior = posterior_of(vae, drawn.images, conditions)
    assert (posterior.mu.std(dim=0) > (posterior.logvar / 2).exp().mean(dim=0)).any()
    z = posterior.sample(make_generator(2))[:60]
    density = posterior.log_prob(z[:, None]).exp()
    found = log_oracle(vae, z, conditions[:60], CPU).exp()
    error = 5 * density.std(dim=1) / math.sqrt(n)
    assert ((found - density.mean(dim=1)).abs() < error).all()
    assert (error < 0.2 * found).all()


@pytest.mark.parametrize("kind", range(4))
def test_it_integrates_to_one_over_codes(monkeypatch, kind):
    monkeypatch.setattr(module, "ASPECTS", 16)
    vae, grid = build(dim=1), torch.linspace(-40.0, 40.0, 4001)
    labels = torch.tensor([[0.0, 0.3, 0.0, 0.0]]).expand(4001, -1)
    density = log_oracle(vae, grid[:, None], Conditions(torch.full((4001,), kind), labels), CPU).exp()
    assert float(torch.trapezoid(density, grid.double())) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("variant", "conditional"), [("full", True), ("rot_only", False), ("full", False)])
def test_it_is_not_known_of_disorder_and_of_encoders_that_do_not_see_the_condition(variant, conditional):
    _, conditions = real(4, variant)
    assert log_oracle(build(variant, conditional), codes_for(4), conditions, CPU) is None
