"""The DVC project in a folder: git and DVC as subprocesses, its locks, and what its dvc.lock says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from zc.lockfile import LockError, LockFile

from toycrystals.runtime.errors import UserError

# DVC as a command, for its Python modules are no stable interface.
DVC = (sys.executable, "-m", "dvc")
_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "DVC_ROOT", "PYTHONPATH", "PYTHONHOME"}


@dataclass(frozen=True)
class LockedStage:
    """A stage of dvc.lock: its command, its params, and the MD5 of each dependency and output by path."""

    cmd: Any
    params: Any
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    sizes: Mapping[str, int]  # bytes of outputs, by MD5


def find_root(folder: Path) -> Path:
    """The DVC project that `folder` lies in. Raises `UserError` if there is none."""
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / ".dvc").is_dir() and (candidate / "dvc.yaml").is_file():
            return candidate
    raise UserError(f"{folder}: expected a DVC project (a folder with .dvc and dvc.yaml) here or above; change to one")


def clean_environment() -> dict[str, str]:
    """The environment without what would point git, DVC or a stage elsewhere, and with the running interpreter first."""
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return kept


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`; what it prints. Raises `UserError` with git's own complaint."""
    return _run(("git", *arguments), folder)


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC in `folder`; what it prints. Raises `UserError` with DVC's own complaint."""
    return _run((*DVC, *arguments), folder)


def _run(command: tuple[str, ...], folder: Path) -> str:
    try:
        # In English, for what is said is searched.
        env = clean_environment() | {"LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: expected it on the PATH; install it") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        # Warnings may stand before the complaint, and hints after it.
        complaints = [line for line in said if line.lower().startswith(("error", "fatal"))] or said
        raise UserError(f"{folder}: {complaints[0] if complaints else f'{command[0]} ended with {done.returncode}'}")
    return done.stdout


def read_lock(path: Path) -> dict[str, LockedStage]:
    """The stages of a dvc.lock by name: none if there is no such file. Raises `UserError` if it is no lock."""
    try:
        return {name: _locked(stage) for name, stage in YAML(typ="safe", pure=True).load(path)["stages"].items()}
    except FileNotFoundError:
        return {}
    except (YAMLError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        raise UserError(f"{path}: expected a lock as `dvc repro` writes it; restore it with `git checkout -- dvc.lock`") from None


def _locked(stage: dict[str, Any]) -> LockedStage:
    deps, outs = ([entry for entry in stage.get(kind, []) if "md5" in entry] for kind in ("deps", "outs"))
    read, made = ({entry["path"]: entry["md5"] for entry in entries} for entries in (deps, outs))
    return LockedStage(stage["cmd"], stage.get("params", {}), read, made, {entry["md5"]: entry.get("size", 0) for entry in outs})


def stage_of(path: Path) -> str | None:
    """The stage that has `path`, or a folder that it lies in, as an output; None if none has, or it is in no project.

    Raises `UserError` if the project has a lock that cannot be read.
    """
    # An output itself may be a link, into DVC's cache.
    folder = path.parent.resolve()
    try:
        root = find_root(folder)
    except UserError:
        return None
    inside = PurePosixPath((folder / path.name).relative_to(root))
    names = {str(name) for name in (inside, *inside.parents)}
    return next((name for name, stage in read_lock(root / "dvc.lock").items() if names & {*stage.outs}), None)


def paths_in_git(root: Path) -> set[str]:
    """Every path below `root` that git tracks, and the folders that hold them."""
    files = [PurePosixPath(name) for name in git(root, "ls-files", "-z").split("\0") if name]
    return {str(path) for file in files for path in (file, *file.parents)}


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Keep other DVC commands of the project waiting during the block.

    Raises `UserError` if one is at work, or may be, here or in an experiment's copy of the project.
    """
    folder = root / ".dvc" / "tmp"
    folder.mkdir(exist_ok=True)
    busy = UserError(f"{root}: another DVC command is at work here; run this one again when it has ended")
    try:
        with closing(LockFile(str(folder / "lock"))):
            # While DVC waits for a stage it gives its lock back, and lists itself in a second file instead; so does an experiment
            # that runs in a copy of the whole repository, in which the project lies as deep as here, with the same cache.
            lists = [Path(top, "rwlock") for top, _, files in os.walk(folder) if "rwlock" in files]
            if any(psutil.pid_exists(int(pid)) for path in lists for pid in re.findall(r'"pid":\s*(\d+)', path.read_text())):
                raise busy
            yield
    except LockError:
        raise busy from None
