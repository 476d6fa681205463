"""Measure the diffusion prior's samples against the number of function evaluations."""

from pathlib import Path

import pandas as pd

from stages.command import run
from stages.loading import load_samples
from toycrystals.artifacts import atomic, load_tensors
from toycrystals.conditioning import Conditions
from toycrystals.config import load_params
from toycrystals.device import pick_device
from toycrystals.figures.curves import draw_steps
from toycrystals.figures.style import save_figure
from toycrystals.generation import load_generator
from toycrystals.metrics.features import FeatureExtractor
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.quality import quality
from toycrystals.priors.base import SamplerSettings
from toycrystals.rng import TRAINING, derive_seed
from toycrystals.tables import write_csv


def steps(prior: str, model: Path, vae: Path, heldout: Path, features: Path, out: Path) -> None:
    """Sample `prior` for the held-out conditions with ever more steps, and measure both primary metrics."""
    params = load_params()
    held_out, _ = load_samples(heldout, "held-out list")
    tensors, _ = load_tensors(heldout, "held-out list")
    conditions = Conditions(tensors["type"], tensors["labels"])
    extractor = FeatureExtractor.restore(*load_tensors(features, "feature extractor"))
    weights = bootstrap_weights(held_out.type, params.evaluate.bootstrap)
    seed, device = derive_seed(params.seed, TRAINING, params.training_seed), pick_device()
    tables = []
    for n in params.sample.curve:
        settings = SamplerSettings(n, params.sample.eta, params.sample.guidance)
        generator = load_generator(vae, model, prior, settings, device)
        images, _ = generator(conditions, seed)
        table = quality(images.numpy(), held_out, extractor, weights, params.evaluate.aspect_step, answers=generator.conditional)
        tables.append(table.assign(steps=n))
    table = pd.concat(tables)
    write_csv(out / "steps.csv", table)
    with atomic(out / "steps.png") as temporary:
        save_figure(draw_steps(table), temporary)


if __name__ == "__main__":
    run(steps)
