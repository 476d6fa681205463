"""The mixture of posteriors: the aggregated posterior of the training split, restricted to the requested condition.

p(z | c) = 1/K sum_k N(z; mu_k, diag exp(logvar_k)) over the K training images of the same type whose visible labels are nearest
to c; angles are compared modulo the type's symmetry period. Where no label is visible, over all images of the type; where the
VAE is unconditional, over all images.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from toycrystals.conditioning import Conditions, label_distance
from toycrystals.dataset import VARIANTS, VariantName
from toycrystals.errors import UserError
from toycrystals.latents import Latents
from toycrystals.lattice import TYPES
from toycrystals.priors.base import SamplerSettings
from toycrystals.vae import Posterior

_CHUNK = 512


@dataclass(frozen=True)
class MixtureOfPosteriors:
    """`exemplars` are the posteriors and conditions to draw from; `neighbours` is K."""

    exemplars: Latents
    neighbours: int
    variant: VariantName
    conditional: bool

    @property
    def posterior_width(self) -> float:
        return 1.0

    @property
    def sampler(self) -> None:
        return None

    def sample(self, conditions: Conditions, generator: torch.Generator) -> Tensor:
        """One code for each condition, [N, D]: an exemplar near the request, then a draw from its posterior."""
        device = generator.device
        chosen = torch.empty(len(conditions), dtype=torch.long, device=device)
        for rows, candidates in self._candidates(conditions.to(device)):
            pick = torch.randint(candidates.shape[1], (len(rows), 1), generator=generator, device=device)
            chosen[rows] = candidates.gather(1, pick).squeeze(1)
        posterior = self.exemplars.posterior
        return Posterior(posterior.mu.to(device)[chosen], posterior.logvar.to(device)[chosen]).sample(generator)

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z | c) in nats: [N]."""
        result = torch.empty(len(codes), device=codes.device)
        posterior = self.exemplars.posterior
        for rows, candidates in self._candidates(conditions.to(codes.device)):
            for row, candidate in zip(rows.view(-1, 1), candidates, strict=True):
                mu, logvar = posterior.mu.to(codes.device)[candidate], posterior.logvar.to(codes.device)[candidate]
                exponent = (codes[row] - mu).square() * (-logvar).exp() + logvar + math.log(2.0 * math.pi)
                result[row] = torch.logsumexp(-0.5 * exponent.sum(dim=1), dim=0) - math.log(len(candidate))
        return result

    def _candidates(self, requests: Conditions) -> list[tuple[Tensor, Tensor]]:
        """Pairs of request rows [n] and, for each of them, the exemplars [n, K] to draw from."""
        device = requests.type.device
        exemplars = self.exemplars.conditions.to(device)
        everything = torch.arange(len(exemplars), device=device)
        if not self.conditional:
            return [(torch.arange(len(requests), device=device), everything.expand(len(requests), -1))]
        pairs = []
        for lattice_type in sorted(set(requests.type.tolist())):
            pool = everything[exemplars.type == lattice_type]
            if len(pool) == 0:
                raise UserError(f"mop: no training image is of type {TYPES[lattice_type]}; raise data.n_train")
            for rows in torch.tensor_split((requests.type == lattice_type).nonzero().squeeze(1), len(requests) // _CHUNK + 1):
                if not any(VARIANTS[self.variant].visible):
                    pairs.append((rows, pool.expand(len(rows), -1)))
                    continue
                distance = label_distance(requests.labels[rows], exemplars.labels[pool], lattice_type, self.variant)
                nearest = distance.topk(min(self.neighbours, len(pool)), dim=1, largest=False).indices
                pairs.append((rows, pool[nearest]))
        return pairs

    def tensors_and_meta(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        meta = {"neighbours": self.neighbours, "variant": self.variant, "conditional": self.conditional}
        return self.exemplars.tensors(), meta

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any], sampler: SamplerSettings) -> Self:
        return cls(Latents.from_tensors(tensors), meta["neighbours"], meta["variant"], meta["conditional"])
