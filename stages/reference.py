"""Make the references that every prior is compared with."""

from pathlib import Path

import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.conditioning import Conditions, rotation_sweep
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec, redraw
from toycrystals.device import pick_device
from toycrystals.latents import reconstruct
from toycrystals.vae import VAE


def reference(test: Path, vae: Path, real: Path, reconstruction: Path) -> None:
    """Write the held-out conditions drawn anew (`real`) and the held-out images through the VAE (`reconstruction`)."""
    n = load_params().sample.n
    held_out, meta = load_tensors(test, "dataset")
    spec = DatasetSpec(**meta["spec"])
    model = VAE.restore(*load_tensors(vae, "VAE"))
    model.config.require(spec, test)
    device = pick_device()

    images, types, labels, factors = (held_out[name][:n] for name in ("images", "type", "labels", "factors"))
    conditions = Conditions(types, labels)
    again = reconstruct(model.to(device), images, conditions, device)
    about = {"type": types, "labels": labels}
    # A reconstruction answers to its own image, whatever the model was told.
    save_tensors(reconstruction / "heldout.safetensors", "samples", {"images": again, **about}, {"conditional": True})

    drawn = redraw(spec, types.numpy(), factors.numpy())
    sweep = rotation_sweep(spec.variant, spec.n_types)
    turned = redraw(spec, sweep.type.numpy(), torch.cat([sweep.labels, torch.ones(len(sweep), 1)], dim=1).numpy())
    for name, samples in (("heldout", drawn), ("sweep", turned)):
        tensors = {field: torch.from_numpy(array) for field, array in vars(samples).items()}
        save_tensors(real / f"{name}.safetensors", "samples", tensors, {"conditional": True})


if __name__ == "__main__":
    run(reference)
