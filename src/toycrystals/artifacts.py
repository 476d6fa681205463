"""What goes to disk and comes back: tensors, JSON, CSV, figures. Writes are atomic; reads are checked.

Tensors are safetensors files with one metadata key, a JSON object that says what the file is (`kind`) and how it was made.
Nothing that changes from run to run enters a file, so equal content means equal bytes.
"""

import hashlib
import io
import json
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from toycrystals.errors import UserError

Meta = dict[str, Any]
_KEY = "toycrystals"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Raises what the block raises; an `OSError` that names no file, or the temporary one, names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # A write to an open file does not say where.
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _readable(path: Path) -> None:
    """Give a file that a library made for its owner alone the permissions of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def save_tensors(path: Path, kind: str, tensors: Mapping[str, Tensor], meta: Meta) -> None:
    """Write `tensors` as a safetensors file of `kind`; `meta` is JSON."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary, _file_errors_are_oserrors():
        save_file(tensors, temporary, metadata={_KEY: _dumps({**meta, "kind": kind})})
        _readable(temporary)


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], Meta]:
    """Tensors and metadata of a file that `save_tensors` or `TensorWriter` wrote.

    Raises `UserError` if the file is missing, truncated, foreign or of another kind.
    """
    with _open(path, kind) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _meta(file)  # noqa: SIM118 (not a dict)


def load_meta(path: Path, kind: str = "") -> Meta:
    """The metadata alone, of a file of `kind` or of any kind; raises as `load_tensors`."""
    with _open(path, kind) as file:
        return _meta(file)


def _meta(file: Any) -> Meta:
    content = json.loads((file.metadata() or {}).get(_KEY, "{}"))
    return content if isinstance(content, dict) else {}


@contextmanager
def _open(path: Path, kind: str) -> Iterator[Any]:
    if not path.is_file():
        raise UserError(f"{path}: expected {_a(kind)} file, found nothing; run `dvc repro` or `dvc pull` first")
    try:
        with safe_open(path, framework="pt") as file:
            found = _meta(file).get("kind", "")
            if not found or kind not in ("", found):
                came = found or "a file of another program"
                raise UserError(f"{path}: expected {_a(kind)} file, found {came}; run `dvc repro` to make it again")
            yield file
    except (SafetensorError, json.JSONDecodeError) as error:
        reason = f"expected {_a(kind)} file, found one that is truncated or no safetensors ({error})"
        raise UserError(f"{path}: {reason}; delete it and run `dvc repro`") from None


def _a(kind: str) -> str:
    return f"a {kind}" if kind else "a toycrystals"


@contextmanager
def _file_errors_are_oserrors() -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        if (code := re.search(r"os error (\d+)", str(error))) is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None


_DTYPES = {"uint8": "U8", "int64": "I64", "float32": "F32"}


class TensorWriter:
    """Write a safetensors file piece by piece, so that memory does not grow with it.

    `shapes` gives name -> (dtype name, shape); pieces are appended along the first axis.
    """

    def __init__(self, path: Path, kind: str, shapes: Mapping[str, tuple[str, tuple[int, ...]]], meta: Meta) -> None:
        header: dict[str, Any] = {"__metadata__": {_KEY: _dumps({**meta, "kind": kind})}}
        offset = 0
        self._cursor: dict[str, int] = {}
        self._end: dict[str, int] = {}
        # The format aligns tensors by descending element size.
        for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (-np.dtype(item[1][0]).itemsize, item[0])):
            size = math.prod(shape) * np.dtype(dtype).itemsize
            header[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
            self._cursor[name], self._end[name] = offset, offset + size
            offset += size
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


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `UserError` if it is missing or no JSON."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: expected a JSON file, found nothing; run `dvc repro` first") from None
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, {error}; delete it and run `dvc repro`") from None


def save_pt(path: Path, tensors: Mapping[str, Tensor | str]) -> None:
    """Write a dictionary of tensors, and of text about them, with ``torch.save``."""
    # By way of memory: given a path, torch puts the temporary file's name into the content, and a full disk is no OSError.
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_pt(path: Path) -> dict[str, Any]:
    """The dictionary in a ``torch.save`` file, loaded with ``weights_only``. Raises `UserError` if it is anything else."""
    if not path.is_file():
        raise UserError(f"{path}: expected a .pt file, found nothing; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:
        raise UserError(
            f"{path}: expected a .pt file of plain tensors, found one that is damaged or holds other objects"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a dictionary of tensors, found {type(content).__name__}")
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
