"""The mixture of posteriors: the aggregated posterior of the training split, restricted to the requested condition.

p(z | c) = 1/K sum_k N(z; mu_k, diag exp(logvar_k)) over the K training images nearest in condition.
"""

import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions
from toycrystals.priors.exemplars import ExemplarPrior, ExemplarSection


class Config(ExemplarSection):
    """K."""


class Prior(ExemplarPrior):
    """Each component is the posterior of a training image."""

    def draw(self, asked: Conditions, candidates: Tensor, pick: Tensor, generator: torch.Generator) -> Tensor:
        """A code [n, D] of the posterior of candidate pick [n]."""
        chosen = candidates.expand(len(pick), -1).gather(1, pick[:, None]).squeeze(1)
        return self.exemplars.posterior.to(generator.device)[chosen].sample(generator)

    def components(self, asked: Conditions, candidates: Tensor, codes: Tensor) -> Tensor:
        """log p_k(z | c): [n, K], float64."""
        return self.exemplars.posterior.to(codes.device)[candidates].log_prob(codes[:, None])
