"""Cache the posteriors of every split."""

from pathlib import Path

from stages import GUARD
from toycrystals.core.artifacts import fingerprint, load_tensors, save_tensors
from toycrystals.core.device import pick_device
from toycrystals.core.provenance import Origin
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import DatasetSpec
from toycrystals.models.latents import encode as encode_images
from toycrystals.models.vae import VAE
from toycrystals.runtime.stage import run


def encode(train: Path, val: Path, test: Path, model: Path, out: Path) -> None:
    """Write mean and log-variance of q(z | x) for every image of every split, with its labels."""
    origin, device = Origin("encode", vae=model), pick_device()
    tensors, meta = load_tensors(model, "VAE")
    vae = VAE.restore(tensors, meta, model).to(device)
    for path in (train, val, test):
        data, data_meta = load_tensors(path, "dataset")
        vae.config.require(DatasetSpec(**data_meta["spec"]), path)
        latents = encode_images(vae, data["images"], Conditions(data["type"], data["labels"]), device)
        about = {"config": meta["config"], "vae": fingerprint(tensors), **origin.made({}, meta)}
        save_tensors(out / path.name, "latents", latents.tensors(), about)


if __name__ == "__main__":
    run(encode, GUARD)
