"""The variational autoencoder (Kingma and Welling 2014), conditional on type and labels or not, and its loss.

q(z | x, c) = N(mu, exp(logvar)),  p(x | z, c),  loss = mean over pixels (x - x')^2 + beta KL(q(z | x, c) || N(0, I))
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toycrystals.conditioning import ConditionEncoder, Conditions, keep_mask
from toycrystals.dataset import DatasetSpec, VariantName
from toycrystals.errors import UserError
from toycrystals.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder

# exp(logvar) must stay a finite float32, and a variance below e^-20 is no noise at all.
_LOGVAR_RANGE = (-20.0, 10.0)


@dataclass(frozen=True)
class VAEConfig:
    """What rebuilds the network: the data that it is for and its shape."""

    variant: VariantName
    n_types: int
    image_size: int
    architecture: Literal["mlp", "conv"]
    conditional: bool
    harmonics: int
    latent_dim: int
    width: int

    def require(self, spec: DatasetSpec, source: object) -> None:
        """Raise `UserError` unless the network is for data like that of `spec`, which came from `source`."""
        for name in ("variant", "n_types", "image_size"):
            if getattr(self, name) != getattr(spec, name):
                raise UserError(
                    f"{source}: made with {name} = {getattr(spec, name)}, but the VAE was trained with "
                    f"{name} = {getattr(self, name)}; run `dvc repro` to bring them together"
                )


class Posterior(NamedTuple):
    """A diagonal normal over codes: mu and logvar, [N, D]."""

    mu: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One code a row, reparametrised: mu + exp(logvar / 2) eps."""
        eps = torch.randn(self.mu.shape, generator=generator, device=self.mu.device)
        return self.mu + torch.exp(0.5 * self.logvar) * eps

    def narrowed(self, width: float) -> "Posterior":
        """The same means with `width` times the deviations; at width 0 a sample is the mean."""
        return Posterior(self.mu, self.logvar + (2.0 * math.log(width) if width > 0.0 else -math.inf))

    def kl(self) -> Tensor:
        """KL(N(mu, exp(logvar)) || N(0, 1)) a dimension, in nats: [N, D]."""
        return 0.5 * (self.mu.square() + self.logvar.exp() - 1.0 - self.logvar)


class VAELoss(NamedTuple):
    """`total` is what is minimised; `reconstruction` the mean squared error a pixel; `kl` in nats an image, before free bits."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


class VAE(nn.Module):
    """Images in [0, 1] to posteriors over codes and back."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.condition = ConditionEncoder(config.variant, config.n_types, config.harmonics, config.conditional)
        shape = config.image_size, self.condition.features, config.width
        match config.architecture:
            case "mlp":
                self.encoder: nn.Module = MLPEncoder(*shape, 2 * config.latent_dim)
                self.decoder: nn.Module = MLPDecoder(*shape, config.latent_dim)
            case "conv":
                self.encoder = ConvEncoder(*shape, 2 * config.latent_dim)
                self.decoder = ConvDecoder(*shape, config.latent_dim)

    def encode(self, images: Tensor, conditions: Conditions, present: Tensor | None = None) -> Posterior:
        """images float [N, 1, H, W] in [0, 1] -> posterior over codes [N, D]; see `ConditionEncoder` for `present`."""
        features = self.encoder(images, self.condition(conditions, present)).float()
        mu, logvar = features.chunk(2, dim=1)
        return Posterior(mu, logvar.clamp(*_LOGVAR_RANGE))

    def decode(self, z: Tensor, conditions: Conditions, present: Tensor | None = None) -> Tensor:
        """Codes [N, D] -> images float [N, 1, H, W]; values may leave [0, 1]."""
        images: Tensor = self.decoder(z, self.condition(conditions, present)).float()
        return images

    def tensors_and_meta(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `restore` needs."""
        return self.state_dict(), {"config": asdict(self.config)}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Self:
        """The network in evaluation mode, from what `tensors_and_meta` gave."""
        vae = cls(VAEConfig(**meta["config"]))
        vae.load_state_dict(tensors)
        return vae.eval().requires_grad_(False)


def vae_loss(reconstruction: Tensor, images: Tensor, posterior: Posterior, beta: float, free_bits: float = 0.0) -> VAELoss:
    """The negative evidence lower bound, scaled to a pixel.

    `free_bits` lambda: each latent dimension's KL, averaged over the batch, costs at least lambda nats, so that nothing is
    gained by closing it further (Kingma et al. 2016, equation 15).
    """
    mse = F.mse_loss(reconstruction, images)
    kl = posterior.kl().mean(dim=0)  # [D]
    return VAELoss(mse + beta * kl.clamp_min(free_bits).sum(), mse, kl.sum())


def to_unit_interval(images: Tensor) -> Tensor:
    """uint8 [N, 1, H, W] -> float32 in [0, 1]."""
    return images.float() / 255.0


def to_uint8(images: Tensor) -> Tensor:
    """Float images, clamped to [0, 1] and rounded: uint8 of the same shape. A pixel that is not a number becomes 0."""
    return (images.nan_to_num(nan=0.0).clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


class VAEObjective:
    """The training loss on images uint8 [N, 1, H, W] and their conditions, all on the training device."""

    def __init__(
        self,
        vae: VAE,
        images: Tensor,
        conditions: Conditions,
        beta: float,
        free_bits: float,
        kl_warmup_epochs: int,
        condition_dropout: float,
    ) -> None:
        self.vae, self.images, self.conditions = vae, images, conditions
        self.beta, self.free_bits, self.kl_warmup_epochs = beta, free_bits, kl_warmup_epochs
        self.condition_dropout = condition_dropout

    def __call__(self, indices: Tensor, generator: torch.Generator, epoch: float) -> Mapping[str, Tensor]:
        images, conditions = to_unit_interval(self.images[indices]), self.conditions[indices]
        present = keep_mask(len(indices), self.condition_dropout, generator, images.device)
        posterior = self.vae.encode(images, conditions, present)
        reconstruction = self.vae.decode(posterior.sample(generator), conditions, present)
        beta = self.beta * min(1.0, epoch / self.kl_warmup_epochs) if self.kl_warmup_epochs else self.beta
        return vae_loss(reconstruction, images, posterior, beta, self.free_bits)._asdict()
