"""Measure what the codes of real images score."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from stages.command import run
from stages.loading import load_samples
from toycrystals.artifacts import load_tensors, read_json
from toycrystals.conditioning import Conditions
from toycrystals.config import load_params
from toycrystals.dataset import redraw
from toycrystals.device import pick_device
from toycrystals.heldout import EVERY
from toycrystals.latents import Latents, encode, imitated
from toycrystals.metrics.codes import CodeJudge
from toycrystals.metrics.comparison import draw_values
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.tables import write_csv
from toycrystals.vae import VAE


def floor_codes(heldout: Path, vae: Path, latents: Path, samples: Path, priors: str, out: Path) -> None:
    """Draw the held-out conditions anew, again and again, and measure their codes as if a prior had drawn them.

    Writes the floors for each way in which the codes of `priors` (NAME,NAME) are to be judged, and what is known of the
    encoder's codes alone, which are judged in none.
    """
    params = load_params()
    held_out, spec = load_samples(heldout, "held-out list")
    index = load_tensors(heldout, "held-out list")[0]["index"]
    training, test = (Latents.from_tensors(load_tensors(latents / f"{s}.safetensors", "latents")[0]) for s in ("train", "test"))
    model, device = VAE.restore(*load_tensors(vae, "VAE")), pick_device()
    model.to(device)
    about = [read_json(samples / name / "about.json") for name in priors.split(",")]
    ways = sorted({(prior["conditional"], prior["posterior_width"]) for prior in about})
    judges = {
        conditional: CodeJudge(spec, training, test[index], params.evaluate.candidates if conditional else None, params.seed)
        for conditional, _ in ways
    }
    no_bootstrap = bootstrap_weights(held_out.type, 0)
    conditions = Conditions(torch.from_numpy(held_out.type), torch.from_numpy(held_out.labels))

    rows, n_draws = np.arange(0, len(held_out), EVERY), min(params.sample.draws, params.evaluate.floor_draws)
    encoder = next(iter(judges.values())).encoder_measures()
    tables = [draw_values(0, encoder).assign(conditional="", posterior_width=np.nan)]
    again = []
    for draw in range(1, params.evaluate.floor_draws + 1):
        images = redraw(spec, held_out.type, held_out.factors, draw).images
        again.append(encode(model, torch.from_numpy(images), conditions, device))
    for conditional, width in ways:
        judge = judges[conditional]
        codes = [imitated(latents, width, params.seed, draw) for draw, latents in enumerate(again, start=1)]
        for draw, drawn in enumerate(codes, start=1):
            # Other draws stand in for the several codes that a prior draws for one condition.
            several = torch.stack([codes[(draw + k) % len(codes)][::EVERY] for k in range(n_draws)], dim=1)
            measures = judge(drawn, width, no_bootstrap)
            if conditional:
                measures |= judge.energy_score(rows, several.numpy(), width, no_bootstrap)
            tables.append(draw_values(draw, measures).assign(conditional=str(conditional), posterior_width=width))
    write_csv(out, pd.concat(tables))


if __name__ == "__main__":
    run(floor_codes)
