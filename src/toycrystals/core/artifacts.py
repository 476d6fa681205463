"""Tensors to disk and back. Writes are atomic; reads are checked.

They are safetensors files with one metadata key, a JSON object that says what the file is (`kind`) and how it was made.
Nothing that changes from run to run enters a file, so equal content means equal bytes.
"""

import hashlib
import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from toycrystals.runtime.errors import UserError
from toycrystals.runtime.files import atomic, require_file

Meta = dict[str, Any]
_KEY = "toycrystals"


def save_tensors(path: Path, kind: str, tensors: Mapping[str, Tensor], meta: Meta) -> None:
    """Write `tensors` as a safetensors file of `kind`; `meta` is JSON."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        # By way of memory: given a path, the library has errors and permissions of its own.
        temporary.write_bytes(save(tensors, {_KEY: _dumps({**meta, "kind": kind})}))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], Meta]:
    """Tensors and metadata of a file that `save_tensors` or `TensorWriter` wrote.

    Raises `UserError` if the file is missing, truncated, foreign or of another kind.
    """
    with _open(path, kind) as (file, meta):
        return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 (not a dict)


def load_meta(path: Path, kind: str = "") -> Meta:
    """The metadata alone, of a file of `kind` or of any kind; raises as `load_tensors`."""
    with _open(path, kind) as (_, meta):
        return meta


@contextmanager
def _open(path: Path, kind: str) -> Iterator[tuple[Any, Meta]]:
    expected = f"a {kind or 'toycrystals'} file"
    require_file(path, expected, "run `dvc repro` or `dvc pull` first")
    try:
        with safe_open(path, framework="pt") as file:
            meta = _parse((file.metadata() or {}).get(_KEY, ""))
            found = meta.get("kind", "a file of another program")
            if not meta or kind not in ("", found):
                raise UserError(f"{path}: expected {expected}, found {found}; run `dvc repro` to make it again")
            yield file, meta
    except SafetensorError as error:
        reason = f"expected {expected}, found one that is truncated or no safetensors ({error})"
        raise UserError(f"{path}: {reason}; delete it and run `dvc repro`") from None


def _parse(text: str) -> Meta:
    """The object that is written in JSON; an empty one if it is something else."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


_DTYPES = {"uint8": "U8", "int64": "I64", "float32": "F32"}


class TensorWriter:
    """Write a safetensors file piece by piece, so that memory does not grow with it.

    `shapes` gives name -> (dtype name, shape); pieces are appended along the first axis.
    """

    def __init__(self, path: Path, kind: str, shapes: Mapping[str, tuple[str, tuple[int, ...]]], meta: Meta) -> None:
        header: dict[str, Any] = {"__metadata__": {_KEY: _dumps({**meta, "kind": kind})}}
        self._cursor: dict[str, int] = {}
        self._end: dict[str, int] = {}
        end = 0
        # The format aligns tensors by descending element size.
        for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (-np.dtype(item[1][0]).itemsize, item[0])):
            start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
            header[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
            self._cursor[name], self._end[name] = start, end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._start = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def append(self, name: str, array: NDArray[Any]) -> None:
        """Add rows to tensor `name`."""
        self._file.seek(self._start + self._cursor[name])
        self._file.write(np.ascontiguousarray(array).data)
        self._cursor[name] += array.nbytes

    def __enter__(self) -> "TensorWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None and self._cursor != self._end:
            raise ValueError(f"incomplete tensors: wrote up to {self._cursor}, expected {self._end}")


def save_pt(path: Path, tensors: Mapping[str, Tensor | str]) -> None:
    """Write a dictionary of tensors, and of text about them, with ``torch.save``."""
    # By way of memory: given a path, torch puts the temporary file's name into the content, and a full disk is no OSError.
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_pt(path: Path) -> dict[str, Any]:
    """The dictionary in a ``torch.save`` file, loaded with ``weights_only``. Raises `UserError` if it is anything else."""
    require_file(path, "a .pt file", "check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception:
        found = "one that is damaged or holds other objects"
        raise UserError(f"{path}: expected a .pt file of plain tensors, found {found}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a .pt file with a dictionary of tensors, found {type(content).__name__}")
    return content


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and contents: says which model an artifact was made with."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _dumps(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
