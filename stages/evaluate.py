"""Measure one method's images."""

from pathlib import Path

from stages.command import run
from toycrystals.artifacts import load_tensors, write_json
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec, Samples
from toycrystals.errors import UserError
from toycrystals.metrics.matching import LatticeMatcher
from toycrystals.metrics.summary import summarise


def evaluate(samples: Path, test: Path, out: Path) -> None:
    """Measure images against the held-out samples whose conditions they were made for."""
    grid = load_params().evaluate
    generated, meta = load_tensors(samples, "samples")
    held_out, data = load_tensors(test, "dataset")
    spec = DatasetSpec(**data["spec"])
    n = len(generated["images"])
    same = all(generated[name].equal(held_out[name][:n]) for name in ("type", "labels"))
    if not same or generated["images"].shape != held_out["images"][:n].shape:
        raise UserError(f"{samples}: made for other conditions or sizes than those in {test}; run `dvc repro`")
    matcher = LatticeMatcher(spec.variant, spec.n_types, spec.image_size, grid.theta_step, grid.aspect_step)
    truth = Samples(**{name: tensor.numpy() for name, tensor in held_out.items()})[:n]
    measures = summarise(generated["images"].numpy(), truth, matcher, grid.aspect_step, meta["conditional"])
    write_json(out, measures)


if __name__ == "__main__":
    run(evaluate)
