"""Latent scaling and its inverse; encoding and decoding in batches, which nobody must notice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from toycrystals.core.rng import make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import to_unit_interval
from toycrystals.models.latents import Latents, LatentScaling, decode, encode, held_out_codes, reconstruct, reconstruction_psnr
from toycrystals.models.vae import VAE, Posterior, VAEConfig, to_uint8

CPU = torch.device("cpu")
MANY = 4100  # more than two batches
every_scaling = pytest.mark.parametrize("scaling", ["global", "per_dimension"])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def measured(posterior, scaling):
    result = LatentScaling(posterior.mu.shape[1])
    result.measure(posterior, scaling)
    return result


def sharp(mu):
    return Posterior(mu, torch.full_like(mu, -math.inf))


def spread_codes(n=4000, variance=(0.5, 0.1, 1.0)):
    """Posteriors whose means have the deviations 3, 1 and 0.01 about 5, -2 and 0."""
    mu = normal(n, 3) * torch.tensor([3.0, 1.0, 0.01]) + torch.tensor([5.0, -2.0, 0.0])
    return Posterior(mu, torch.tensor(variance).log().expand(n, 3))


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
    found = measured(sharp(z), scaling)
    torch.testing.assert_close(found.from_unit(found.to_unit(z)), z, rtol=1e-5, atol=1e-5 * size)
    torch.testing.assert_close(found.to_unit(found.from_unit(z)), z, rtol=1e-4, atol=1e-3)


@every_scaling
def test_scaled_samples_of_posteriors_have_mean_zero_and_variance_one(scaling):
    posterior = spread_codes()
    u = measured(posterior, scaling).to_unit(posterior.sample(make_generator(1)))
    assert u.mean(dim=0).abs().max() < 0.05
    spread = u.var(dim=0).mean() if scaling == "global" else u.var(dim=0)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0.05, atol=0.0)


def test_one_global_factor_keeps_the_ratios_of_dimensions():
    mu = spread_codes().mu
    u = measured(sharp(mu), "global").to_unit(mu)
    torch.testing.assert_close(u.std(dim=0) / u.std(dim=0)[0], mu.std(dim=0) / mu.std(dim=0)[0])


def test_only_per_dimension_scaling_blows_up_a_collapsed_dimension():
    mu = spread_codes().mu
    together, apart = (measured(sharp(mu), s).to_unit(mu) for s in ("global", "per_dimension"))
    assert together[:, 2].std() < 0.01
    assert apart[:, 2].std() == pytest.approx(1.0, rel=1e-3)


@every_scaling
def test_volume_is_the_determinant_of_the_way_back(scaling):
    """log |dz / du| by autograd."""
    found = measured(spread_codes(), scaling)
    jacobian = torch.autograd.functional.jacobian(found.from_unit, torch.zeros(3))
    assert found.log_volume.dtype == torch.float64
    assert float(found.log_volume) == pytest.approx(float(jacobian.double().det().log()), abs=1e-6)


def test_scaling_travels_in_a_state_dict():
    mu = spread_codes().mu
    found, restored = measured(spread_codes(), "per_dimension"), LatentScaling(3)
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


def test_held_out_codes_are_samples_of_the_posteriors(many):
    """(z - mu) / sigma is standard normal; another seed or key is another draw."""
    _, _, conditions = many
    latents = Latents(Posterior(normal(MANY, 3), normal(MANY, 3, seed=1)), conditions)
    codes = held_out_codes(latents, 5)
    eps = (codes - latents.posterior.mu) / (latents.posterior.logvar / 2).exp()
    for column in eps.T:
        assert kstest(column.numpy(), "norm").pvalue > 1e-3
    draws = [held_out_codes(latents, *key) for key in ((5,), (6,), (5, 1), (5, 2), (5, 1, 0))]
    assert torch.equal(draws[0], codes)
    assert len(torch.stack(draws)[:, 0].unique(dim=0)) == 5


def test_latents_move_with_all_their_tensors(many):
    _, _, conditions = many
    moved = Latents(Posterior(normal(MANY, 3), normal(MANY, 3)), conditions).to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved.tensors().values()} == {"meta"}
