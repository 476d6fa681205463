"""A VAE and a prior from disk as one generator: what it gives, and what it refuses to put together."""

from dataclasses import replace

import pytest
import torch
from hyperparameters import COMMITTED
from small_priors import latents, space

from toycrystals.core.artifacts import fingerprint, load_tensors, save_tensors
from toycrystals.core.rng import SAMPLE, make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import decode
from toycrystals.models.vae import VAE, VAEConfig
from toycrystals.priors import standard
from toycrystals.priors.base import find_prior
from toycrystals.priors.generator import CrystalGenerator, load_generator
from toycrystals.runtime.config import load_params
from toycrystals.runtime.errors import UserError

CPU = torch.device("cpu")
N, DIM = 12, 3
SETTINGS = SamplerSettings("ddim", steps=3, eta=1.0, guidance=1.0)
PARAMS = load_params(COMMITTED)
every_prior = pytest.mark.parametrize("name", ["standard", "mop", "local", "diffusion"])


def conditions():
    labels = torch.zeros(N, 4)
    labels[:, 1] = torch.linspace(0.0, 1.0, N)
    return Conditions(torch.arange(N) % 4, labels)


def make_vae(seed=0):
    seed_initialisation(seed)
    return VAE(VAEConfig("rot_only", 4, 16, "mlp", conditional=True, harmonics=2, latent_dim=DIM, width=32)).requires_grad_(False)


def make_prior(name):
    module = find_prior(name)
    small = {
        "mop": {"neighbours": 2},
        "local": {"neighbours": 2},
        "diffusion": {"width": 16, "blocks": 1, "harmonics": 2, "timesteps": 10, "epochs": 1, "batch_size": 4},
    }
    prior = module.Prior(PARAMS.of_prior(name).model_copy(update=small.get(name, {})), space(DIM))
    list(prior.fit(latents(N, DIM), latents(N, DIM, seed=1), seed=0))
    return prior.requires_grad_(False)


@pytest.fixture
def files(tmp_path):
    """Write a VAE and a prior made for it (or for another VAE) and return their paths."""

    def write(name, other=None, **more):
        tensors, meta = make_vae().tensors_and_meta()
        save_tensors(tmp_path / "vae", "VAE", tensors, meta)
        prior = make_prior(name)
        made_for = fingerprint(tensors if other is None else other.state_dict())
        save_tensors(tmp_path / "prior", f"{name} prior", prior.tensors(), {**prior.meta(), "vae": made_for, **more})
        return tmp_path / "vae", tmp_path / "prior"

    return write


@every_prior
def test_images_are_decoded_codes_of_the_prior(files, name):
    seed_initialisation(3)
    generate = load_generator(*files(name), name, SETTINGS, CPU)
    images, codes = generate(conditions(), seed=5)
    assert images.dtype == torch.uint8
    assert codes.dtype == torch.float32
    assert torch.equal(codes, generate.prior.sample(conditions(), make_generator(5, SAMPLE), SETTINGS))
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


@pytest.mark.parametrize("wanted", ["mop", "local", "diffusion"])
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


@pytest.mark.parametrize(
    "foreign",
    [{"config": {"steps": 3}}, {"config": None}, {"space": {}}, {"space": {"variant": "rot_only"}}, {"space": None}],
    ids=str,
)
@every_prior
def test_metadata_of_another_version_is_refused_in_one_line(files, name, foreign):
    vae, prior = files(name, **foreign)
    with pytest.raises(UserError) as info:
        load_generator(vae, prior, name, SETTINGS, CPU)
    assert str(info.value) == f"{prior}: written by another version of toycrystals; run `dvc repro` to make it again"


@pytest.mark.parametrize("name", ["mop", "local", "diffusion"])
def test_a_prior_without_its_tensors_is_refused_in_one_line(files, name):
    vae, prior = files(name)
    _, meta = load_tensors(prior, f"{name} prior")
    save_tensors(prior, f"{name} prior", {}, meta)
    with pytest.raises(UserError, match="written by another version"):
        load_generator(vae, prior, name, SETTINGS, CPU)


@pytest.mark.parametrize(
    "changes", [{"sampler": "euler"}, {"steps": 11}, {"guidance": 3.0}, {"eta": 0.5, "sampler": "dpmpp_2m"}], ids=str
)
def test_settings_that_the_prior_cannot_be_sampled_with_are_refused(files, changes):
    paths, settings = files("diffusion"), replace(SETTINGS, **changes)
    with pytest.raises(UserError, match=next(iter(changes))):
        load_generator(*paths, "diffusion", settings, CPU)
    load_generator(*files("mop"), "mop", settings, CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_codes_that_are_no_numbers_are_an_error_and_no_image(value):
    class Broken(standard.Prior):
        def sample(self, conditions, generator, settings):
            codes = super().sample(conditions, generator, settings)
            codes[3, 1] = value
            return codes

    generate = CrystalGenerator(make_vae(), Broken(standard.Config(), space(DIM)), SETTINGS, CPU)
    with pytest.raises(UserError, match="codes are not finite; a smaller guidance or more steps may help"):
        generate(conditions(), seed=0)


@pytest.mark.parametrize(
    ("prior", "vae", "expected"), [("standard", True, True), ("standard", False, False), ("mop", False, True)]
)
def test_images_answer_to_conditions_through_decoder_or_prior(prior, vae, expected):
    decoder = make_vae()
    decoder.config = replace(decoder.config, conditional=vae)
    assert CrystalGenerator(decoder, make_prior(prior), SETTINGS, CPU).conditional is expected
