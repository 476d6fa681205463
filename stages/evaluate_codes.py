"""Measure one prior's codes."""

from pathlib import Path

from stages.command import run
from stages.loading import load_samples
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.latents import Latents
from toycrystals.metrics.codes import CodeJudge
from toycrystals.metrics.comparison import to_tensors
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.recovery import LatticeRecovery
from toycrystals.metrics.truth import swap_measures


def evaluate_codes(samples: Path, heldout: Path, latents: Path, out: Path) -> None:
    """Measure codes against the codes of the held-out images, and see whom swapped codes obey."""
    params = load_params()
    settings = params.evaluate
    held_out, spec = load_samples(heldout, "held-out list")
    index = load_tensors(heldout, "held-out list")[0]["index"]
    training, test = (Latents.from_tensors(load_tensors(latents / f"{s}.safetensors", "latents")[0]) for s in ("train", "test"))
    generated, meta = load_tensors(samples / "heldout.safetensors", "samples")
    draws, _ = load_tensors(samples / "draws.safetensors", "draws")
    swap, _ = load_tensors(samples / "swap.safetensors", "swapped samples")
    weights = bootstrap_weights(held_out.type, settings.bootstrap)

    candidates = settings.candidates if meta["conditional"] else None
    judge = CodeJudge(spec, training, test[index], candidates, params.seed)
    width = meta["posterior_width"]
    measures = judge(generated["codes"], width, weights)
    rows, decoded_as = swap["row"].numpy(), swap["decoded_as"].numpy()
    if meta["conditional"]:
        measures |= judge.energy_score(draws["row"].numpy(), draws["codes"].numpy(), width, weights)
        recovery = LatticeRecovery(spec.variant, spec.n_types, spec.image_size, settings.theta_step, settings.aspect_step)
        asked_of, told = held_out[rows], held_out[decoded_as]
        found = recovery(unit_images(swap["images"].numpy()), told.type)
        measures |= swap_measures(found, asked_of, told, weights[:, rows])
    tensors, names = to_tensors(measures)
    save_tensors(out, "measures", tensors, {**names, "conditional": meta["conditional"], "posterior_width": width})


if __name__ == "__main__":
    run(evaluate_codes)
