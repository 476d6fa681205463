"""A trained VAE and a prior over its codes, from disk, as one thing that turns conditions into images."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from toycrystals.artifacts import fingerprint, load_tensors
from toycrystals.conditioning import Conditions
from toycrystals.errors import UserError
from toycrystals.latents import decode
from toycrystals.priors.base import Prior, SamplerSettings
from toycrystals.priors.registry import restore_prior
from toycrystals.rng import SAMPLE, make_generator
from toycrystals.vae import VAE


@dataclass(frozen=True)
class CrystalGenerator:
    """Codes from `prior`, images from `vae`."""

    vae: VAE
    prior: Prior
    device: torch.device

    @property
    def conditional(self) -> bool:
        """Whether the images answer to the condition, through the decoder or through the prior."""
        return self.vae.config.conditional or self.prior.conditional

    def __call__(self, conditions: Conditions, seed: int, *key: int) -> tuple[Tensor, Tensor]:
        """Images uint8 [N, 1, H, W] and codes float32 [N, D] for N conditions, on the CPU; a function of `seed` and `key`."""
        conditions = conditions.to(self.device)
        codes = self.prior.sample(conditions, make_generator(seed, SAMPLE, *key, device=self.device))
        return decode(self.vae, codes, conditions, self.device), codes.cpu()


def load_generator(
    vae_path: Path, prior_path: Path, prior: str, settings: SamplerSettings, device: torch.device
) -> CrystalGenerator:
    """Read a VAE and the prior called `prior`.

    Raises `UserError` if a file is missing or damaged, or if the prior was fitted to the codes of another VAE.
    """
    vae_tensors, vae_meta = load_tensors(vae_path, "VAE")
    tensors, meta = load_tensors(prior_path, f"{prior} prior")
    if meta["vae"] != fingerprint(vae_tensors):
        raise UserError(f"{prior_path}: fitted to the codes of another VAE than {vae_path}; run `dvc repro`")
    vae = VAE.restore(vae_tensors, vae_meta).to(device)
    return CrystalGenerator(vae, restore_prior(prior, tensors, meta, settings), device)
