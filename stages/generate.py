"""Draw the dataset, and choose the conditions that everything is measured on."""

from dataclasses import asdict
from pathlib import Path

import torch

from stages import GUARD
from toycrystals.core.artifacts import TensorWriter, load_tensors, save_tensors
from toycrystals.core.provenance import Origin
from toycrystals.crystals.dataset import DatasetSpec, blocks, tensor_shapes
from toycrystals.crystals.heldout import stratified_rows
from toycrystals.runtime.config import Data
from toycrystals.runtime.files import atomic
from toycrystals.runtime.stage import run


def generate(train: Path, val: Path, test: Path, heldout: Path, seed: int, data: Data) -> None:
    """Write the splits, and a stratified part of the test split with the rows (`index`) that it was taken from."""
    spec = DatasetSpec(data.variant, data.n_types, data.image_size, seed)
    for split, path, n in (("train", train, data.n_train), ("val", val, data.n_val), ("test", test, data.n_test)):
        with (
            atomic(path) as temporary,
            TensorWriter(temporary, "dataset", tensor_shapes(n, data.image_size), {"spec": asdict(spec)}) as writer,
        ):
            for block in blocks(spec, split, n):
                for name, array in vars(block).items():
                    writer.append(name, array)

    origin = Origin("generate", test=test)
    tensors, _ = load_tensors(test, "dataset")
    types, theta = tensors["type"].numpy(), tensors["factors"][:, 1].numpy()
    index = torch.from_numpy(stratified_rows(types, theta, data.n_heldout, spec.n_types, test))
    chosen = {name: tensor[index] for name, tensor in tensors.items()}
    made = origin.made({"data": {"n_heldout": data.n_heldout}}, data={**asdict(spec), "n": len(types), "md5": origin.md5("test")})
    save_tensors(heldout, "held-out list", {**chosen, "index": index}, {"spec": asdict(spec), **made})


if __name__ == "__main__":
    run(generate, GUARD)
