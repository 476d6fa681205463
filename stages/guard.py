"""What makes a result that of one version of the code and params: neither may change while a stage runs.

DVC takes the hashes of code and params when a stage has ended. An edit in between would be recorded as what made the result,
and `dvc status` would call it up to date.
"""

import hashlib
import os
import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

PACKAGES = ("toycrystals", "stages")


class Guard:
    """The sources below `root` as they were when it was made, which has to be before any of them is imported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        sources = [*(root / "src" / "toycrystals").rglob("*.py"), *(root / "stages").glob("*.py")]
        self._sources = {path: _digest(path) for path in sources}
        self._params = b""
        self._inputs: dict[Path, dict[Path, tuple[int, int]]] = {}

    def start(self, inputs: Iterable[Path]) -> str:
        """Remember params.yaml and the files that `inputs` are or hold; say what is wrong with where the code comes from."""
        self._params = _content(self.root / "params.yaml")
        self._inputs = {path: _files(path) for path in inputs if path.exists()}
        if Path.cwd().resolve() != self.root:
            return f"the stages of {self.root} were started in {Path.cwd()}; start them in the root of their own project"
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name.split(".")[0] in PACKAGES and path and not Path(path).resolve().is_relative_to(self.root):
                return f"{name} comes from {path}, expected from {self.root}; unset PYTHONPATH, or leave the other environment"
        return ""

    def changes(self) -> list[str]:
        """The imported sources, the stage's params and its inputs that are no longer as they were."""
        loaded = {Path(path) for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))}
        sources = [path for path, digest in self._sources.items() if path in loaded and _digest(path) != digest]
        inputs = [file for path, before in self._inputs.items() for file in _differing(before, _files(path))]
        return [*(str(path.relative_to(self.root)) for path in sources), *self._changed_params(), *map(str, inputs)]

    def _changed_params(self) -> list[str]:
        """What has another value now in params.yaml, of what DVC tracks for this stage; without DVC, of everything."""
        content = _content(self.root / "params.yaml")
        if content == self._params:
            return []
        stage = os.environ.get("DVC_STAGE", "").split("@")[0]
        try:
            before, after = (YAML(typ="safe", pure=True).load(BytesIO(text)) for text in (self._params, content))
            pipeline = YAML(typ="safe", pure=True).load(self.root / "dvc.yaml")
            names = pipeline["stages"][stage].get("params", []) if stage else sorted({*before, *after})
            return [f"params.yaml: {name}" for name in names if _value(before, name) != _value(after, name)]
        except (YAMLError, OSError, KeyError, TypeError, AttributeError):
            # Whatever an edit in progress leaves there is a change.
            return ["params.yaml"]


def _value(params: Any, name: str) -> Any:
    for part in name.split("."):
        params = params[part] if isinstance(params, dict) and part in params else None
    return params


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _digest(path: Path) -> bytes:
    return hashlib.sha256(_content(path)).digest()


def _files(path: Path) -> dict[Path, tuple[int, int]]:
    """What an edit changes: size and time of a file, or of every file in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _differing(before: dict[Path, tuple[int, int]], after: dict[Path, tuple[int, int]]) -> list[Path]:
    return [file for file in {**before, **after} if before.get(file) != after.get(file)]
