"""Draw what the models make."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stages.command import run
from stages.loading import load_samples
from toycrystals.artifacts import atomic, load_tensors
from toycrystals.figures.curves import draw_curves
from toycrystals.figures.images import draw_pairs, draw_samples
from toycrystals.figures.style import method_label, save_figure
from toycrystals.tables import read_csv


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of one file of samples."""
    tensors, _ = load_tensors(path, "samples")
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def figures(heldout: Path, samples: Path, priors: str, vae_curve: Path, diffusion_curve: Path, out: Path) -> None:
    """Draw reconstructions, samples of `priors` (NAME,NAME) beside the truth, rotation sweeps and training curves."""
    names = priors.split(",")
    held_out, spec = load_samples(heldout, "held-out list")
    conditions = held_out.type, held_out.labels, spec.variant
    truth, drawn = ("truth", held_out.images), ("truth", arrays(samples / "real" / "heldout.safetensors")["images"])
    images = {name: arrays(samples / name / "heldout.safetensors")["images"] for name in ("reconstruction", *names)}
    drawings = {
        "reconstructions": draw_pairs(drawn, ("reconstruction", images.pop("reconstruction")), *conditions),
        "samples": draw_samples(dict([truth]) | images, *conditions),
        "curves": draw_curves(read_csv(vae_curve), read_csv(diffusion_curve)),
    }
    turned = arrays(samples / "real" / "sweep.safetensors")
    for name in names:
        sweep = arrays(samples / name / "sweep.safetensors")
        drawings[f"sweep_{name}"] = draw_pairs(
            ("truth", turned["images"]), (method_label(name), sweep["images"]), sweep["type"], sweep["labels"], spec.variant
        )
    for name, figure in drawings.items():
        with atomic(out / f"{name}.png") as temporary:
            save_figure(figure, temporary)


if __name__ == "__main__":
    run(figures)
