"""Choose the conditions that everything is measured on."""

from pathlib import Path

import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec
from toycrystals.heldout import stratified_rows


def hold_out(test: Path, out: Path) -> None:
    """Write a stratified part of the test split, with the rows (`index`) that it was taken from."""
    tensors, meta = load_tensors(test, "dataset")
    spec, n = DatasetSpec(**meta["spec"]), load_params().sample.n
    index = torch.from_numpy(stratified_rows(tensors["type"].numpy(), tensors["factors"][:, 1].numpy(), n, spec.n_types, test))
    chosen = {name: tensor[index] for name, tensor in tensors.items()}
    save_tensors(out, "held-out list", {**chosen, "index": index}, {"spec": meta["spec"]})


if __name__ == "__main__":
    run(hold_out)
