"""Train the VAE."""

import sys
from pathlib import Path

import pandas as pd

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.conditioning import Conditions
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec
from toycrystals.device import describe, pick_device, resolve_precision
from toycrystals.latents import reconstruction_psnr
from toycrystals.provenance import Origin
from toycrystals.rng import TRAINING, derive_seed, seed_initialisation
from toycrystals.tables import write_csv
from toycrystals.training import Trainer, TrainingConfig, epoch_means
from toycrystals.vae import VAE, VAEConfig, VAEObjective


def train_vae(train: Path, val: Path, model: Path, curve: Path) -> None:
    """Train the VAE on `train`, follow it on `val`, write the weights and a curve."""
    origin, params = Origin("train_vae", train=train, val=val), load_params()
    p = params.vae
    device = pick_device()
    dtype = resolve_precision(p.precision, device)
    tensors, meta = load_tensors(train, "dataset")
    held_out, held_out_meta = load_tensors(val, "dataset")
    spec = DatasetSpec(**meta["spec"])

    seed = derive_seed(params.seed, TRAINING, params.training_seed)
    seed_initialisation(seed)
    config = VAEConfig(
        spec.variant, spec.n_types, spec.image_size, p.architecture, p.conditional, p.harmonics, p.latent_dim, p.width
    )
    config.require(DatasetSpec(**held_out_meta["spec"]), val)
    vae = VAE(config).to(device)
    conditions = Conditions(tensors["type"], tensors["labels"]).to(device)
    images = tensors["images"].to(device)
    objective = VAEObjective(vae, images, conditions, p.beta, p.free_bits, p.kl_warmup_epochs, p.condition_dropout)
    training = TrainingConfig(seed, p.epochs, p.batch_size, p.learning_rate, dtype)
    trainer = Trainer(vae, objective, len(images), training, device)

    print(f"train_vae: {p.architecture} on {describe(device, dtype)}, {trainer.total_steps} steps", file=sys.stderr)
    val_conditions = Conditions(held_out["type"], held_out["labels"])
    rows = []
    for means in epoch_means(trainer, "train_vae"):
        val_psnr = reconstruction_psnr(vae, held_out["images"], val_conditions, device)
        rows.append({**means, "val_psnr": val_psnr})
    weights, description = vae.tensors_and_meta()
    used = {"seed": params.seed, "training_seed": params.training_seed, "vae": p.model_dump()}
    data = {**meta["spec"], "n": len(images), "md5": origin.md5("train")}
    save_tensors(model, "VAE", weights, {**description, **origin.made(used, data=data)})
    write_csv(curve, pd.DataFrame(rows))


if __name__ == "__main__":
    run(train_vae)
