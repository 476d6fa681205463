"""Sample codes from a prior and decode them."""

from dataclasses import asdict
from pathlib import Path

import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors, write_json
from toycrystals.conditioning import Conditions, rotation_sweep
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec
from toycrystals.device import pick_device
from toycrystals.generation import load_generator
from toycrystals.heldout import EVERY
from toycrystals.priors.base import SamplerSettings
from toycrystals.provenance import Origin
from toycrystals.rng import TRAINING, derive_seed


def sample(prior: str, model: Path, vae: Path, heldout: Path, out: Path) -> None:
    """Write images and codes: for the held-out conditions, a sweep of the rotation, several draws each, swapped conditions."""
    origin, params = Origin("sample", vae=vae, prior=model, heldout=heldout), load_params()
    settings = SamplerSettings(params.sample.steps, params.sample.eta, params.sample.guidance)
    seed = derive_seed(params.seed, TRAINING, params.training_seed)
    generator = load_generator(vae, model, prior, settings, pick_device())
    held_out, meta = load_tensors(heldout, "held-out list")
    spec = DatasetSpec(**meta["spec"])
    generator.vae.config.require(spec, heldout)
    about = {"conditional": generator.conditional, "posterior_width": generator.prior.posterior_width}
    write_json(out / "about.json", about)
    # A prior that takes no steps gives the same files whatever their number.
    sampler = asdict(generator.prior.sampler) if generator.prior.sampler else {}
    used = {"seed": params.seed, "training_seed": params.training_seed, "sample": {"draws": params.sample.draws, **sampler}}
    about |= origin.made(used, generator.meta)

    conditions = Conditions(held_out["type"], held_out["labels"])
    images, codes = generator(conditions, seed)
    asked = {"type": conditions.type, "labels": conditions.labels}
    save_tensors(out / "heldout.safetensors", "samples", {"images": images, "codes": codes, **asked}, about)

    sweep = rotation_sweep(spec.variant, spec.n_types)
    images, swept = generator(sweep, seed)
    turned = {"images": images, "codes": swept, "type": sweep.type, "labels": sweep.labels}
    save_tensors(out / "sweep.safetensors", "samples", turned, about)

    rows = torch.arange(0, len(conditions), EVERY)
    draws = torch.stack([generator.codes(conditions[rows], seed, 1 + k) for k in range(params.sample.draws)], dim=1)
    save_tensors(out / "draws.safetensors", "draws", {"codes": draws, "row": rows}, about)

    # The list is in the split's random order, so half a turn pairs types and angles at random.
    partner = rows.roll(len(rows) // 2)
    swapped = {"images": generator.decode(codes[rows], conditions[partner]), "row": rows, "decoded_as": partner}
    save_tensors(out / "swap.safetensors", "swapped samples", swapped, about)


if __name__ == "__main__":
    run(sample)
