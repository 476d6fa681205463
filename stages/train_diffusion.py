"""Train the latent diffusion prior."""

import sys
from pathlib import Path

import pandas as pd
import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.device import describe, pick_device, resolve_precision
from toycrystals.errors import UserError
from toycrystals.latents import Latents
from toycrystals.priors.base import SamplerSettings
from toycrystals.priors.diffusion import DiffusionConfig, DiffusionObjective, DiffusionPrior, measure_deviation, measure_scaling
from toycrystals.provenance import Origin
from toycrystals.rng import TRAINING, VALIDATION, derive_seed, make_generator, seed_initialisation
from toycrystals.tables import write_csv
from toycrystals.training import Trainer, TrainingConfig, epoch_means


def train_diffusion(train: Path, val: Path, model: Path, curve: Path) -> None:
    """Train the prior on the latents in `train`, follow it on `val`, write its averaged weights and a curve."""
    origin, params = Origin("train_diffusion", train=train, val=val), load_params()
    p = params.diffusion
    device = pick_device()
    dtype = resolve_precision(p.precision, device)
    tensors, meta = load_tensors(train, "latents")
    latents = Latents.from_tensors(tensors).to(device)
    held_out_tensors, held_out_meta = load_tensors(val, "latents")
    if held_out_meta["vae"] != meta["vae"]:
        raise UserError(f"{val}: codes of another VAE than those in {train}; run `dvc repro`")
    held_out = Latents.from_tensors(held_out_tensors).to(device)
    vae = meta["config"]

    seed = derive_seed(params.seed, TRAINING, params.training_seed)
    seed_initialisation(seed)
    conditional = p.sees_conditions(vae["conditional"])
    config = DiffusionConfig(
        vae["variant"], vae["n_types"], vae["latent_dim"], conditional, p.harmonics, p.width, p.blocks,
        p.schedule, p.timesteps, p.prediction, p.train_on, p.posterior_width, p.condition_dropout,
    )  # fmt: skip
    scaling = measure_scaling(latents, p.scaling, p.train_on)
    prior = DiffusionPrior(config, scaling, SamplerSettings(steps=p.timesteps, eta=1.0, guidance=1.0)).to(device)
    prior.deviation.copy_(measure_deviation(latents, vae["n_types"]))
    objective = DiffusionObjective(prior, latents, p.condition_dropout)
    training = TrainingConfig(seed, p.epochs, p.batch_size, p.learning_rate, dtype, p.ema_decay)
    trainer = Trainer(prior, objective, len(latents), training, device)

    print(f"train_diffusion: {describe(device, dtype)}, {trainer.total_steps} steps", file=sys.stderr)
    validation = DiffusionObjective(prior, held_out, 0.0)
    rows = []
    for means in epoch_means(trainer, "train_diffusion"):
        with torch.no_grad():
            noise = make_generator(seed, VALIDATION, device=device)
            val_total = validation(torch.arange(len(held_out), device=device), noise, 0.0)["total"].item()
        rows.append({**means, "val_total": val_total})
    trainer.use_average()
    weights, description = prior.tensors_and_meta()
    used = {"seed": params.seed, "training_seed": params.training_seed, "diffusion": p.model_dump()}
    save_tensors(model, "diffusion prior", weights, {**description, "vae": meta["vae"], **origin.made(used, meta)})
    write_csv(curve, pd.DataFrame(rows))


if __name__ == "__main__":
    run(train_diffusion)
