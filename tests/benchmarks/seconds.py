"""Quality against wall-clock: ``python -m tests.benchmarks.seconds``, after `dvc repro`, on an otherwise idle machine.

Times change from run to run, so this is no stage: it writes plots/seconds/, which DVC does not track. The quality is that of
plots/steps/steps.csv; the time is for 4,096 codes, the least of three.
"""

import time
from pathlib import Path

import pandas as pd
import torch

from toycrystals.artifacts import load_tensors
from toycrystals.conditioning import Conditions
from toycrystals.config import load_params
from toycrystals.device import pick_device
from toycrystals.figures.curves import draw_wall_clock
from toycrystals.figures.style import save_figure
from toycrystals.generation import load_generator
from toycrystals.priors.base import SamplerSettings
from toycrystals.tables import write_csv

ROOT = Path(__file__).parents[2]
N, REPEATS = 4096, 3


def seconds(steps: int, device: torch.device) -> float:
    """The least time of `REPEATS` for N codes of the diffusion prior."""
    sample = load_params(ROOT / "params.yaml").sample
    settings = SamplerSettings(steps, sample.eta, sample.guidance)
    models = ROOT / "models"
    generator = load_generator(models / "vae.safetensors", models / "priors/diffusion.safetensors", "diffusion", settings, device)
    held_out, _ = load_tensors(ROOT / "data/heldout.safetensors", "held-out list")
    rows = torch.arange(N) % len(held_out["type"])
    conditions = Conditions(held_out["type"], held_out["labels"])[rows]
    generator.codes(conditions[:64], 0)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        generator.codes(conditions, 0)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Time every number of steps and draw quality against time."""
    table = pd.read_csv(ROOT / "plots/steps/steps.csv")
    table = table[table["type"] == "all"].drop(columns="type")
    device = pick_device()
    table["seconds"] = [seconds(int(steps), device) for steps in table["steps"]]
    out = ROOT / "plots/seconds"
    write_csv(out / "seconds.csv", table)
    save_figure(draw_wall_clock(table), out / "seconds.png")


if __name__ == "__main__":
    main()
