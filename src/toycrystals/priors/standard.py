"""N(0, I): the prior that the VAE's loss asks for, and the encoder's codes do not follow."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from toycrystals.conditioning import Conditions
from toycrystals.latents import Latents
from toycrystals.priors.base import SamplerSettings


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(z; 0, I) in `dim` dimensions, whatever the condition."""

    dim: int

    @property
    def conditional(self) -> bool:
        return False

    @property
    def posterior_width(self) -> float:
        return 1.0

    @property
    def sampler(self) -> None:
        return None

    @classmethod
    def fit(cls, latents: Latents) -> Self:
        """Nothing is learned but the number of dimensions."""
        return cls(latents.posterior.mu.shape[1])

    def sample(self, conditions: Conditions, generator: torch.Generator) -> Tensor:
        """One code for each condition, [N, D]."""
        return torch.randn((len(conditions), self.dim), generator=generator, device=generator.device)

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z) in nats: [N]."""
        return -0.5 * (codes.square() + math.log(2.0 * math.pi)).sum(dim=1)

    def tensors_and_meta(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"dim": torch.tensor([self.dim])}, {}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any], sampler: SamplerSettings) -> Self:
        return cls(int(tensors["dim"][0]))
