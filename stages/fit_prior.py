"""Fit a prior that needs no training loop."""

from pathlib import Path

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.errors import UserError
from toycrystals.latents import Latents
from toycrystals.priors.base import Prior
from toycrystals.priors.mop import MixtureOfPosteriors
from toycrystals.priors.standard import StandardNormal
from toycrystals.provenance import Origin


def fit_prior(prior: str, latents: Path, model: Path) -> None:
    """Fit `prior` to the latents of the training split."""
    origin, used = Origin("fit_prior", latents=latents), {}
    tensors, meta = load_tensors(latents, "latents")
    vae, codes = meta["config"], Latents.from_tensors(tensors)
    fitted: Prior
    match prior:
        case "standard":
            fitted = StandardNormal.fit(codes)
        case "mop":
            p = load_params().mop
            used = {"mop": p.model_dump()}
            fitted = MixtureOfPosteriors(codes, p.neighbours, vae["variant"], vae["conditional"])
        case _:
            raise UserError(f"prior {prior!r}: stages/fit_prior.py does not say how it is fitted")
    weights, description = fitted.tensors_and_meta()
    save_tensors(model, f"{prior} prior", weights, {**description, "vae": meta["vae"], **origin.made(used, meta)})


if __name__ == "__main__":
    run(fit_prior)
