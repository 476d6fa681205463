"""Draw what the models make."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stages.command import run
from toycrystals.artifacts import atomic, load_tensors, read_csv
from toycrystals.dataset import DatasetSpec
from toycrystals.figures import draw_curves, draw_pairs, draw_samples, method_label, save_figure


def load_samples(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of one file of samples."""
    tensors, _ = load_tensors(path, "samples")
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def figures(test: Path, samples: Path, priors: str, vae_curve: Path, diffusion_curve: Path, out: Path) -> None:
    """Draw reconstructions, samples of `priors` (NAME,NAME) beside the truth, rotation sweeps and training curves."""
    names = priors.split(",")
    tensors, meta = load_tensors(test, "dataset")
    variant = DatasetSpec(**meta["spec"]).variant
    n = len(load_samples(samples / "reconstruction" / "heldout.safetensors")["images"])
    held_out = {name: tensor[:n].numpy() for name, tensor in tensors.items()}
    conditions = held_out["type"], held_out["labels"], variant
    truth = ("truth", held_out["images"])
    images = {name: load_samples(samples / name / "heldout.safetensors")["images"] for name in ("reconstruction", *names)}
    drawings = {
        "reconstructions": draw_pairs(truth, ("reconstruction", images.pop("reconstruction")), *conditions),
        "samples": draw_samples(dict([truth]) | images, *conditions),
        "curves": draw_curves(read_csv(vae_curve), read_csv(diffusion_curve)),
    }
    turned = load_samples(samples / "real" / "sweep.safetensors")
    for name in names:
        sweep = load_samples(samples / name / "sweep.safetensors")
        drawings[f"sweep_{name}"] = draw_pairs(
            ("truth", turned["images"]), (method_label(name), sweep["images"]), sweep["type"], sweep["labels"], variant
        )
    for name, figure in drawings.items():
        with atomic(out / f"{name}.png") as temporary:
            save_figure(figure, temporary)


if __name__ == "__main__":
    run(figures)
