"""Make the references that every prior is compared with."""

from pathlib import Path

import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.conditioning import Conditions, rotation_sweep
from toycrystals.dataset import DatasetSpec, redraw
from toycrystals.device import pick_device
from toycrystals.latents import reconstruct
from toycrystals.provenance import Origin
from toycrystals.vae import VAE


def reference(heldout: Path, vae: Path, real: Path, reconstruction: Path) -> None:
    """Write the held-out conditions drawn anew (`real`) and these images through the VAE (`reconstruction`)."""
    # Apart, so that the real images are the same bytes whatever the VAE.
    origin, drawn_from = Origin("reference", heldout=heldout, vae=vae), Origin("reference", heldout=heldout)
    held_out, meta = load_tensors(heldout, "held-out list")
    spec = DatasetSpec(**meta["spec"])
    tensors, vae_meta = load_tensors(vae, "VAE")
    model = VAE.restore(tensors, vae_meta)
    model.config.require(spec, heldout)
    device = pick_device()

    types, labels = held_out["type"], held_out["labels"]
    drawn = redraw(spec, types.numpy(), held_out["factors"].numpy())
    # Of the images drawn anew: reconstructions of the held-out images would share what no label shows with them.
    again = reconstruct(model.to(device), torch.from_numpy(drawn.images), Conditions(types, labels), device)
    # A reconstruction answers to its own image, whatever the model was told.
    about = {"conditional": True, **origin.made({}, meta, vae_meta)}
    save_tensors(reconstruction / "heldout.safetensors", "samples", {"images": again, "type": types, "labels": labels}, about)

    sweep = rotation_sweep(spec.variant, spec.n_types)
    turned = redraw(spec, sweep.type.numpy(), torch.cat([sweep.labels, torch.ones(len(sweep), 1)], dim=1).numpy())
    for name, samples in (("heldout", drawn), ("sweep", turned)):
        tensors = {field: torch.from_numpy(array) for field, array in vars(samples).items()}
        about = {"conditional": True, **drawn_from.made({}, meta)}
        save_tensors(real / f"{name}.safetensors", "samples", tensors, about)


if __name__ == "__main__":
    run(reference)
