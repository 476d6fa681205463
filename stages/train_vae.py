"""Train the VAE."""

import sys
from pathlib import Path

import pandas as pd

from stages import GUARD
from toycrystals.core.artifacts import load_tensors, save_tensors
from toycrystals.core.device import describe, pick_device, resolve_precision
from toycrystals.core.provenance import Origin
from toycrystals.core.rng import TRAINING, derive_seed, seed_initialisation
from toycrystals.core.tables import write_csv
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import DatasetSpec
from toycrystals.models.latents import reconstruction_psnr
from toycrystals.models.training import Trainer, TrainingConfig, epoch_means
from toycrystals.models.vae import VAE, VAEConfig, VAEObjective
from toycrystals.runtime import config
from toycrystals.runtime.stage import run


def train_vae(train: Path, val: Path, model: Path, curve: Path, seed: int, training_seed: int, vae: config.VAE) -> None:
    """Train on `train`, follow it on `val`, write the weights, and the curve after every epoch."""
    origin, device = Origin("train_vae", train=train, val=val), pick_device()
    dtype = resolve_precision(vae.precision, device)
    tensors, meta = load_tensors(train, "dataset")
    held_out, held_out_meta = load_tensors(val, "dataset")
    spec = DatasetSpec(**meta["spec"])

    run_seed = derive_seed(seed, TRAINING, training_seed)
    seed_initialisation(run_seed)
    network = VAEConfig(
        spec.variant, spec.n_types, spec.image_size, vae.architecture, vae.conditional, vae.harmonics, vae.latent_dim, vae.width
    )
    network.require(DatasetSpec(**held_out_meta["spec"]), val)
    trained = VAE(network).to(device)
    conditions = Conditions(tensors["type"], tensors["labels"]).to(device)
    images = tensors["images"].to(device)
    objective = VAEObjective(trained, images, conditions, vae.beta, vae.free_bits, vae.kl_warmup_epochs, vae.condition_dropout)
    settings = TrainingConfig(run_seed, vae.epochs, vae.batch_size, vae.learning_rate, dtype)
    trainer = Trainer(trained, objective, len(images), settings, device)

    print(f"train_vae: {vae.architecture} on {describe(device, dtype)}, {trainer.total_steps} steps", file=sys.stderr)
    val_conditions = Conditions(held_out["type"], held_out["labels"])
    rows = []
    for means in epoch_means(trainer, "train_vae"):
        rows.append({**means, "val_psnr": reconstruction_psnr(trained, held_out["images"], val_conditions, device)})
        write_csv(curve, pd.DataFrame(rows))
    weights, description = trained.tensors_and_meta()
    used = {"seed": seed, "training_seed": training_seed, "vae": vae.model_dump()}
    data = {**meta["spec"], "n": len(images), "md5": origin.md5("train")}
    save_tensors(model, "VAE", weights, {**description, **origin.made(used, data=data)})


if __name__ == "__main__":
    run(train_vae, GUARD)
