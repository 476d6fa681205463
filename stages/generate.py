"""Draw the dataset and write its splits."""

from dataclasses import asdict
from pathlib import Path

from stages.command import run
from toycrystals.artifacts import TensorWriter, atomic
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec, blocks, tensor_shapes


def generate(train: Path, val: Path, test: Path) -> None:
    """Draw the dataset and write its splits."""
    params = load_params()
    data = params.data
    spec = DatasetSpec(data.variant, data.n_types, data.image_size, params.seed)
    for split, path, n in (("train", train, data.n_train), ("val", val, data.n_val), ("test", test, data.n_test)):
        with (
            atomic(path) as temporary,
            TensorWriter(temporary, "dataset", tensor_shapes(n, data.image_size), {"spec": asdict(spec)}) as writer,
        ):
            for block in blocks(spec, split, n):
                for name, array in vars(block).items():
                    writer.append(name, array)


if __name__ == "__main__":
    run(generate)
