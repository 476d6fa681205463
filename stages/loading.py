"""Files of samples as the library's samples."""

from pathlib import Path

from toycrystals.artifacts import load_tensors
from toycrystals.dataset import DatasetSpec, Samples


def load_samples(path: Path, kind: str) -> tuple[Samples, DatasetSpec]:
    """The samples in a file of `kind`, and what they were drawn from."""
    tensors, meta = load_tensors(path, kind)
    return Samples(*(tensors[name].numpy() for name in ("images", "type", "labels", "factors"))), DatasetSpec(**meta["spec"])
