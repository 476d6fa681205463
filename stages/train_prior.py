"""Fit a prior to the cached codes."""

from pathlib import Path

import pandas as pd

from stages import GUARD
from toycrystals.core.artifacts import load_tensors, save_tensors
from toycrystals.core.device import pick_device
from toycrystals.core.provenance import Origin
from toycrystals.core.rng import TRAINING, derive_seed, seed_initialisation
from toycrystals.core.tables import write_csv
from toycrystals.models.latents import Latents
from toycrystals.priors.base import CodeSpace, find_prior
from toycrystals.runtime.config import PriorSection
from toycrystals.runtime.errors import UserError
from toycrystals.runtime.stage import run


def train_prior(
    prior: str, train: Path, val: Path, model: Path, curve: Path, seed: int, training_seed: int, section: PriorSection
) -> None:
    """Fit `prior` to the latents in `train`, follow it on `val`, write it, and its curve after every epoch."""
    origin, device = Origin("train_prior", train=train, val=val), pick_device()
    tensors, meta = load_tensors(train, "latents")
    held_out, held_out_meta = load_tensors(val, "latents")
    if held_out_meta["vae"] != meta["vae"]:
        raise UserError(f"{val}: codes of another VAE than those in {train}; run `dvc repro`")
    vae = meta["config"]

    run_seed = derive_seed(seed, TRAINING, training_seed)
    seed_initialisation(run_seed)
    space = CodeSpace(vae["variant"], vae["n_types"], vae["latent_dim"], vae["conditional"])
    fitted = find_prior(prior).Prior(section, space).to(device)
    rows = []
    for row in fitted.fit(Latents.from_tensors(tensors).to(device), Latents.from_tensors(held_out).to(device), run_seed):
        rows.append(row)
        write_csv(curve, pd.DataFrame(rows))
    used = {"seed": seed, "training_seed": training_seed, prior: section.model_dump()}
    save_tensors(model, f"{prior} prior", fitted.tensors(), {**fitted.meta(), "vae": meta["vae"], **origin.made(used, meta)})


if __name__ == "__main__":
    run(train_prior, GUARD)
