"""What tests of priors share: settings of a sampler, what codes are of, and codes themselves."""

import torch

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior
from toycrystals.priors.base import CodeSpace

SETTINGS = SamplerSettings("ddim", steps=5, eta=0.0, guidance=1.0)


def space(dim, variant="rot_only", n_types=4, conditional=True):
    return CodeSpace(variant, n_types, dim, conditional)


def latents(n, dim, seed=0):
    """Posteriors of means and log-variances about 0, of all types and angles."""
    generator = make_generator(seed)
    labels = torch.zeros(n, 4)
    labels[:, 1] = torch.rand(n, generator=generator)
    posterior = Posterior(*torch.randn((2, n, dim), generator=generator))
    return Latents(posterior, Conditions(torch.randint(4, (n,), generator=generator), labels))
