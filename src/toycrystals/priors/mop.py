"""The mixture of posteriors: the aggregated posterior of the training split, restricted to the requested condition.

p(z | c) = 1/K sum_k N(z; mu_k, diag exp(logvar_k)) over the K training images of the same type whose visible labels are nearest
to c; angles are compared modulo the type's symmetry period. Where no label is visible, over all images of the type; where the
VAE is unconditional, over all images.
"""

import math
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions, nearest_conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import Latents
from toycrystals.priors.base import BasePrior, CodeSpace, held_out_nll
from toycrystals.runtime.config import Count, Params, PriorSection


class Config(PriorSection):
    """An exemplar is drawn among the `neighbours` training samples nearest to the request."""

    neighbours: Count

    def broken_rules(self, params: Params) -> Iterator[str]:
        """The exemplars must exist, and a copy of each of them must be looked for."""
        yield from params.excess("mop.neighbours", "data.n_train")
        yield from params.excess("mop.neighbours", "metrics.candidates")


class Prior(BasePrior):
    """The posteriors of the training split are the `exemplars` to draw from."""

    exemplars: Latents

    def fit(self, train: Latents, val: Latents, seed: int) -> Iterator[dict[str, float]]:
        """Nothing is learned: the posteriors are kept."""
        self.exemplars = train
        yield {"epoch": 0, "val_total": held_out_nll(self, val, seed)}

    def sample(self, conditions: Conditions, generator: torch.Generator, settings: SamplerSettings) -> Tensor:
        """One code for each condition, [N, D]: an exemplar near the request, then a draw from its posterior."""
        device = generator.device
        chosen = torch.empty(len(conditions), dtype=torch.long, device=device)
        for rows, candidates in self._candidates(conditions.to(device)):
            pick = torch.randint(candidates.shape[-1], (len(rows), 1), generator=generator, device=device)
            chosen[rows] = candidates.expand(len(rows), -1).gather(1, pick).squeeze(1)
        return self.exemplars.posterior.to(device)[chosen].sample(generator)

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z | c) in nats: [N]."""
        result = torch.empty(len(codes), device=codes.device)
        posterior = self.exemplars.posterior.to(codes.device)
        for rows, candidates in self._candidates(conditions.to(codes.device)):
            if candidates.ndim == 1:
                total = posterior[candidates].log_sum(codes[rows])
            else:
                total = posterior[candidates].log_prob(codes[rows, None]).logsumexp(dim=1)
            result[rows] = (total - math.log(candidates.shape[-1])).to(result)
        return result

    def _candidates(self, requests: Conditions) -> list[tuple[Tensor, Tensor]]:
        """Pairs of request rows [n] and the exemplars to draw from: [n, K], or [K] where all these rows have the same."""
        device = requests.type.device
        exemplars = self.exemplars.conditions.to(device)
        if not self.conditional:
            return [(torch.arange(len(requests), device=device), torch.arange(len(exemplars), device=device))]
        return nearest_conditions(requests, exemplars, self.space.variant, self.config.neighbours)

    def tensors(self) -> dict[str, Tensor]:
        """The exemplars."""
        return self.exemplars.tensors()

    @classmethod
    def restore(cls, config: Any, space: CodeSpace, tensors: dict[str, Tensor]) -> Self:
        """The prior again."""
        prior = cls(config, space)
        prior.exemplars = Latents.from_tensors(tensors)
        return prior
