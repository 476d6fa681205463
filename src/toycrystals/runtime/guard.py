"""What makes a result that of one version of the code and params: neither may change while a stage runs.

DVC takes the hashes of code and params when a stage has ended. An edit in between would be recorded as what made the result,
and `dvc status` would call it up to date.
"""

import os
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from toycrystals.runtime.files import file_md5

PACKAGES = ("toycrystals", "stages")
# What an edit changes, by the name that it is told under.
Snapshot = dict[str, Any]


class Guard:
    """The sources below `root` as they were when it was made, which has to be before any of them is imported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sources = self._read_sources()
        self._read: Callable[[], Snapshot] = dict
        self._before: Snapshot = {}

    def start(self, inputs: Iterable[Path], params: Collection[str]) -> str:
        """Remember the stage's `params`, and the files that `inputs` are or hold; say what is wrong with where code is from."""
        existing = [path for path in inputs if path.exists()]
        self._read = lambda: {**self._read_params(params), **_read_inputs(existing)}
        self._before = self._read()
        if Path.cwd().resolve() != self.root:
            return f"the stages of {self.root} were started in {Path.cwd()}; start them in the root of their own project"
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name.split(".")[0] in PACKAGES and path and not Path(path).resolve().is_relative_to(self.root):
                return f"{name} comes from {path}, expected from {self.root}; unset PYTHONPATH, or leave the other environment"
        return ""

    def changes(self) -> list[str]:
        """The stage's sources, params and inputs that are no longer as they were."""
        loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        sources = [
            name
            for name in _differing(self._sources, self._read_sources())
            if str(self.root / name) in loaded or name.endswith(".yaml")
        ]
        return [*filter(self._is_tracked, sources), *_differing(self._before, self._read())]

    def _read_sources(self) -> Snapshot:
        package, stages = self.root / "src" / "toycrystals", self.root / "stages"
        paths = [*package.rglob("*.py"), *package.rglob("*.yaml"), *stages.glob("*.py")]
        # An editor may keep a link to nothing beside a file.
        kept = [path for path in paths if path.parent.name != "runtime" and path.is_file()]
        return {str(path.relative_to(self.root)): file_md5(path) for path in kept}

    def _read_params(self, names: Iterable[str]) -> Snapshot:
        try:
            content = YAML(typ="safe", pure=True).load(self.root / "params.yaml")
            return {f"params.yaml: {name}": content.get(name) for name in names}
        except (YAMLError, OSError, AttributeError):
            # Whatever an edit in progress leaves there is a change.
            return {}

    def _is_tracked(self, source: str) -> bool:
        """Whether DVC tracks a source for this stage: all priors are imported where params are checked."""
        # Started in a folder below the root, DVC puts the path of dvc.yaml before the name.
        stage, _, item = os.environ.get("DVC_STAGE", "").rpartition(":")[2].partition("@")
        if not stage:
            return True
        try:
            deps = YAML(typ="safe", pure=True).load(self.root / "dvc.yaml")["stages"][stage]["deps"]
        except (YAMLError, OSError, LookupError, TypeError):
            # An edit of dvc.yaml is in progress, too.
            return True
        return any(Path(source).is_relative_to(str(dep).replace("${item.prior}", item)) for dep in deps)


def _read_inputs(paths: Iterable[Path]) -> Snapshot:
    """Size and time of every file that `paths` are or hold."""
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _differing(before: Snapshot, after: Snapshot) -> list[str]:
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]
