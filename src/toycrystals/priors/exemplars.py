"""What priors made of training posteriors share: the exemplars nearest in condition, and the choice of their number."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from torch import Tensor

from toycrystals.core.rng import VALIDATION, make_generator
from toycrystals.crystals.conditions import Conditions, nearest_conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import Latents
from toycrystals.priors.base import BasePrior, CodeSpace
from toycrystals.runtime.config import Params, PriorSection

# The numbers of neighbours that `auto` chooses among, and how many held-out codes it chooses by.
_CANDIDATES = (8, 16, 32, 64, 128, 256, 512)
_CHOSEN_BY = 1024


def _count_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise PydanticCustomError("count_or_auto", "input should be a whole number of at least 1, or 'auto'")


class ExemplarSection(PriorSection):
    """An exemplar is drawn among the `neighbours` K training samples nearest to the request.

    `auto`: the K with the least -log p on the validation split.
    """

    neighbours: Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]

    def broken_rules(self, params: Params) -> Iterator[str]:
        """The exemplars must exist."""
        if self.neighbours != "auto":
            yield from params.excess(f"{type(self).__module__.rpartition('.')[2]}.neighbours", "data.n_train")


class ExemplarPrior(BasePrior):
    """p(z | c) = 1/K sum_k p_k(z | c) over the K training images of the same type whose visible labels are nearest to c.

    Angles are compared modulo the type's symmetry period. Where no label is visible, over all images of the type, and where the
    VAE is unconditional, over all images: there K has no meaning, and all such priors are the mixture of all posteriors.
    """

    exemplars: Latents
    neighbours: int

    def fit(self, train: Latents, val: Latents, seed: int) -> Iterator[dict[str, float]]:
        """Keep the posteriors, and choose K; a row for each K that was tried."""
        self.exemplars = train
        some = val[:_CHOSEN_BY]
        codes = some.posterior.sample(make_generator(seed, VALIDATION, device=val.posterior.mu.device))
        tried: dict[int, float] = {}
        for k in _CANDIDATES if self.config.neighbours == "auto" else (self.config.neighbours,):
            self.neighbours = k
            tried[k] = -float(self.log_prob(codes, some.conditions).mean())
            yield {"epoch": len(tried), "neighbours": k, "val_total": tried[k]}
            if self._candidates(some.conditions[:1])[0][1].ndim == 1:
                break  # All exemplars serve every request, whatever K.
        self.neighbours = min(tried, key=tried.__getitem__)

    def sample(self, conditions: Conditions, generator: torch.Generator, settings: SamplerSettings) -> Tensor:
        """One code for each condition, [N, D]: an exemplar near the request, then a draw from its component."""
        device, conditions = generator.device, conditions.to(generator.device)
        codes = torch.empty((len(conditions), self.space.latent_dim), device=device)
        for rows, candidates in self._candidates(conditions):
            pick = torch.randint(candidates.shape[-1], (len(rows),), generator=generator, device=device)
            if candidates.ndim == 1:
                codes[rows] = self.exemplars.posterior.to(device)[candidates[pick]].sample(generator)
            else:
                codes[rows] = self.draw(conditions[rows], candidates, pick, generator)
        return codes

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z | c) in nats: [N], float64."""
        result = torch.empty(len(codes), dtype=torch.float64, device=codes.device)
        conditions = conditions.to(codes.device)
        for rows, candidates in self._candidates(conditions):
            if candidates.ndim == 1:
                total = self.exemplars.posterior.to(codes.device)[candidates].log_sum(codes[rows])
            else:
                total = self.components(conditions[rows], candidates, codes[rows]).logsumexp(dim=1)
            result[rows] = total - math.log(candidates.shape[-1])
        return result

    def draw(self, asked: Conditions, candidates: Tensor, pick: Tensor, generator: torch.Generator) -> Tensor:
        """A code [n, D] of component pick [n] of the exemplars `candidates` [n, K], for each of n requests."""
        raise NotImplementedError

    def components(self, asked: Conditions, candidates: Tensor, codes: Tensor) -> Tensor:
        """log p_k(z | c) of codes [n, D] under each of their exemplars `candidates` [n, K]: [n, K], float64."""
        raise NotImplementedError

    def _candidates(self, requests: Conditions) -> list[tuple[Tensor, Tensor]]:
        """Pairs of request rows [n] and the exemplars to draw from: [n, K], or [K] where all these rows have the same."""
        device = requests.type.device
        exemplars = self.exemplars.conditions.to(device)
        if not self.conditional:
            return [(torch.arange(len(requests), device=device), torch.arange(len(exemplars), device=device))]
        return nearest_conditions(requests, exemplars, self.space.variant, self.neighbours)

    def tensors(self) -> dict[str, Tensor]:
        """The exemplars and K."""
        return {**self.exemplars.tensors(), "neighbours": torch.tensor(self.neighbours)}

    @classmethod
    def restore(cls, config: Any, space: CodeSpace, tensors: dict[str, Tensor]) -> Self:
        """The prior again."""
        prior = cls(config, space)
        prior.exemplars, prior.neighbours = Latents.from_tensors(tensors), int(tensors["neighbours"])
        return prior
