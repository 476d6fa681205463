"""Measure one method's images."""

from pathlib import Path

import torch

from stages.command import run
from stages.judging import load_judge
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.errors import UserError
from toycrystals.metrics.comparison import to_tensors
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.tables import write_csv


def evaluate(samples: Path, heldout: Path, train: Path, features: Path, out: Path) -> None:
    """Measure images against the held-out samples whose conditions they were made for."""
    settings = load_params().evaluate
    generated, meta = load_tensors(samples, "samples")
    judge = load_judge(heldout, train, features, settings)
    held_out, images = judge.held_out, generated["images"].numpy()
    same = len(images) == len(held_out) and all(
        (generated[name].numpy() == getattr(held_out, name)).all() for name in ("type", "labels")
    )
    if images.shape != held_out.images.shape or not same:
        raise UserError(f"{samples}: made for other conditions or sizes than those in {heldout}; run `dvc repro`")
    weights = bootstrap_weights(held_out.type, settings.bootstrap)
    report = judge(images, weights, answers=meta["conditional"])
    tensors, names = to_tensors(report.measures)
    tensors |= {"pca": torch.from_numpy(report.features["pca"]), "confusion": torch.from_numpy(report.confusion)}
    save_tensors(out / "measures.safetensors", "measures", tensors, names)
    write_csv(out / "images.csv", report.table)


if __name__ == "__main__":
    run(evaluate)
