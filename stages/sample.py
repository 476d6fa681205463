"""Sample codes from a prior and decode them."""

from pathlib import Path

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.conditioning import Conditions, rotation_sweep
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec
from toycrystals.device import pick_device
from toycrystals.generation import load_generator
from toycrystals.priors.base import SamplerSettings


def sample(prior: str, model: Path, vae: Path, test: Path, out: Path) -> None:
    """Write images and codes for the held-out conditions, and for a sweep of the rotation."""
    params = load_params()
    settings = SamplerSettings(params.sample.steps, params.sample.eta, params.sample.guidance)
    generator = load_generator(vae, model, prior, settings, pick_device())
    held_out, meta = load_tensors(test, "dataset")
    spec = DatasetSpec(**meta["spec"])
    generator.vae.config.require(spec, test)
    requests = {
        "heldout": Conditions(held_out["type"], held_out["labels"])[: params.sample.n],
        "sweep": rotation_sweep(spec.variant, spec.n_types),
    }
    for name, conditions in requests.items():
        images, codes = generator(conditions, params.seed)
        tensors = {"images": images, "codes": codes, "type": conditions.type, "labels": conditions.labels}
        save_tensors(out / f"{name}.safetensors", "samples", tensors, {"conditional": generator.conditional})


if __name__ == "__main__":
    run(sample)
