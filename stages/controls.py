"""Measure images with known faults."""

from pathlib import Path

import pandas as pd

from stages.command import run
from stages.judging import judge_all, load_extractor
from stages.loading import load_samples
from toycrystals.config import load_params
from toycrystals.metrics.comparison import tidy
from toycrystals.metrics.controls import make_controls
from toycrystals.tables import write_csv


def controls(heldout: Path, train: Path, features: Path, out: Path) -> None:
    """Make the controls and measure each as if a method had made it."""
    settings = load_params().evaluate
    held_out, spec = load_samples(heldout, "held-out list")
    load_extractor(features, spec)
    made = make_controls(spec, held_out, load_samples(train, "dataset")[0])
    measured = judge_all("controls", list(made.values()), heldout, train, features, settings)
    rows = [tidy(name, measures, {}) for name, measures in zip(made, measured, strict=True)]
    write_csv(out, pd.concat(rows)[["method", "metric", "type", "value"]])


if __name__ == "__main__":
    run(controls)
