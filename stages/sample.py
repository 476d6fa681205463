"""Sample codes from every prior and decode them, beside the references that they are compared with."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from stages import GUARD
from toycrystals.core.artifacts import load_tensors, save_tensors
from toycrystals.core.device import pick_device
from toycrystals.core.provenance import Origin
from toycrystals.core.rng import TRAINING, derive_seed
from toycrystals.crystals.conditions import Conditions, rotation_sweep
from toycrystals.crystals.dataset import DatasetSpec, Samples, redraw
from toycrystals.crystals.heldout import EVERY
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.models.latents import encode, reconstruct
from toycrystals.models.vae import VAE
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
    write_references(vae, heldout, out, floor.draws, device)
    for name in priors:
        path = models / f"{name}.safetensors"
        origin = Origin("sample", vae=vae, prior=path, heldout=heldout)
        generator = load_generator(vae, path, name, settings, device)
        generator.vae.config.require(spec, heldout)
        # A prior that takes no steps gives the same files whatever their number.
        sampler = asdict(settings) if generator.prior.takes_steps else {}
        used = {"seed": seed, "training_seed": training_seed, "sample": sampler}
        prior = generator.prior
        about = {"conditional": generator.conditional, "posterior_width": prior.posterior_width, "takes_steps": prior.takes_steps}
        about |= origin.made(used, generator.meta)
        write_samples(generator, conditions, spec, derive_seed(seed, TRAINING, training_seed), out / name, about)
        if prior.takes_steps:
            write_curve(generator, conditions, sample.curve, derive_seed(seed, TRAINING, training_seed), out / name, about)


def write_samples(
    generator: CrystalGenerator, conditions: Conditions, spec: DatasetSpec, seed: int, out: Path, about: dict[str, Any]
) -> None:
    """Images and codes for the held-out conditions, for a sweep of the rotation, and of codes under another condition."""
    images, codes = generator(conditions, seed)
    asked = {"type": conditions.type, "labels": conditions.labels}
    save_tensors(out / "heldout.safetensors", "samples", {"images": images, "codes": codes, **asked}, about)

    sweep = rotation_sweep(spec.variant, spec.n_types)
    images, swept = generator(sweep, seed)
    turned = {"images": images, "codes": swept, "type": sweep.type, "labels": sweep.labels}
    save_tensors(out / "sweep.safetensors", "samples", turned, about)

    # The list is in the split's random order, so half a turn pairs types and angles at random.
    rows = torch.arange(0, len(conditions), EVERY)
    partner = rows.roll(len(rows) // 2)
    swapped = {"images": generator.decode(codes[rows], conditions[partner]), "row": rows, "decoded_as": partner}
    save_tensors(out / "swap.safetensors", "swapped samples", swapped, about)


def write_curve(
    generator: CrystalGenerator, conditions: Conditions, steps: list[int], seed: int, out: Path, about: dict[str, Any]
) -> None:
    """Codes for the held-out conditions at each number of steps."""
    for n in steps:
        codes = replace(generator, settings=replace(generator.settings, steps=n)).codes(conditions, seed)
        save_tensors(out / f"steps_{n:05d}.safetensors", "codes", {"codes": codes}, {"steps": n, **about})


def write_references(vae: Path, heldout: Path, out: Path, draws: int, device: torch.device) -> None:
    """The held-out conditions drawn anew (`real`), these images through the VAE, and the posteriors of `draws` further draws."""
    # Apart, so that the real images are the same bytes whatever the VAE.
    origin, drawn_from = Origin("sample", heldout=heldout, vae=vae), Origin("sample", heldout=heldout)
    held_out, meta = load_tensors(heldout, "held-out list")
    spec, types, labels = DatasetSpec(**meta["spec"]), held_out["type"], held_out["labels"]
    tensors, vae_meta = load_tensors(vae, "VAE")
    model, conditions = VAE.restore(tensors, vae_meta, vae).to(device), Conditions(types, labels)
    model.config.require(spec, heldout)
    # A reconstruction answers to its own image, whatever the model was told.
    about, about_real = ({"conditional": True, **o.made({}, *m)} for o, m in ((origin, (meta, vae_meta)), (drawn_from, (meta,))))

    def draw(k: int) -> Samples:
        return redraw(spec, types.numpy(), held_out["factors"].numpy(), k)

    # Of images drawn anew: reconstructions of the held-out images would share what no label shows with them.
    drawn = draw(0)
    again = reconstruct(model, torch.from_numpy(drawn.images), conditions, device)
    kept = {"images": again, "type": types, "labels": labels}
    save_tensors(out / "reconstruction" / "heldout.safetensors", "samples", kept, about)
    posteriors = [encode(model, torch.from_numpy(draw(k).images), conditions, device).posterior for k in range(1, draws + 1)]
    stacked = {name: torch.stack([getattr(posterior, name) for posterior in posteriors]) for name in ("mu", "logvar")}
    save_tensors(out / "reconstruction" / "redraws.safetensors", "redrawn latents", stacked, about)

    sweep = rotation_sweep(spec.variant, spec.n_types)
    turned = redraw(spec, sweep.type.numpy(), torch.cat([sweep.labels, torch.ones(len(sweep), 1)], dim=1).numpy())
    for name, samples in (("heldout", drawn), ("sweep", turned)):
        kept = {field: torch.from_numpy(array) for field, array in vars(samples).items()}
        save_tensors(out / "real" / f"{name}.safetensors", "samples", kept, about_real)


if __name__ == "__main__":
    run(sample, GUARD)
