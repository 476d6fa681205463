"""N(0, I): the prior that the VAE's loss asks for, and the encoder's codes do not follow."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import Latents
from toycrystals.priors.base import BasePrior, held_out_nll
from toycrystals.runtime.config import PriorSection


class Config(PriorSection):
    """Nothing to choose."""


class Prior(BasePrior):
    """p(z) = N(z; 0, I), whatever the condition."""

    conditional = False

    def fit(self, train: Latents, val: Latents, seed: int) -> Iterator[dict[str, float]]:
        """Nothing is learned."""
        yield {"epoch": 0, "val_total": held_out_nll(self, val, seed)}

    def sample(self, conditions: Conditions, generator: torch.Generator, settings: SamplerSettings) -> Tensor:
        """One code for each condition, [N, D]."""
        return torch.randn((len(conditions), self.space.latent_dim), generator=generator, device=generator.device)

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z) in nats: [N], float64."""
        return -0.5 * (codes.double().square() + math.log(2.0 * math.pi)).sum(dim=1)
