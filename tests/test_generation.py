"""A VAE and a prior from disk as one generator: what it gives, and what it refuses to put together."""

from dataclasses import replace

import pytest
import torch

from toycrystals.artifacts import fingerprint, save_tensors
from toycrystals.conditioning import Conditions
from toycrystals.errors import UserError
from toycrystals.generation import load_generator
from toycrystals.latents import Latents, LatentScaling, decode
from toycrystals.priors.base import SamplerSettings
from toycrystals.priors.diffusion import DiffusionConfig, DiffusionPrior
from toycrystals.priors.mop import MixtureOfPosteriors
from toycrystals.priors.standard import StandardNormal
from toycrystals.rng import SAMPLE, make_generator, seed_initialisation
from toycrystals.vae import VAE, Posterior, VAEConfig

CPU = torch.device("cpu")
N, DIM = 12, 3
SETTINGS = SamplerSettings(steps=3, eta=1.0, guidance=1.0)
every_prior = pytest.mark.parametrize("name", ["standard", "mop", "diffusion"])


def conditions():
    labels = torch.zeros(N, 4)
    labels[:, 1] = torch.linspace(0.0, 1.0, N)
    return Conditions(torch.arange(N) % 4, labels)


def make_vae(seed=0):
    seed_initialisation(seed)
    return VAE(VAEConfig("rot_only", 4, 16, "mlp", conditional=True, harmonics=2, latent_dim=DIM, width=32)).requires_grad_(False)


def make_prior(name):
    match name:
        case "standard":
            return StandardNormal(DIM)
        case "mop":
            mu = torch.randn((N, DIM), generator=make_generator(0))
            return MixtureOfPosteriors(Latents(Posterior(mu, torch.zeros(N, DIM)), conditions()), 2, "rot_only", conditional=True)
    config = DiffusionConfig("rot_only", 4, DIM, True, 2, 16, 1, "cosine", 10, "v", "means", 0.1)
    return DiffusionPrior(config, LatentScaling(DIM), SETTINGS).requires_grad_(False)


@pytest.fixture
def files(tmp_path):
    """Write a VAE and a prior made for it (or for another VAE) and return their paths."""

    def write(name, other=None):
        tensors, meta = make_vae().tensors_and_meta()
        save_tensors(tmp_path / "vae", "VAE", tensors, meta)
        weights, description = make_prior(name).tensors_and_meta()
        made_for = fingerprint(tensors if other is None else other.state_dict())
        save_tensors(tmp_path / "prior", f"{name} prior", weights, {**description, "vae": made_for})
        return tmp_path / "vae", tmp_path / "prior"

    return write


@every_prior
def test_images_are_decoded_codes_of_the_prior(files, name):
    seed_initialisation(3)
    generate = load_generator(*files(name), name, SETTINGS, CPU)
    images, codes = generate(conditions(), seed=5)
    assert images.dtype == torch.uint8
    assert codes.dtype == torch.float32
    assert torch.equal(codes, generate.prior.sample(conditions(), make_generator(5, SAMPLE)))
    assert torch.equal(images, decode(make_vae(), codes, conditions(), CPU))


@every_prior
def test_images_and_codes_are_a_function_of_the_seed(files, name):
    generate = load_generator(*files(name), name, SETTINGS, CPU)
    (images, codes), again, other = (generate(conditions(), seed) for seed in (0, 0, 1))
    assert torch.equal(images, again[0])
    assert torch.equal(codes, again[1])
    assert not torch.isclose(codes, other[1]).all(dim=1).any()


@every_prior
@pytest.mark.parametrize("key", [(), (0,), (3, 1)])
def test_images_and_codes_in_one_go_are_codes_first_and_images_later(files, name, key):
    generate = load_generator(*files(name), name, SETTINGS, CPU)
    images, codes = generate(conditions(), 2, *key)
    first = generate.codes(conditions(), 2, *key)
    assert torch.equal(first, codes)
    assert torch.equal(generate.decode(first, conditions()), images)


@every_prior
def test_keys_of_one_seed_give_other_codes(files, name):
    generate = load_generator(*files(name), name, SETTINGS, CPU)
    draws = torch.stack([generate.codes(conditions(), 0, *key) for key in [(), (0,), (1,), (1, 0)]])
    assert len(draws.flatten(1).unique(dim=0)) == 4


def test_any_codes_can_be_decoded_for_any_condition(files):
    """Row by row: the same code shows another crystal where another one is asked for."""
    generate = load_generator(*files("standard"), "standard", SETTINGS, CPU)
    codes, asked = torch.zeros(N, DIM), conditions()
    images = generate.decode(codes, asked)
    assert images.dtype == torch.uint8
    assert len(images.flatten(1).unique(dim=0)) == N
    order = torch.arange(N).flip(0)
    assert torch.equal(generate.decode(codes, asked[order]), images[order])


def test_sampler_settings_reach_the_prior(files):
    paths = files("diffusion")
    codes = [load_generator(*paths, "diffusion", replace(SETTINGS, steps=n), CPU)(conditions(), 0)[1] for n in (3, 4)]
    assert not torch.allclose(*codes)


@every_prior
def test_a_prior_of_another_vae_is_refused(files, name):
    vae, prior = files(name, other=make_vae(seed=1))
    with pytest.raises(UserError, match=f"{prior}: fitted to the codes of another VAE than {vae}; run `dvc repro`"):
        load_generator(vae, prior, name, SETTINGS, CPU)


@pytest.mark.parametrize("wanted", ["mop", "diffusion"])
def test_a_prior_of_another_kind_is_refused(files, wanted):
    with pytest.raises(UserError, match=f"expected a {wanted} prior file, found standard prior"):
        load_generator(*files("standard"), wanted, SETTINGS, CPU)


def test_swapped_files_are_refused(files):
    vae, prior = files("standard")
    with pytest.raises(UserError, match="expected a VAE file, found standard prior"):
        load_generator(prior, vae, "standard", SETTINGS, CPU)


@pytest.mark.parametrize("missing", [0, 1])
def test_missing_files_are_named(files, missing):
    paths = files("standard")
    paths[missing].unlink()
    with pytest.raises(UserError, match=f"{paths[missing]}: expected a .* file, found nothing"):
        load_generator(*paths, "standard", SETTINGS, CPU)
