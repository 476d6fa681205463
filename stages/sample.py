"""Sample codes from every prior and decode them, beside the references that they are compared with."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages import GUARD
from toycrystals.core.artifacts import load_tensors, save_tensors
from toycrystals.core.device import pick_device
from toycrystals.core.provenance import Origin
from toycrystals.core.rng import HELD_OUT, TRAINING, derive_seed, make_generator
from toycrystals.crystals.conditions import Conditions, rotation_sweep
from toycrystals.crystals.dataset import DatasetSpec, Samples, redraw
from toycrystals.crystals.heldout import EVERY
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import decode, encode, held_out_codes
from toycrystals.models.oracle import log_oracle
from toycrystals.models.vae import VAE, Posterior
from toycrystals.priors.base import BasePrior
from toycrystals.priors.generator import CrystalGenerator, load_generator
from toycrystals.runtime.config import Floor, Sample
from toycrystals.runtime.stage import run


def sample(
    vae: Path, models: Path, heldout: Path, out: Path,
    seed: int, training_seed: int, priors: list[str], sample: Sample, floor: Floor,
) -> None:  # fmt: skip
    """Write what every prior makes for the held-out conditions, and what real images and their reconstructions are there."""
    device = pick_device()
    held_out, meta = load_tensors(heldout, "held-out list")
    spec, conditions = DatasetSpec(**meta["spec"]), Conditions(held_out["type"], held_out["labels"])
    settings = SamplerSettings(sample.sampler, sample.steps, sample.eta, sample.guidance)
    told = write_references(vae, heldout, out, sample.draws, floor.draws, seed, device)
    for name in priors:
        path = models / f"{name}.safetensors"
        origin = Origin("sample", vae=vae, prior=path, heldout=heldout)
        generator = load_generator(vae, path, name, settings, device)
        generator.vae.config.require(spec, heldout)
        prior = generator.prior
        # A prior that takes no steps gives the same files whatever their number.
        sampler = asdict(settings) if prior.takes_steps else {}
        used = {"seed": seed, "training_seed": training_seed, "sample": sampler}
        about = {"conditional": generator.conditional, "takes_steps": prior.takes_steps, **origin.made(used, generator.meta)}
        run_seed = derive_seed(seed, TRAINING, training_seed)
        write_samples(generator, conditions, spec, sample.draws, run_seed, out / name, about)
        # Guided samples have another density, which is not known.
        if settings.guidance == 1.0 or not prior.takes_steps:
            write_density(prior, told, conditions, device, out / name, about)
        if prior.takes_steps:
            write_curve(generator, conditions, sample.curve, run_seed, out / name, about)


def write_samples(
    generator: CrystalGenerator, conditions: Conditions, spec: DatasetSpec, draws: int, seed: int, out: Path,
    about: dict[str, Any],
) -> None:  # fmt: skip
    """Images and codes for the held-out conditions, more draws of codes, a sweep of the rotation, codes under others."""
    images, codes = generator(conditions, seed)
    asked = {"type": conditions.type, "labels": conditions.labels}
    save_tensors(out / "heldout.safetensors", "samples", {"images": images, "codes": codes, **asked}, about)
    again = [generator.codes(conditions, seed, draw) for draw in range(1, draws)]
    save_tensors(out / "draws.safetensors", "codes", {"codes": torch.stack([codes, *again])}, about)

    sweep = rotation_sweep(spec.variant, spec.n_types)
    images, swept = generator(sweep, seed)
    turned = {"images": images, "codes": swept, "type": sweep.type, "labels": sweep.labels}
    save_tensors(out / "sweep.safetensors", "samples", turned, about)

    # The list is in the split's random order, so half a turn pairs types and angles at random.
    rows = torch.arange(0, len(conditions), EVERY)
    partner = rows.roll(len(rows) // 2)
    swapped = {"images": generator.decode(codes[rows], conditions[partner]), "row": rows, "decoded_as": partner}
    save_tensors(out / "swap.safetensors", "swapped samples", swapped, about)


def write_density(
    prior: BasePrior, told: dict[str, Tensor], conditions: Conditions, device: torch.device, out: Path, about: dict[str, Any]
) -> None:
    """log p(z | c) of codes of held-out images, of a prior that knows its density."""
    codes, asked = told["codes"].to(device), conditions[told["row"]].to(device)
    try:
        with torch.no_grad():
            log_prob = prior.log_prob(codes, asked).cpu()
    except NotImplementedError:
        return
    save_tensors(out / "density.safetensors", "log-densities", {"log_prob": log_prob}, about)


def write_curve(
    generator: CrystalGenerator, conditions: Conditions, steps: list[int], seed: int, out: Path, about: dict[str, Any]
) -> None:
    """Codes for the held-out conditions at each number of steps."""
    for n in steps:
        codes = replace(generator, settings=replace(generator.settings, steps=n)).codes(conditions, seed)
        save_tensors(out / f"steps_{n:05d}.safetensors", "codes", {"codes": codes}, {"steps": n, **about})


def write_references(
    vae: Path, heldout: Path, out: Path, draws: int, floor_draws: int, seed: int, device: torch.device
) -> dict[str, Tensor]:
    """The held-out conditions drawn anew (`real`), and samples of these images' posteriors, decoded (`reconstruction`).

    Of `draws` draws in all, the codes of reconstructions, and the posteriors of `floor_draws` others. Returns codes of held-out
    images, by which densities are told, with the log-densities of their own posteriors and of the oracle.
    """
    # Apart, so that the real images are the same bytes whatever the VAE.
    origin, drawn_from = Origin("sample", heldout=heldout, vae=vae), Origin("sample", heldout=heldout)
    held_out, meta = load_tensors(heldout, "held-out list")
    spec, types, labels = DatasetSpec(**meta["spec"]), held_out["type"], held_out["labels"]
    tensors, vae_meta = load_tensors(vae, "VAE")
    model, conditions = VAE.restore(tensors, vae_meta, vae).to(device), Conditions(types, labels)
    model.config.require(spec, heldout)
    # A reconstruction answers to its own image, whatever the model was told.
    about, about_real = ({"conditional": True, **o.made({}, *m)} for o, m in ((origin, (meta, vae_meta)), (drawn_from, (meta,))))

    def redrawn(k: int) -> Samples:
        return redraw(spec, types.numpy(), held_out["factors"].numpy(), k)

    def posterior(k: int) -> Posterior:
        return encode(model, torch.from_numpy(redrawn(k).images), conditions, device).posterior

    # Of images drawn anew: reconstructions of the held-out images would share what no label shows with them.
    method = [0, *range(floor_draws + 1, floor_draws + draws)]
    codes = torch.stack([posterior(k).sample(make_generator(seed, HELD_OUT, 1, d)) for d, k in enumerate(method)])
    kept = {"images": decode(model, codes[0], conditions, device), "codes": codes[0], "type": types, "labels": labels}
    save_tensors(out / "reconstruction" / "heldout.safetensors", "samples", kept, about)
    save_tensors(out / "reconstruction" / "draws.safetensors", "codes", {"codes": codes}, about)
    posteriors = [posterior(k) for k in range(1, floor_draws + 1)]
    stacked = {name: torch.stack([getattr(one, name) for one in posteriors]) for name in ("mu", "logvar")}
    save_tensors(out / "reconstruction" / "redraws.safetensors", "redrawn latents", stacked, about)

    # Every so many, for an oracle renders hundreds of images for one condition.
    rows = torch.arange(0, len(conditions), EVERY)
    latents = encode(model, held_out["images"][rows], conditions[rows], device)
    z = held_out_codes(latents, seed, 0, 0)
    told = {"row": rows, "codes": z, "log_posterior": latents.posterior.log_prob(z)}
    if (oracle := log_oracle(model, z, latents.conditions, device)) is not None:
        told["log_oracle"] = oracle
    save_tensors(out / "reconstruction" / "density.safetensors", "log-densities", told, about)

    sweep = rotation_sweep(spec.variant, spec.n_types)
    turned = redraw(spec, sweep.type.numpy(), torch.cat([sweep.labels, torch.ones(len(sweep), 1)], dim=1).numpy())
    for name, samples in (("heldout", redrawn(0)), ("sweep", turned)):
        kept = {field: torch.from_numpy(array) for field, array in vars(samples).items()}
        save_tensors(out / "real" / f"{name}.safetensors", "samples", kept, about_real)
    return told


if __name__ == "__main__":
    run(sample, GUARD)
