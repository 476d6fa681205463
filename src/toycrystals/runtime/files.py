"""Files, whatever is in them: written whole or not at all, and known by their MD5."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toycrystals.runtime.errors import UserError


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


def require_file(path: Path, expected: str, advice: str) -> None:
    """Raises `UserError` if there is no file at `path`."""
    if not path.is_file():
        raise UserError(f"{path}: expected {expected}, found {'a folder' if path.is_dir() else 'nothing'}; {advice}")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def file_md5(path: Path) -> str:
    """The MD5 that DVC knows a file by. Raises `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
