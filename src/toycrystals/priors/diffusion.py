"""A diffusion model of the codes (DDPM, Ho et al. 2020; in a latent space, Rombach et al. 2022)."""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor

from toycrystals.core.device import describe, resolve_precision
from toycrystals.core.rng import VALIDATION, make_generator
from toycrystals.crystals.conditions import ConditionEncoder, Conditions
from toycrystals.diffusion import flow
from toycrystals.diffusion.denoiser import Backbone, NetworkDenoiser, diffusion_loss
from toycrystals.diffusion.sampler import SAMPLERS, STOCHASTIC, SamplerSettings, sample
from toycrystals.diffusion.schedule import make_schedule
from toycrystals.models.latents import Latents, LatentScaling
from toycrystals.models.training import Trainer, TrainingConfig, epoch_means
from toycrystals.priors.base import BasePrior, CodeSpace
from toycrystals.runtime.config import Count, Params, Positive, Precision, PriorSection, Share
from toycrystals.runtime.errors import UserError


def _no_number(value: Any) -> Any:
    """Refuse 1 and 0, which Python takes for True and False."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("bool_or_auto", "input should be True, False or 'auto'")
    return value


class Config(PriorSection):
    """The hyperparameters of the diffusion prior.

    `conditional: auto` follows the VAE. `scaling`: latents are divided by one measured number, or by one a dimension. `timesteps`
    T: the number of levels of the linear schedule and the most steps that a sampler may take. `prediction`: what the network's
    output means.
    """

    conditional: Annotated[Literal[True, False, "auto"], BeforeValidator(_no_number)]
    condition_dropout: Share
    scaling: Literal["global", "per_dimension"]
    schedule: Literal["linear", "cosine"]
    timesteps: Annotated[int, Field(ge=2, le=10000)]
    prediction: Literal["eps", "x0", "v"]
    harmonics: Annotated[int, Field(ge=1, le=64)]
    width: Annotated[int, Field(ge=16, le=4096)]
    blocks: Annotated[int, Field(ge=1, le=64)]
    ema_decay: Share
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    precision: Precision

    def sees_conditions(self, vae: bool) -> bool:
        """Whether the prior is told the condition, `vae` being whether the VAE is."""
        return vae if self.conditional == "auto" else bool(self.conditional)

    def broken_rules(self, params: Params) -> Iterator[str]:
        """Enough data for a batch, and samplers that this prior can be sampled with."""
        settings = params.sample
        yield from params.excess("diffusion.batch_size", "data.n_train")
        yield from params.excess("sample.steps", "diffusion.timesteps")
        if settings.sampler not in SAMPLERS:
            yield f"sample.sampler = {settings.sampler!r}: must be one of {', '.join(SAMPLERS)}"
        elif settings.eta > 0.0 and settings.sampler not in STOCHASTIC:
            yield f"sample.eta = {settings.eta}: must be 0 with sample.sampler = {settings.sampler}, which draws no noise"
        if max(settings.curve) > self.timesteps:
            yield f"sample.curve = {settings.curve}: must be at most diffusion.timesteps = {self.timesteps}"
        if settings.guidance != 1.0 and not self.is_guided(params.vae.conditional):
            yield f"sample.guidance = {settings.guidance}: must be 1, or diffusion conditional with condition_dropout > 0"

    def is_guided(self, vae: bool) -> bool:
        """Whether the network has learned both with and without conditions."""
        return self.sees_conditions(vae) and self.condition_dropout > 0.0


class Prior(BasePrior):
    """Codes in latent units; inside, a denoiser of codes scaled to unit variance."""

    takes_steps = True
    config: Config

    def __init__(self, config: Config, space: CodeSpace) -> None:
        super().__init__(config, space)
        self.scaling = LatentScaling(space.latent_dim)
        condition = ConditionEncoder(space.variant, space.n_types, config.harmonics, self.conditional)
        backbone = Backbone(space.latent_dim, config.width, config.blocks, condition)
        self.denoiser = NetworkDenoiser(backbone, make_schedule(config.schedule, config.timesteps), config.prediction)

    @property
    def conditional(self) -> bool:
        """Whether the network is told the condition."""
        return self.config.sees_conditions(self.space.conditional)

    def fit(self, train: Latents, val: Latents, seed: int) -> Iterator[dict[str, float]]:
        """Train the network; a row an epoch with the loss on both splits. The averaged weights are those that stay."""
        config, device = self.config, train.posterior.mu.device
        dtype = resolve_precision(config.precision, device)
        self.scaling.measure(train.posterior, config.scaling)
        objective = DiffusionObjective(self, train, config.condition_dropout)
        settings = TrainingConfig(seed, config.epochs, config.batch_size, config.learning_rate, dtype, config.ema_decay)
        trainer = Trainer(self, objective, len(train), settings, device)
        print(f"diffusion prior: {describe(device, dtype)}, {trainer.total_steps} steps", file=sys.stderr)
        validation = DiffusionObjective(self, val, 0.0)
        for means in epoch_means(trainer, "diffusion"):
            with torch.no_grad(), trainer.averaged():
                noise = make_generator(seed, VALIDATION, device=device)
                val_total = validation(torch.arange(len(val), device=device), noise, 0.0)["total"].item()
            yield {**means, "val_total": val_total}
        trainer.use_average()

    def sample(self, conditions: Conditions, generator: torch.Generator, settings: SamplerSettings) -> Tensor:
        """One code for each condition, [N, D]."""
        device = generator.device
        x_1 = torch.randn((len(conditions), self.space.latent_dim), generator=generator, device=device)
        denoiser = partial(self.denoiser, guidance=settings.guidance)
        return self.scaling.from_unit(sample(denoiser, self.denoiser.schedule, x_1, conditions.to(device), generator, settings))

    def log_prob(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """log p(z | c) in nats, by the probability flow: [N], float64. It is that of the model without guidance."""
        x_0 = self.scaling.to_unit(codes)
        return flow.log_prob(self.denoiser, self.denoiser.schedule, x_0, conditions) - self.scaling.log_volume

    def require(self, settings: SamplerSettings) -> None:
        """Raise `UserError` for more steps than levels, or for guidance that was not trained for."""
        if settings.sampler not in SAMPLERS:
            raise UserError(f"sampler = {settings.sampler!r}: must be one of {', '.join(SAMPLERS)}")
        if settings.eta > 0.0 and settings.sampler not in STOCHASTIC:
            raise UserError(f"eta = {settings.eta}: must be 0 with the sampler {settings.sampler}, which draws no noise")
        if settings.steps > self.config.timesteps:
            raise UserError(f"steps = {settings.steps}: must be at most diffusion.timesteps = {self.config.timesteps}")
        if settings.guidance != 1.0 and not self.config.is_guided(self.space.conditional):
            raise UserError(
                f"guidance = {settings.guidance}: must be 1, for the prior was not trained with conditions and "
                "diffusion.condition_dropout > 0"
            )


class DiffusionObjective:
    """The training loss of a diffusion prior on fresh samples of cached posteriors every step."""

    def __init__(self, prior: Prior, latents: Latents, condition_dropout: float) -> None:
        self.prior, self.latents, self.condition_dropout = prior, latents, condition_dropout

    def __call__(self, indices: Tensor, generator: torch.Generator, _epoch: float) -> Mapping[str, Tensor]:
        x_0 = self.prior.scaling.to_unit(self.latents.posterior[indices].sample(generator))
        conditions = self.latents.conditions[indices]
        return {"total": diffusion_loss(self.prior.denoiser, x_0, conditions, generator, self.condition_dropout)}
