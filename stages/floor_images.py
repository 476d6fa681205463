"""Measure what real images score."""

from pathlib import Path

import pandas as pd

from stages.command import run
from stages.judging import judge_all, load_extractor
from stages.loading import load_samples
from toycrystals.config import load_params
from toycrystals.dataset import redraw
from toycrystals.metrics.comparison import draw_values
from toycrystals.tables import write_csv


def floor_images(heldout: Path, train: Path, features: Path, out: Path) -> None:
    """Draw the held-out conditions anew, again and again, and measure each draw as if a method had made it."""
    settings = load_params().evaluate
    held_out, spec = load_samples(heldout, "held-out list")
    load_extractor(features, spec)
    # Draw 0 is the method `real`.
    draws = range(1, settings.floor_draws + 1)
    images = [redraw(spec, held_out.type, held_out.factors, draw).images for draw in draws]
    measured = judge_all("floor_images", images, heldout, train, features, settings)
    write_csv(out, pd.concat([draw_values(draw, measures) for draw, measures in zip(draws, measured, strict=True)]))


if __name__ == "__main__":
    run(floor_images)
