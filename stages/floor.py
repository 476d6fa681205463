"""Measure what real images score, and images with known faults: what every method stands beside."""

from pathlib import Path

import pandas as pd

from stages import GUARD
from toycrystals.core.artifacts import load_tensors, save_tensors
from toycrystals.core.pool import in_threads
from toycrystals.core.provenance import Origin
from toycrystals.core.tables import write_csv
from toycrystals.crystals.dataset import load_samples, redraw
from toycrystals.metrics.base import ALL, rows_of
from toycrystals.metrics.controls import make_controls
from toycrystals.metrics.images import ImageJudge, Images
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.runtime.config import Floor, Metrics
from toycrystals.runtime.stage import run


def floor(train: Path, heldout: Path, out: Path, metrics: Metrics, floor: Floor) -> None:
    """Draw the held-out conditions anew, again and again, make the controls, and measure each as if a method had made it."""
    origin = Origin("floor", train=train, heldout=heldout)
    held_out, spec = load_samples(*load_tensors(heldout, "held-out list"))
    training, _ = load_samples(*load_tensors(train, "dataset"))
    judge = ImageJudge.fit(spec, held_out, training, metrics)
    made = origin.made({"metrics": metrics.model_dump()})
    save_tensors(out / "judge.safetensors", "judge of images", judge.tensors, made)

    # Draw 0 is the method `real`.
    draws = {str(k): redraw(spec, held_out.type, held_out.factors, k).images for k in range(1, floor.draws + 1)}
    controls = make_controls(spec, held_out, training)
    no_bootstrap = bootstrap_weights(held_out.type, 0)

    def measure(item: tuple[str, Images]) -> pd.DataFrame:
        """Values of images under their name."""
        measures, _ = judge(item[1], no_bootstrap, answers=True)
        return rows_of(item[0], measures)[["method", "metric", "type", "value"]]

    tables = list(in_threads("floor", measure, [*draws.items(), *controls.items()]))
    drawn, faulty = pd.concat(tables[: len(draws)]), pd.concat(tables[len(draws) :])
    write_csv(out / "draws.csv", drawn.rename(columns={"method": "draw"}), exact=True)
    write_csv(out / "controls.csv", faulty[faulty["type"] == ALL], exact=True)


if __name__ == "__main__":
    run(floor, GUARD)
