"""What `evaluate` measures with: files on one side, measures on the other, one call an item, for threads to share."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.core.artifacts import Meta, load_meta, load_tensors
from toycrystals.core.device import pick_device
from toycrystals.crystals.dataset import load_samples
from toycrystals.metrics.base import ALL, Measures
from toycrystals.metrics.codes import CodeJudge, encoder_measures
from toycrystals.metrics.images import ImageJudge, Images
from toycrystals.metrics.intervals import Weights, bootstrap_weights
from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.truth import swap_measures
from toycrystals.models.latents import Latents, decode, imitated
from toycrystals.models.vae import VAE, Posterior
from toycrystals.runtime.config import Metrics
from toycrystals.runtime.errors import UserError

# How codes are judged: with their conditions or without, and against posteriors of which width.
Way = tuple[bool, float]


@dataclass(frozen=True)
class Bench:
    """Measures what lies in `samples`, beside the `latents` and the judge in `floor`; `bootstrap` replicates an interval."""

    heldout: Path
    vae: Path
    latents: Path
    samples: Path
    floor: Path
    metrics: Metrics
    bootstrap: int
    seed: int

    @cached_property
    def judge(self) -> ImageJudge:
        """The judge of images, with the samples whose conditions everything was made for."""
        held_out, spec = load_samples(*load_tensors(self.heldout, "held-out list"))
        tensors, _ = load_tensors(self.floor / "judge.safetensors", "judge of images")
        return ImageJudge(spec, held_out, tensors, self.metrics)

    @cached_property
    def weights(self) -> Weights:
        """Of the bootstrap, the same for all methods."""
        return bootstrap_weights(self.judge.held_out.type, self.bootstrap)

    @cached_property
    def codes_of_data(self) -> tuple[Latents, Latents]:
        """The training codes, and those of the held-out list."""
        index = load_tensors(self.heldout, "held-out list")[0]["index"]
        train, test = (load_tensors(self.latents / f"{split}.safetensors", "latents")[0] for split in ("train", "test"))
        return Latents.from_tensors(train), Latents.from_tensors(test)[index]

    @lru_cache  # noqa: B019 (one bench a process)
    def code_judge(self, way: Way) -> CodeJudge:
        """The judge of codes."""
        conditional, width = way
        candidates = self.metrics.candidates if conditional else None
        return CodeJudge(self.judge.spec, *self.codes_of_data, candidates, width, self.seed)

    def made(self, name: str) -> tuple[Images, Meta]:
        """The images of a method and what is said of them. Raises `UserError` if they are for other conditions."""
        path = self.samples / name / "heldout.safetensors"
        tensors, meta = load_tensors(path, "samples")
        images, asked = tensors["images"].numpy(), self.judge.held_out
        if images.shape != asked.images.shape or any(
            not np.array_equal(tensors[field].numpy(), getattr(asked, field)) for field in ("type", "labels")
        ):
            raise UserError(f"{path}: made for other conditions or sizes than those in {self.heldout}; run `dvc repro`")
        return images, meta

    def way(self, name: str) -> Way:
        """How a prior's codes are judged."""
        meta = load_meta(self.samples / name / "heldout.safetensors", "samples")
        return meta["conditional"], meta["posterior_width"]

    def curve(self, name: str) -> list[Path]:
        """The codes of a prior at each number of steps; none of a prior that takes no steps."""
        return sorted((self.samples / name).glob("steps_*.safetensors"))

    def measure_images(self, name: str) -> tuple[Measures, pd.DataFrame]:
        """Measure a method's images; the table has a row an image."""
        images, meta = self.made(name)
        return self.judge(images, self.weights, answers=meta["conditional"])

    def measure_codes(self, name: str) -> Measures:
        """Measure a prior's codes, and see whom swapped ones obey."""
        tensors, _ = load_tensors(self.samples / name / "heldout.safetensors", "samples")
        way = self.way(name)
        measures = self.code_judge(way)(tensors["codes"], self.weights)
        if way[0]:
            swap, _ = load_tensors(self.samples / name / "swap.safetensors", "swapped samples")
            rows, decoded_as = swap["row"].numpy(), swap["decoded_as"].numpy()
            held_out = self.judge.held_out
            told = held_out[decoded_as]
            found = self.judge.recovery(unit_images(swap["images"].numpy()), told.type)
            measures |= swap_measures(found, held_out[rows], told, self.weights[:, rows])
        return measures

    def measure_redraw(self, way: Way, draw: int) -> Measures:
        """Measure the codes of real images drawn anew as if a prior had drawn them; `draw` counts from 1."""
        tensors, _ = load_tensors(self.samples / "reconstruction" / "redraws.safetensors", "redrawn latents")
        posterior = Posterior(tensors["mu"][draw - 1], tensors["logvar"][draw - 1])
        again = Latents(posterior, self.codes_of_data[1].conditions)
        return self.code_judge(way)(imitated(again, way[1], self.seed, draw), self.weights[:0])

    def measure_encoder(self) -> Measures:
        """What is known of the encoder's own codes."""
        return encoder_measures(*self.codes_of_data, self.seed)

    def measure_steps(self, path: Path) -> pd.DataFrame:
        """Both primary metrics of the codes in `path`, drawn with some number of steps: a row a type."""
        tensors, meta = load_tensors(path, "codes")
        device = pick_device()
        vae = VAE.restore(*load_tensors(self.vae, "VAE"), self.vae).to(device)
        images = decode(vae, tensors["codes"], self.codes_of_data[1].conditions, device)
        measures = self.judge.primary(images.numpy(), self.weights, answers=meta["conditional"])
        rows = [[kind, *estimate[:3]] for (metric, kind), estimate in measures.items() if metric == "matched_psnr"]
        table = pd.DataFrame(rows or [[ALL]], columns=["type", "psnr", "low", "high"][: 4 if rows else 1])
        table.loc[table["type"] == ALL, ["mmd2", "mmd2_low", "mmd2_high"]] = measures["mmd2_pca", ALL][:3]
        return table.assign(method=path.parent.name, steps=meta["steps"])

    def features(self, name: str) -> NDArray[np.float32]:
        """The features of a method's images."""
        return self.judge.features(self.made(name)[0])
