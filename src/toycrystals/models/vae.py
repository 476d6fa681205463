"""The variational autoencoder (Kingma and Welling 2014), conditional on type and labels or not, and its loss.

q(z | x, c) = N(mu, exp(logvar)),  p(x | z, c),  loss = mean over pixels (x - x')^2 + beta KL(q(z | x, c) || N(0, I))
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toycrystals.crystals.conditions import ConditionEncoder, Conditions, keep_mask
from toycrystals.crystals.dataset import DatasetSpec, to_unit_interval
from toycrystals.models.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from toycrystals.runtime.errors import UserError

# exp(logvar) must stay a finite float32, and a variance below e^-20 is no noise at all.
_LOGVAR_RANGE = (-20.0, 10.0)
# Rows whose table, against all training codes, fits the cache.
_CHUNK = 16


@dataclass(frozen=True)
class VAEConfig:
    """What rebuilds the network: the data that it is for and its shape."""

    variant: str
    n_types: int
    image_size: int
    architecture: str
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


@dataclass(frozen=True)
class Posterior:
    """Diagonal normals over codes: mu and logvar, [N, D]."""

    mu: Tensor
    logvar: Tensor

    def __len__(self) -> int:
        return len(self.mu)

    def __getitem__(self, index: slice | Tensor) -> "Posterior":
        return Posterior(self.mu[index], self.logvar[index])

    def to(self, device: torch.device) -> "Posterior":
        """The same on `device`."""
        return Posterior(self.mu.to(device), self.logvar.to(device))

    def sample(self, generator: torch.Generator) -> Tensor:
        """One code a row, reparametrised: mu + exp(logvar / 2) eps."""
        eps = torch.randn(self.mu.shape, generator=generator, device=self.mu.device)
        return self.mu + torch.exp(0.5 * self.logvar) * eps

    def kl(self) -> Tensor:
        """KL(N(mu, exp(logvar)) || N(0, 1)) a dimension, in nats: [N, D]."""
        return 0.5 * (self.mu.square() + self.logvar.exp() - 1.0 - self.logvar)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; mu, exp(logvar)) of z [..., D], summed over the last dimension; float64."""
        z, mu, logvar = z.double(), self.mu.double(), self.logvar.double()
        return -0.5 * ((z - mu).square() * (-logvar).exp() + logvar + math.log(2.0 * math.pi)).sum(dim=-1)

    def log_sum(self, z: Tensor) -> Tensor:
        """log sum_m N(z_n; mu_m, exp(logvar_m)) over all M posteriors, for z [n, D]: [n]; float64."""
        mu, logvar = self.mu.double(), self.logvar.double()
        precision = (-logvar).exp()
        constant = (mu.square() * precision + logvar + math.log(2.0 * math.pi)).sum(dim=1)
        parts = []
        for part in torch.tensor_split(z.double(), len(z) // _CHUNK + 1):
            # (z - mu)^2 / var = z^2 / var - 2 z mu / var + mu^2 / var: two products of matrices instead of an array [n, M, D].
            quadratic = part.square() @ precision.T - 2.0 * part @ (mu * precision).T
            parts.append(torch.logsumexp(-0.5 * (quadratic + constant), dim=1))
        return torch.cat(parts)


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
    def restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any], source: Path) -> Self:
        """The network in evaluation mode, from what `tensors_and_meta` gave; raises `UserError`, naming `source`, for others."""
        try:
            vae = cls(VAEConfig(**meta["config"]))
            vae.load_state_dict(tensors)
        except (AttributeError, KeyError, RuntimeError, TypeError):
            raise UserError(f"{source}: written by another version of toycrystals; run `dvc repro` to make it again") from None
        return vae.eval().requires_grad_(False)


def vae_loss(reconstruction: Tensor, images: Tensor, posterior: Posterior, beta: float, free_bits: float = 0.0) -> VAELoss:
    """The negative evidence lower bound, scaled to a pixel.

    `free_bits` lambda: each latent dimension's KL, averaged over the batch, costs at least lambda nats, so that nothing is
    gained by closing it further (Kingma et al. 2016, equation 15).
    """
    mse = F.mse_loss(reconstruction, images)
    kl = posterior.kl().mean(dim=0)  # [D]
    return VAELoss(mse + beta * kl.clamp_min(free_bits).sum(), mse, kl.sum())


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
