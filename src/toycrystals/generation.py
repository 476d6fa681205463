"""A trained VAE and a prior over its codes, from disk, as one thing that turns conditions into images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """Codes from `prior`, images from `vae`; `meta` is the prior's metadata, which says where both come from."""

    vae: VAE
    prior: Prior
    device: torch.device
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def conditional(self) -> bool:
        """Whether the images answer to the condition, through the decoder or through the prior."""
        return self.vae.config.conditional or self.prior.conditional

    def __call__(self, conditions: Conditions, seed: int, *key: int) -> tuple[Tensor, Tensor]:
        """Images uint8 [N, 1, H, W] and codes float32 [N, D] for N conditions, on the CPU; a function of `seed` and `key`."""
        codes = self.codes(conditions, seed, *key)
        return self.decode(codes, conditions), codes

    def codes(self, conditions: Conditions, seed: int, *key: int) -> Tensor:
        """Codes float32 [N, D] for N conditions, on the CPU; a function of `seed` and `key`."""
        generator = make_generator(seed, SAMPLE, *key, device=self.device)
        return self.prior.sample(conditions.to(self.device), generator).cpu()

    def decode(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """Images uint8 [N, 1, H, W] of codes [N, D], on the CPU."""
        return decode(self.vae, codes, conditions, self.device)


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
    try:
        restored = restore_prior(prior, tensors, meta, settings)
    except (KeyError, RuntimeError, TypeError):
        raise UserError(f"{prior_path}: written by another version of toycrystals; run `dvc repro` to make it again") from None
    return CrystalGenerator(vae, restored, device, meta)
