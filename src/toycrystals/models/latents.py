"""Cached posteriors, and the scaling between a VAE's latent units and those of a prior: u = (z - shift) / scale."""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn

from toycrystals.core.rng import HELD_OUT, make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import to_unit_interval
from toycrystals.models.vae import VAE, Posterior, to_uint8

Scaling = Literal["global", "per_dimension"]
_BATCH = 2048


@dataclass(frozen=True)
class Latents:
    """The posteriors of N images, with their conditions."""

    posterior: Posterior
    conditions: Conditions

    def __len__(self) -> int:
        return len(self.conditions)

    def __getitem__(self, index: slice | Tensor) -> "Latents":
        return Latents(self.posterior[index], self.conditions[index])

    def to(self, device: torch.device) -> "Latents":
        """The same posteriors on `device`."""
        return Latents(self.posterior.to(device), self.conditions.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs."""
        posterior, conditions = self.posterior, self.conditions
        return {"mu": posterior.mu, "logvar": posterior.logvar, "type": conditions.type, "labels": conditions.labels}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """The inverse of `tensors`."""
        return cls(Posterior(tensors["mu"], tensors["logvar"]), Conditions(tensors["type"], tensors["labels"]))


def held_out_codes(latents: Latents, seed: int, *key: int) -> Tensor:
    """A code [N, D] of each posterior of held-out images: what every prior imitates and is judged by."""
    return latents.posterior.sample(make_generator(seed, HELD_OUT, *key))


class LatentScaling(nn.Module):
    """An affine map with its inverse, stored with the prior that uses it."""

    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def measure(self, posterior: Posterior, scaling: Scaling) -> None:
        """Centre every dimension of the posteriors' samples and divide by one number for all of them (or by one each)."""
        variance = posterior.mu.var(dim=0, correction=0) + posterior.logvar.exp().mean(dim=0)
        self.shift.copy_(posterior.mu.mean(dim=0))
        self.scale.copy_((variance.mean() if scaling == "global" else variance).sqrt())

    @property
    def log_volume(self) -> Tensor:
        """log |dz / du|, what a density of u loses on the way to z."""
        return self.scale.double().log().sum()

    def to_unit(self, z: Tensor) -> Tensor:
        """A VAE's codes [N, D] to unit variance."""
        return (z - self.shift) / self.scale

    def from_unit(self, u: Tensor) -> Tensor:
        """The inverse of `to_unit`."""
        return u * self.scale + self.shift


@torch.no_grad()
def encode(vae: VAE, images: Tensor, conditions: Conditions, device: torch.device) -> Latents:
    """Posteriors of images uint8 [N, 1, H, W], in float32 and in batches; the result is on the CPU."""
    mus, logvars = [], []
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        batch = to_unit_interval(images[part].to(device))
        posterior = vae.encode(batch, conditions[part].to(device))
        mus.append(posterior.mu.cpu())
        logvars.append(posterior.logvar.cpu())
    return Latents(Posterior(torch.cat(mus), torch.cat(logvars)), conditions)


@torch.no_grad()
def decode(vae: VAE, codes: Tensor, conditions: Conditions, device: torch.device) -> Tensor:
    """Images uint8 [N, 1, H, W] of codes [N, D], in float32 and in batches; the result is on the CPU."""
    images = []
    for start in range(0, len(codes), _BATCH):
        part = slice(start, start + _BATCH)
        images.append(to_uint8(vae.decode(codes[part].to(device), conditions[part].to(device))).cpu())
    return torch.cat(images)


def reconstruct(vae: VAE, images: Tensor, conditions: Conditions, device: torch.device) -> Tensor:
    """Images uint8 [N, 1, H, W] through the posterior's mean and back: uint8, on the CPU."""
    return decode(vae, encode(vae, images, conditions, device).posterior.mu, conditions, device)


def reconstruction_psnr(vae: VAE, images: Tensor, conditions: Conditions, device: torch.device) -> float:
    """Peak signal-to-noise ratio in dB of `reconstruct`, from the mean squared error over all pixels of all images."""
    squared = 0.0
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        again = reconstruct(vae, images[part], conditions[part], device)
        squared += float((to_unit_interval(again) - to_unit_interval(images[part])).square().sum(dtype=torch.float64))
    return -10.0 * math.log10(max(squared / images.numel(), 1e-12))
