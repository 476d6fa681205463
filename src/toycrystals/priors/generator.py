"""A trained VAE and a prior over its codes, from disk, as one thing that turns conditions into images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from toycrystals.core.artifacts import fingerprint, load_tensors
from toycrystals.core.rng import SAMPLE, make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import decode
from toycrystals.models.vae import VAE
from toycrystals.priors.base import BasePrior, CodeSpace, find_prior
from toycrystals.runtime.errors import UserError


@dataclass(frozen=True)
class CrystalGenerator:
    """Codes from `prior`, drawn as `settings` say, images from `vae`; `meta` is the prior's, which says where both come from."""

    vae: VAE
    prior: BasePrior
    settings: SamplerSettings
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
        with torch.no_grad():
            codes = self.prior.sample(conditions.to(self.device), generator, self.settings).cpu()
        if not torch.isfinite(codes).all():
            raise UserError(f"{self.settings}: the prior's codes are not finite; a smaller guidance or more steps may help")
        return codes

    def decode(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """Images uint8 [N, 1, H, W] of codes [N, D], on the CPU."""
        return decode(self.vae, codes, conditions, self.device)


def load_generator(
    vae_path: Path, prior_path: Path, prior: str, settings: SamplerSettings, device: torch.device
) -> CrystalGenerator:
    """Read a VAE and the prior called `prior`.

    Raises `UserError` if a file is missing or damaged, if the prior was fitted to the codes of another VAE, or if it cannot
    sample with `settings`.
    """
    vae_tensors, vae_meta = load_tensors(vae_path, "VAE")
    tensors, meta = load_tensors(prior_path, f"{prior} prior")
    if meta.get("vae") != fingerprint(vae_tensors):
        raise UserError(f"{prior_path}: fitted to the codes of another VAE than {vae_path}; run `dvc repro`")
    vae = VAE.restore(vae_tensors, vae_meta, vae_path)
    module = find_prior(prior)
    try:
        config = module.Config.model_validate(meta["config"])
        restored = module.Prior.restore(config, CodeSpace(**meta["space"]), tensors)
    except (KeyError, RuntimeError, TypeError, ValidationError):
        raise UserError(f"{prior_path}: written by another version of toycrystals; run `dvc repro` to make it again") from None
    restored.require(settings)
    return CrystalGenerator(vae.to(device), restored.to(device), settings, device, meta)
