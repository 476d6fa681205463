"""A diffusion model of the codes (DDPM, Ho et al. 2020; in a latent space, Rombach et al. 2022), sampled with DDIM."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from toycrystals.conditioning import ConditionEncoder, Conditions
from toycrystals.dataset import VariantName
from toycrystals.diffusion.denoiser import Backbone, NetworkDenoiser, Prediction, diffusion_loss
from toycrystals.diffusion.sampler import sample
from toycrystals.diffusion.schedule import ScheduleName, make_schedule
from toycrystals.errors import UserError
from toycrystals.latents import Latents, LatentScaling, Scaling
from toycrystals.priors.base import SamplerSettings


@dataclass(frozen=True)
class DiffusionConfig:
    """What rebuilds the prior: its data, its network, its schedule."""

    variant: VariantName
    n_types: int
    latent_dim: int
    conditional: bool
    harmonics: int
    width: int
    blocks: int
    schedule: ScheduleName
    timesteps: int
    prediction: Prediction
    train_on: Literal["means", "samples"]
    posterior_width: float
    condition_dropout: float = 0.0

    def require(self, sampler: SamplerSettings) -> None:
        """Raise `UserError` for settings that a prior like this cannot sample with."""
        if sampler.steps > self.timesteps:
            raise UserError(f"steps = {sampler.steps}: must be at most diffusion.timesteps = {self.timesteps}")
        if sampler.guidance != 1.0 and not (self.conditional and self.condition_dropout > 0.0):
            raise UserError(
                f"guidance = {sampler.guidance}: must be 1, for the prior was not trained with conditions and "
                "diffusion.condition_dropout > 0"
            )


class DiffusionPrior(nn.Module):
    """Codes in latent units; inside, a denoiser of codes scaled to unit variance.

    One that was trained on means gives its codes a share of the posterior's noise, `posterior_width` times `deviation` [T, D],
    the root mean square deviation of each type's posteriors. Where the condition determines the mean, the means of all images
    are a point, which no sampler hits and every two-sample test tells from its samples, though they differ by a hundredth of
    the width that the decoder was trained to ignore. A prior without conditions knows no type and gives none.
    """

    deviation: Tensor

    def __init__(self, config: DiffusionConfig, scaling: LatentScaling, sampler: SamplerSettings) -> None:
        super().__init__()
        self.config, self.scaling, self.sampler = config, scaling, sampler
        condition = ConditionEncoder(config.variant, config.n_types, config.harmonics, config.conditional)
        backbone = Backbone(config.latent_dim, config.width, config.blocks, condition)
        schedule = make_schedule(config.schedule, config.timesteps)
        self.denoiser = NetworkDenoiser(backbone, schedule, config.prediction, sampler.guidance)
        self.register_buffer("deviation", torch.zeros(config.n_types, config.latent_dim))

    @property
    def conditional(self) -> bool:
        return self.config.conditional

    @property
    def posterior_width(self) -> float:
        if self.config.train_on == "samples":
            return 1.0
        return self.config.posterior_width if self.conditional else 0.0

    @property
    def trained_width(self) -> float:
        """The width of the posteriors that the denoiser is trained on."""
        return 1.0 if self.config.train_on == "samples" else 0.0

    @torch.no_grad()
    def sample(self, conditions: Conditions, generator: torch.Generator) -> Tensor:
        """One code for each condition, [N, D]."""
        device = generator.device
        self.to(device)
        x_1 = torch.randn((len(conditions), self.config.latent_dim), generator=generator, device=device)
        u = sample(
            self.denoiser, self.denoiser.schedule, x_1, conditions.to(device), generator, self.sampler.steps, self.sampler.eta
        )
        codes = self.scaling.from_unit(u)
        if self.posterior_width > self.trained_width:
            eps = torch.randn(codes.shape, generator=generator, device=device)
            codes = codes + self.posterior_width * self.deviation[conditions.type.to(device)] * eps
        return codes

    def tensors_and_meta(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.state_dict(), {"config": asdict(self.config)}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any], sampler: SamplerSettings) -> Self:
        config = DiffusionConfig(**meta["config"])
        config.require(sampler)
        prior = cls(config, LatentScaling(config.latent_dim), sampler)
        prior.load_state_dict(tensors)
        return prior.eval().requires_grad_(False)


class DiffusionObjective:
    """The training loss of a diffusion prior on cached posteriors: their means, or fresh samples of them every step."""

    def __init__(self, prior: DiffusionPrior, latents: Latents, condition_dropout: float) -> None:
        self.prior, self.latents, self.condition_dropout = prior, latents, condition_dropout

    def __call__(self, indices: Tensor, generator: torch.Generator, _epoch: float) -> Mapping[str, Tensor]:
        posterior = type(self.latents.posterior)(*(value[indices] for value in self.latents.posterior))
        codes = posterior.sample(generator) if self.prior.trained_width > 0.0 else posterior.mu
        x_0 = self.prior.scaling.to_unit(codes)
        conditions = self.latents.conditions[indices]
        return {"total": diffusion_loss(self.prior.denoiser, x_0, conditions, generator, self.condition_dropout)}


def measure_scaling(latents: Latents, scaling: Scaling, train_on: Literal["means", "samples"]) -> LatentScaling:
    """The scaling of the codes that the objective trains on."""
    mu, logvar = latents.posterior
    return LatentScaling.measure(mu, logvar.exp() if train_on == "samples" else torch.zeros_like(mu), scaling)


def measure_deviation(latents: Latents, n_types: int) -> Tensor:
    """Root mean square deviation of each type's posteriors [T, D]; zero for a type without latents."""
    variance, types = latents.posterior.logvar.exp(), latents.conditions.type
    return torch.stack([variance[types == k].mean(dim=0).nan_to_num(0.0).sqrt() for k in range(n_types)])
