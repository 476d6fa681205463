"""Latent scaling and its inverse; encoding and decoding in batches, which nobody must notice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toycrystals.core.rng import make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import to_unit_interval
from toycrystals.models.latents import Latents, LatentScaling, decode, encode, imitated, reconstruct, reconstruction_psnr
from toycrystals.models.vae import VAE, Posterior, VAEConfig, to_uint8

CPU = torch.device("cpu")
MANY = 4100  # more than two batches
every_scaling = pytest.mark.parametrize("scaling", ["global", "per_dimension"])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def measured(mu, variance, scaling):
    result = LatentScaling(mu.shape[1])
    result.measure(mu, variance, scaling)
    return result


def spread_codes(n=4000):
    """Means of deviation 3, 1 and 0.01 about 5, -2 and 0, and their posteriors' variances."""
    mu = normal(n, 3) * torch.tensor([3.0, 1.0, 0.01]) + torch.tensor([5.0, -2.0, 0.0])
    return mu, torch.tensor([0.5, 0.1, 1.0]).expand(n, 3)


@pytest.fixture(scope="module")
def many():
    """A small VAE with more images than a batch holds."""
    generator = make_generator(0)
    images = torch.randint(256, (MANY, 1, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.zeros(MANY, 4)
    labels[:, 1] = torch.rand(MANY, generator=generator)
    seed_initialisation(0)
    vae = VAE(VAEConfig("rot_only", 4, 16, "mlp", conditional=True, harmonics=2, latent_dim=3, width=32))
    return vae.requires_grad_(False), images, Conditions(torch.randint(4, (MANY,), generator=generator), labels)


@every_scaling
@given(seed=st.integers(0, 1000), size=st.floats(1e-3, 1e3), offset=st.floats(-100.0, 100.0))
@settings(deadline=None)
def test_scaling_has_an_inverse(scaling, seed, size, offset):
    z = size * normal(50, 3, seed=seed) + offset
    found = measured(z, torch.zeros_like(z), scaling)
    torch.testing.assert_close(found.from_unit(found.to_unit(z)), z, rtol=1e-5, atol=1e-5 * size)
    torch.testing.assert_close(found.to_unit(found.from_unit(z)), z, rtol=1e-4, atol=1e-3)


@every_scaling
@pytest.mark.parametrize("fresh", [True, False])
def test_scaled_codes_have_mean_zero_and_variance_one(scaling, fresh):
    mu, variance = spread_codes()
    codes = mu + variance.sqrt() * normal(*mu.shape, seed=1) if fresh else mu
    u = measured(mu, variance if fresh else torch.zeros_like(mu), scaling).to_unit(codes)
    assert u.mean(dim=0).abs().max() < 0.05
    spread = u.var(dim=0).mean() if scaling == "global" else u.var(dim=0)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0.05, atol=0.0)


def test_one_global_factor_keeps_the_ratios_of_dimensions():
    mu, _ = spread_codes()
    u = measured(mu, torch.zeros_like(mu), "global").to_unit(mu)
    torch.testing.assert_close(u.std(dim=0) / u.std(dim=0)[0], mu.std(dim=0) / mu.std(dim=0)[0])


def test_only_per_dimension_scaling_blows_up_a_collapsed_dimension():
    mu, _ = spread_codes()
    together, apart = (measured(mu, torch.zeros_like(mu), s).to_unit(mu) for s in ("global", "per_dimension"))
    assert together[:, 2].std() < 0.01
    assert apart[:, 2].std() == pytest.approx(1.0, rel=1e-3)


@every_scaling
def test_constant_codes_stay_finite(scaling):
    z = torch.full((10, 2), 3.0)
    assert torch.equal(measured(z, torch.zeros_like(z), scaling).to_unit(z), torch.zeros(10, 2))


def test_scaling_travels_in_a_state_dict():
    mu, variance = spread_codes()
    found, restored = measured(mu, variance, "per_dimension"), LatentScaling(3)
    assert torch.equal(restored.to_unit(mu), mu)
    restored.load_state_dict(found.state_dict())
    assert torch.equal(restored.to_unit(mu), found.to_unit(mu))


def test_encoding_in_batches_equals_encoding_in_one_go(many):
    vae, images, conditions = many
    latents = encode(vae, images, conditions, CPU)
    expected = vae.encode(to_unit_interval(images), conditions)
    torch.testing.assert_close(latents.posterior.mu, expected.mu, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(latents.posterior.logvar, expected.logvar, rtol=1e-5, atol=1e-6)
    assert torch.equal(latents.conditions.labels, conditions.labels)
    assert len(latents) == MANY


def test_decoding_in_batches_equals_decoding_in_one_go(many):
    vae, _, conditions = many
    codes = normal(MANY, 3)
    images, expected = decode(vae, codes, conditions, CPU), to_uint8(vae.decode(codes, conditions))
    assert images.dtype == torch.uint8
    # Sums in another order may round a pixel the other way.
    assert (images.int() - expected.int()).abs().max() <= 1
    assert (images == expected).float().mean() > 0.9999


def test_reconstruction_goes_through_the_mean(many):
    vae, images, conditions = many
    mu = vae.encode(to_unit_interval(images[:9]), conditions[:9]).mu
    expected = to_uint8(vae.decode(mu, conditions[:9]))
    assert torch.equal(reconstruct(vae, images[:9], conditions[:9], CPU), expected)


def test_reconstruction_psnr_is_that_of_all_pixels(many):
    vae, images, conditions = many
    again = reconstruct(vae, images, conditions, CPU)
    mse = ((again.double() - images.double()) / 255).square().mean()
    expected = -10 * math.log10(float(mse))
    assert reconstruction_psnr(vae, images, conditions, CPU) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("index", [slice(3, 7), torch.tensor([5, 1, 1]), torch.arange(MANY) % 1000 == 3])
def test_latents_are_picked_row_by_row(many, index):
    """Every field of a row goes with it, and only the rows that are asked for."""
    _, _, conditions = many
    latents = Latents(Posterior(normal(MANY, 3), normal(MANY, 3, seed=1)), conditions)
    rows = torch.arange(MANY)[index]
    picked = latents[index]
    assert len(picked) == len(rows) > 0
    for name, tensor in picked.tensors().items():
        assert torch.equal(tensor, latents.tensors()[name][rows])


def test_latents_survive_tensors(many):
    _, _, conditions = many
    latents = Latents(Posterior(normal(MANY, 3), normal(MANY, 3, seed=1)), conditions)
    again = Latents.from_tensors(latents.tensors())
    for (name, tensor), (other, value) in zip(latents.tensors().items(), again.tensors().items(), strict=True):
        assert name == other
        assert torch.equal(tensor, value)
    assert torch.equal(again.posterior.mu, normal(MANY, 3))
    assert torch.equal(again.conditions.type, conditions.type)


@pytest.mark.parametrize("width", [0.0, 0.5, 1.0])
def test_imitated_codes_are_samples_of_narrowed_posteriors(many, width):
    """mu + w sigma eps, with one eps for all widths; another key is another draw."""
    _, _, conditions = many
    latents = Latents(Posterior(normal(MANY, 3), normal(MANY, 3, seed=1)), conditions)
    codes, full = imitated(latents, width, 5), imitated(latents, 1.0, 5)
    expected = latents.posterior.mu + width * (full - latents.posterior.mu)
    torch.testing.assert_close(codes, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(codes, imitated(latents, width, 5))
    assert torch.equal(codes, imitated(latents, width, 5, 1)) == (width == 0.0)


def test_latents_move_with_all_their_tensors(many):
    _, _, conditions = many
    moved = Latents(Posterior(normal(MANY, 3), normal(MANY, 3)), conditions).to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved.tensors().values()} == {"meta"}
