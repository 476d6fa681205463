"""Models of the size that params.yaml asks for, each beside the bare matrix products that it cannot avoid: read the ratios."""

import pytest
import torch
from torch import nn

from toycrystals.core.device import pick_device, resolve_precision
from toycrystals.core.rng import make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import Latents
from toycrystals.models.training import Trainer, TrainingConfig
from toycrystals.models.vae import VAE, Posterior, VAEConfig, VAEObjective
from toycrystals.priors.base import CodeSpace
from toycrystals.priors.diffusion import DiffusionObjective, Prior
from toycrystals.priors.generator import CrystalGenerator
from toycrystals.runtime.config import load_params

PARAMS, DEVICE = load_params(), pick_device()
N_CODES = N_TRAIN = 4096


def synchronised(work):
    """`work`, with the wait for its results."""

    def run():
        work()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return run


def measure(benchmark, work, rounds):
    benchmark.pedantic(synchronised(work), rounds=rounds, warmup_rounds=1)


def conditions(n):
    labels = torch.zeros(n, 4)
    labels[:, 1] = torch.linspace(0.0, 1.0, n)
    return Conditions(torch.arange(n) % PARAMS.data.n_types, labels).to(DEVICE)


def make_vae():
    data, p = PARAMS.data, PARAMS.vae
    seed_initialisation(0)
    shape = data.variant, data.n_types, data.image_size, "mlp", True, p.harmonics, p.latent_dim, p.width
    return VAE(VAEConfig(*shape)).to(DEVICE)


def make_prior():
    seed_initialisation(0)
    space = CodeSpace(PARAMS.data.variant, PARAMS.data.n_types, PARAMS.vae.latent_dim, conditional=True)
    return Prior(PARAMS.diffusion, space).to(DEVICE)


def trainer(model, objective, section):
    config = TrainingConfig(
        seed=0,
        epochs=10_000,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        dtype=resolve_precision(section.precision, DEVICE),
        ema_decay=getattr(section, "ema_decay", 0.0),
    )
    return Trainer(model, objective, N_TRAIN, config, DEVICE)


def vae_trainer():
    images = torch.randint(256, (N_TRAIN, 1, *[PARAMS.data.image_size] * 2), generator=make_generator(0), dtype=torch.uint8)
    vae = make_vae()
    return trainer(vae, VAEObjective(vae, images.to(DEVICE), conditions(N_TRAIN), PARAMS.vae.beta, 0.0, 0, 0.0), PARAMS.vae)


def diffusion_trainer():
    prior = make_prior()
    mu = torch.randn((N_TRAIN, PARAMS.vae.latent_dim), generator=make_generator(0)).to(DEVICE)
    latents = Latents(Posterior(mu, mu), conditions(N_TRAIN))
    return trainer(prior, DiffusionObjective(prior, latents, condition_dropout=0.0), PARAMS.diffusion)


TRAINERS = {"VAE": vae_trainer, "diffusion": diffusion_trainer}
SAMPLING = f"sample {N_CODES:,} codes and decode them"


def linear_shapes(module, work):
    """(rows, features in, features out) of every linear layer that `work` goes through."""
    shapes = []

    def record(layer, inputs, output):
        shapes.append((len(inputs[0]), layer.in_features, layer.out_features))

    hooks = [layer.register_forward_hook(record) for layer in module.modules() if isinstance(layer, nn.Linear)]
    work()
    for hook in hooks:
        hook.remove()
    return shapes


def operands(shapes, dtype):
    """For every distinct shape, inputs [B, I], weights [O, I] and gradients [B, O] of it."""
    return {
        (b, i, o): tuple(torch.randn(size, device=DEVICE, dtype=dtype) for size in ((b, i), (o, i), (b, o)))
        for b, i, o in set(shapes)
    }


def products(shapes, dtype, *, backward=False):
    """A function that does nothing but the matrix products of `shapes`, and of their gradients."""
    tensors = operands(shapes, dtype)

    @torch.no_grad()
    def work():
        for shape in shapes:
            x, weight, gradient = tensors[shape]
            torch.mm(x, weight.T)
            if backward:
                torch.mm(gradient, weight)
                torch.mm(gradient.T, x)

    return work


@pytest.fixture(scope="module")
def generator():
    settings = SamplerSettings(PARAMS.sample.sampler, PARAMS.sample.steps, eta=0.0, guidance=1.0)
    return CrystalGenerator(make_vae().requires_grad_(False), make_prior().requires_grad_(False), settings, DEVICE)


@pytest.mark.benchmark(group=SAMPLING)
def test_sample_and_decode(benchmark, generator):
    measure(benchmark, lambda: generator(conditions(N_CODES), 0), rounds=3)


@pytest.mark.benchmark(group=SAMPLING)
def test_sample_and_decode_products_alone(benchmark, generator):
    both = nn.ModuleList([generator.vae, generator.prior])
    shapes = linear_shapes(both, lambda: generator(conditions(N_CODES), 0))
    measure(benchmark, products(shapes, torch.float32), rounds=3)


@pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS)
def test_training_step(benchmark, make):
    benchmark.group = f"training step: {benchmark.param}"
    steps = make().run()
    measure(benchmark, lambda: next(steps), rounds=30)


@pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS)
def test_training_step_products_alone(benchmark, make):
    benchmark.group = f"training step: {benchmark.param}"
    run = make()
    shapes = linear_shapes(run.model, lambda: next(run.run()))
    measure(benchmark, products(shapes, run.config.dtype, backward=True), rounds=30)
