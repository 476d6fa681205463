"""Cache the posteriors of every split."""

from pathlib import Path

from stages.command import run
from toycrystals.artifacts import fingerprint, load_tensors, save_tensors
from toycrystals.conditioning import Conditions
from toycrystals.dataset import DatasetSpec
from toycrystals.device import pick_device
from toycrystals.latents import encode as encode_images
from toycrystals.provenance import Origin
from toycrystals.vae import VAE


def encode(train: Path, val: Path, test: Path, model: Path, out: Path) -> None:
    """Write mean and log-variance of q(z | x) for every image of every split, with its labels."""
    origin = Origin("encode", vae=model)
    tensors, meta = load_tensors(model, "VAE")
    vae, device = VAE.restore(tensors, meta), pick_device()
    vae.to(device)
    for path in (train, val, test):
        data, data_meta = load_tensors(path, "dataset")
        vae.config.require(DatasetSpec(**data_meta["spec"]), path)
        latents = encode_images(vae, data["images"], Conditions(data["type"], data["labels"]), device)
        about = {"config": meta["config"], "vae": fingerprint(tensors), **origin.made({}, meta)}
        save_tensors(out / path.name, "latents", latents.tensors(), about)


if __name__ == "__main__":
    run(encode)
