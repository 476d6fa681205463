"""Where results come from: git, dvc.lock, the files that are not in git, and the versions that made the models."""

import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from toycrystals.artifacts import load_meta
from toycrystals.errors import UserError
from toycrystals.report.collect import flat
from toycrystals.repository import DVC, clean_environment, git, read_lock

PACKAGES = ("toycrystals", "dvc", "torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "numba", "safetensors")
_KINDS = {"models/vae.safetensors": "VAE", "models/features.safetensors": "feature extractor"}


@dataclass(frozen=True)
class Code:
    """The commit that is checked out, and what differs from it; `problem` says why git cannot tell."""

    commit: str = ""
    subject: str = ""
    changes: tuple[str, ...] = ()  # as `git status --short` prints them
    problem: str = ""


@dataclass(frozen=True)
class Lock:
    """Whether dvc.lock belongs to the code and params: the stages that would run, or why DVC cannot tell."""

    stale: tuple[str, ...] = ()
    problem: str = ""

    @property
    def matches(self) -> bool:
        """Whether nothing would run."""
        return not self.stale and not self.problem


@dataclass(frozen=True)
class Output:
    """A file or folder of dvc.lock that DVC stores: `stage` makes it, `size` is in bytes, `present` is in the workspace."""

    path: str
    stage: str
    md5: str
    size: int
    present: bool


@dataclass(frozen=True)
class Maker:
    """What a model's file says of its making: versions by package; `problem` if it cannot be read, or says nothing."""

    path: str
    versions: dict[str, str]
    problem: str = ""


def read_code(root: Path) -> Code:
    """What git says of `root`."""
    try:
        commit, _, subject = git(root, "log", "-1", "--format=%H%n%s").strip().partition("\n")
        return Code(commit, subject, tuple(git(root, "status", "--short").splitlines()))
    except (OSError, UserError) as error:
        return Code(problem=str(error).removeprefix(f"{root}: "))


def changed_params(root: Path) -> dict[str, tuple[Any, Any]] | None:
    """{dotted name: (value in HEAD, value now)}, a side without it None; None altogether where git cannot tell."""
    try:
        before = _yaml(git(root, "show", "HEAD:./params.yaml"), "HEAD:params.yaml")
    except (OSError, UserError):
        return None
    old, new = flat(before), flat(_yaml((root / "params.yaml").read_text(), "params.yaml"))
    return {name: (old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)}


def check_lock(root: Path) -> Lock:
    """Ask DVC which stages `dvc repro` would run; it changes nothing, and needs no data."""
    if not (root / "dvc.lock").exists():
        return Lock(problem="there is no dvc.lock; run `dvc repro`")
    command = [*DVC, "repro", "--dry", "--allow-missing"]
    done = subprocess.run(command, cwd=root, env=clean_environment(), capture_output=True, text=True, check=False)
    # Where data are missing, DVC ends at the first stage that has to run.
    stale = re.findall(r"(?:Running stage|failed to reproduce) '(.+?)'", done.stdout + done.stderr)
    if done.returncode and not stale:
        return Lock(problem=_last_line(done.stderr))
    return Lock(tuple(dict.fromkeys(stale)))


def read_outputs(root: Path) -> list[Output]:
    """What dvc.lock says of datasets and models. Raises `UserError` if it is no lock."""
    path = root / "dvc.lock"
    if not path.exists():
        return []
    return [
        Output(out, name, md5, stage.sizes.get(md5, 0), (root / out).exists())
        for name, stage in read_lock(path).items()
        for out, md5 in stage.outs.items()
        if not out.startswith("plots/")
    ]


def read_makers(root: Path, outputs: Sequence[Output]) -> list[Maker]:
    """What the models in the workspace say of their making."""
    return [_maker(root, out.path) for out in outputs if out.path.startswith("models/") and out.present]


def _maker(root: Path, path: str) -> Maker:
    try:
        made = load_meta(root / path, _KINDS.get(path, f"{Path(path).stem} prior")).get("made", {})
    except UserError as error:
        return Maker(path, {}, str(error).removeprefix(f"{root / path}: "))
    versions = made.get("versions") if isinstance(made, dict) else None
    if not isinstance(versions, dict):
        return Maker(path, {}, "it does not say what made it")
    return Maker(path, {str(name): str(found) for name, found in versions.items()})


def reader_versions() -> dict[str, str]:
    """The versions that read the files and wrote the report."""
    return {"python": platform.python_version()} | {name: found for name in PACKAGES if (found := _version(name))}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _yaml(text: str, source: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(StringIO(text))
    except YAMLError as error:
        raise UserError(f"{source}: expected YAML, {_last_line(str(error))}") from None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("ERROR: ") if lines else "no message"
