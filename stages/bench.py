"""What `evaluate` measures with: files on one side, measures on the other, one call an item, for threads to share."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.core.artifacts import Meta, load_meta, load_tensors
from toycrystals.core.device import pick_device
from toycrystals.core.tables import read_csv
from toycrystals.crystals.dataset import load_samples, redraw
from toycrystals.metrics.base import ALL, Measures
from toycrystals.metrics.codes import CodeJudge
from toycrystals.metrics.images import ImageJudge, Images
from toycrystals.metrics.intervals import Estimate, Weights, bootstrap_weights
from toycrystals.metrics.latent import active_units, information, nats
from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.truth import swap_measures
from toycrystals.models.latents import Latents, decode, held_out_codes
from toycrystals.models.vae import VAE, Posterior
from toycrystals.runtime.config import Metrics
from toycrystals.runtime.errors import UserError


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
    def code_judge(self, conditional: bool) -> CodeJudge:
        """The judge of codes, with their conditions or without."""
        candidates = self.metrics.candidates if conditional else None
        return CodeJudge(self.judge.spec, *self.codes_of_data, candidates, self.seed)

    def read(self, name: str, file: str, kind: str) -> dict[str, Tensor]:
        """The tensors of a file of a method."""
        return load_tensors(self.samples / name / f"{file}.safetensors", kind)[0]

    def made(self, name: str) -> tuple[Images, Meta]:
        """The images of a method's first draw and what is said of them. Raises `UserError` if they are for other conditions."""
        path = self.samples / name / "heldout.safetensors"
        tensors, meta = load_tensors(path, "samples")
        images, asked = tensors["images"].numpy(), self.judge.held_out
        if images.shape != asked.images.shape or any(
            not np.array_equal(tensors[field].numpy(), getattr(asked, field)) for field in ("type", "labels")
        ):
            raise UserError(f"{path}: made for other conditions or sizes than those in {self.heldout}; run `dvc repro`")
        return images, meta

    def conditional(self, name: str) -> bool:
        """Whether a method was told conditions, itself or through the decoder."""
        return bool(load_meta(self.samples / name / "heldout.safetensors", "samples")["conditional"])

    def curve(self, name: str) -> list[Path]:
        """The codes of a prior at each number of steps; none of a prior that takes no steps."""
        return sorted((self.samples / name).glob("steps_*.safetensors"))

    @cached_property
    def draws(self) -> int:
        """How often each method was drawn."""
        return len(self.read("reconstruction", "draws", "codes")["codes"])

    def drawn(self, name: str, draw: int) -> Images:
        """The images of a method's draw; that of real images number 0, and those after the floor's."""
        if draw == 0:
            return self.made(name)[0]
        if name == "real":
            held_out = self.judge.held_out
            return redraw(self.judge.spec, held_out.type, held_out.factors, self.floor_draws + draw).images
        return self.decoded(self.read(name, "draws", "codes")["codes"][draw])

    def decoded(self, codes: Tensor) -> Images:
        """Images of codes for the held-out conditions."""
        return decode(self.decoder, codes, self.codes_of_data[1].conditions, pick_device()).numpy()

    @cached_property
    def decoder(self) -> VAE:
        """The VAE."""
        return VAE.restore(*load_tensors(self.vae, "VAE"), self.vae).to(pick_device())

    @cached_property
    def floor_draws(self) -> int:
        """How many draws of real images the floors are measured on."""
        return int(read_csv(self.floor / "draws.csv")["draw"].max())

    def measure_images(self, name: str, draw: int) -> tuple[Measures, pd.DataFrame, NDArray[np.float32]]:
        """Measure the images of a method's draw; the table has a row an image, and so have their features."""
        answers = name == "real" or self.conditional(name)
        images = self.drawn(name, draw)
        return *self.judge(images, self.weights, answers=answers), self.judge.features(images)

    def measure_codes(self, name: str, draw: int) -> Measures:
        """Measure the codes of a prior's draw."""
        return self.code_judge(self.conditional(name))(self.read(name, "draws", "codes")["codes"][draw], self.weights)

    def measure_swap(self, name: str) -> Measures:
        """Whom images obey that were decoded from the codes of one condition under another."""
        swap = self.read(name, "swap", "swapped samples")
        rows, decoded_as = swap["row"].numpy(), swap["decoded_as"].numpy()
        held_out = self.judge.held_out
        told = held_out[decoded_as]
        found = self.judge.recovery(unit_images(swap["images"].numpy()), told.type)
        return swap_measures(found, held_out[rows], told, self.weights[:, rows])

    def measure_redraw(self, conditional: bool, draw: int) -> Measures:
        """Measure the codes of real images drawn anew as if a prior had drawn them; `draw` counts from 1."""
        tensors = self.read("reconstruction", "redraws", "redrawn latents")
        posterior = Posterior(tensors["mu"][draw - 1], tensors["logvar"][draw - 1])
        again = Latents(posterior, self.codes_of_data[1].conditions)
        return self.code_judge(conditional)(held_out_codes(again, self.seed, draw), self.weights[:0])

    def log_density(self, name: str) -> Tensor | None:
        """log p(z | c) of the codes that densities are told by: [n]; None of a prior without one."""
        path = self.samples / name / "density.safetensors"
        return load_tensors(path, "log-densities")[0]["log_prob"] if path.exists() else None

    def measure_density(self, name: str) -> Measures:
        """The rate of a prior; of `reconstruction`, what is known of the encoder's own codes."""
        told = self.read("reconstruction", "density", "log-densities")
        rows, oracle = told["row"].numpy(), told.get("log_oracle")
        beside = told["log_posterior"], oracle, self.judge.held_out.type[rows], self.weights[:, rows]
        if name == "reconstruction":
            units = Estimate(float(active_units(self.codes_of_data[1].posterior)))
            return {**information(*beside), ("active_units", ALL): units}
        log_prob = self.log_density(name)
        return {} if log_prob is None else nats(log_prob, *beside)

    def measure_steps(self, path: Path) -> pd.DataFrame:
        """Both primary metrics of the codes in `path`, drawn with some number of steps: a row a type."""
        tensors, meta = load_tensors(path, "codes")
        measures = self.judge.primary(self.decoded(tensors["codes"]), self.weights, answers=meta["conditional"])
        rows = [[kind, *estimate[:3]] for (metric, kind), estimate in measures.items() if metric == "matched_psnr"]
        table = pd.DataFrame(rows or [[ALL]], columns=["type", "psnr", "low", "high"][: 4 if rows else 1])
        table.loc[table["type"] == ALL, "mmd2"] = measures["mmd2_pca", ALL].value
        return table.assign(method=path.parent.name, steps=meta["steps"])
