"""Choose the conditions that everything is measured on."""

from pathlib import Path

import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec
from toycrystals.heldout import stratified_rows
from toycrystals.provenance import Origin


def hold_out(test: Path, out: Path) -> None:
    """Write a stratified part of the test split, with the rows (`index`) that it was taken from."""
    origin, n = Origin("hold_out", test=test), load_params().sample.n
    tensors, meta = load_tensors(test, "dataset")
    spec = DatasetSpec(**meta["spec"])
    index = torch.from_numpy(stratified_rows(tensors["type"].numpy(), tensors["factors"][:, 1].numpy(), n, spec.n_types, test))
    chosen = {name: tensor[index] for name, tensor in tensors.items()}
    data = {**meta["spec"], "n": len(tensors["type"]), "md5": origin.md5("test")}
    about = {"spec": meta["spec"], **origin.made({"sample": {"n": n}}, data=data)}
    save_tensors(out, "held-out list", {**chosen, "index": index}, about)


if __name__ == "__main__":
    run(hold_out)
