"""What a prior is: something that proposes codes for conditions, in the VAE's own latent units, and knows no decoder."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from toycrystals.conditioning import Conditions


@dataclass(frozen=True)
class SamplerSettings:
    """How an iterative prior samples: number of steps, eta (0 DDIM, 1 DDPM) and guidance (1 is none)."""

    steps: int
    eta: float
    guidance: float


class Prior(Protocol):
    """p(z | condition). A prior whose density is known in closed form also has ``log_prob(codes, conditions) -> [N]``.

    `conditional`: whether the codes answer to the condition. `posterior_width` w says which codes of held-out images they are
    to be judged by: mu + w sigma eps, of the posteriors' mu and sigma; 0 is their means, 1 their samples.
    `sampler`: how it samples, if it takes steps.
    """

    @property
    def conditional(self) -> bool: ...

    @property
    def posterior_width(self) -> float: ...

    @property
    def sampler(self) -> SamplerSettings | None: ...

    def sample(self, conditions: Conditions, generator: torch.Generator) -> Tensor:
        """One code for each condition, [N, D] on the generator's device."""
        ...

    def tensors_and_meta(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `restore` needs: tensors, and JSON."""
        ...

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any], sampler: SamplerSettings) -> Self:
        """The prior again; one without a sampler ignores `sampler`."""
        ...
