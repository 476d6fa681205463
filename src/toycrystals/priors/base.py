"""What a prior is: something that proposes codes for conditions, in the VAE's own latent units, and knows no decoder.

All priors imitate the same codes, samples z = mu + sigma eps of the posteriors of images with the condition.

A prior called NAME is the module ``priors/NAME.py``, which has its hyperparameters as ``Config`` and the prior as ``Prior``.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Self

import torch
from torch import Tensor, nn

from toycrystals.core.rng import VALIDATION, make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import Latents
from toycrystals.runtime.config import PriorSection, prior_names
from toycrystals.runtime.errors import UserError


@dataclass(frozen=True)
class CodeSpace:
    """What the codes are of: the data's variant and number of types, a code's dimensions, and whether the VAE sees conditions."""

    variant: str
    n_types: int
    latent_dim: int
    conditional: bool


class BasePrior(nn.Module):
    """p(z | condition) over codes [N, D]."""

    # Whether it asks a network step by step, as often as it is told to.
    takes_steps = False

    def __init__(self, config: Any, space: CodeSpace) -> None:
        super().__init__()
        self.config, self.space = config, space

    @property
    def conditional(self) -> bool:
        """Whether the codes answer to the condition."""
        return self.space.conditional

    def fit(self, train: Latents, val: Latents, seed: int) -> Iterator[dict[str, float]]:
        """Fit to the posteriors of the training split; yields a row an epoch, with what was measured on `val`.

        Rows have `epoch` and `val_total`, what is minimised. A prior that is fitted at once yields one row, of its negative
        log-likelihood in nats.
        """
        raise NotImplementedError

    def sample(self, conditions: Conditions, generator: torch.Generator, settings: SamplerSettings) -> Tensor:
        """One code for each condition, [N, D] on the generator's device; `settings` are for those that take steps."""
        raise NotImplementedError

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z | c) in nats of codes [N, D]: [N], float64. Raises `NotImplementedError` where it cannot be known."""
        raise NotImplementedError

    def require(self, settings: SamplerSettings) -> None:
        """Raise `UserError` for settings that the prior cannot sample with."""

    def tensors(self) -> dict[str, Tensor]:
        """What goes to disk: parameters and buffers."""
        return self.state_dict()

    def meta(self) -> dict[str, Any]:
        """What `restore` needs beside the tensors: JSON."""
        return {"config": self.config.model_dump(), "space": asdict(self.space)}

    @classmethod
    def restore(cls, config: PriorSection, space: CodeSpace, tensors: dict[str, Tensor]) -> Self:
        """The prior again, from what `meta` and `tensors` gave. Raises `RuntimeError` if the tensors are not those of one."""
        prior = cls(config, space)
        prior.load_state_dict(tensors)
        return prior.eval().requires_grad_(False)


def find_prior(name: str) -> Any:
    """The module of the prior called `name`. Raises `UserError` if there is none."""
    if name not in prior_names():
        raise UserError(f"prior {name!r}: expected a file src/toycrystals/priors/{name}.py; found none")
    return import_module(f"toycrystals.priors.{name}")


def held_out_nll(prior: BasePrior, val: Latents, seed: int) -> float:
    """Mean of -log p(z | c) over one code of each held-out posterior, in nats."""
    generator = make_generator(seed, VALIDATION, device=val.posterior.mu.device)
    return float(-prior.log_prob(val.posterior.sample(generator), val.conditions).mean())
