"""Where results come from: git, dvc.lock, the files that are not in git, and the versions that made the models."""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dvccare.repository import DVC, clean_environment, git, read_lock
from toycrystals.core import provenance
from toycrystals.core.artifacts import load_meta
from toycrystals.runtime.errors import UserError


class Code(NamedTuple):
    """The commit that is checked out, and what differs from it; `problem` says why git cannot tell."""

    commit: str = ""
    subject: str = ""
    changes: Sequence[str] = ()  # as `git status --short` prints them
    problem: str = ""


def trace(root: Path) -> dict[str, Any]:
    """All that git, DVC and the models in the workspace tell. Raises `UserError` if dvc.lock is none."""
    outputs, (stale, problem) = read_outputs(root), check_lock(root)
    models = [out["path"] for out in outputs if out["path"].startswith("models/") and out["present"]]
    return {
        "code": read_code(root),
        "stale": stale,
        "lock_problem": problem,
        "changed": changed_params(root),
        "outputs": outputs,
        "makers": {path: read_maker(root / path) for path in models},
    }


def read_code(root: Path) -> Code:
    """What git says of `root`."""
    try:
        commit, _, subject = git(root, "log", "-1", "--format=%H%n%s").strip().partition("\n")
        return Code(commit, subject, git(root, "status", "--short").splitlines())
    except (OSError, UserError) as error:
        return Code(problem=str(error).removeprefix(f"{root}: "))


def changed_params(root: Path) -> dict[str, tuple[Any, Any]] | None:
    """{dotted name: (value in HEAD, value now)}, a side without it None; None altogether where git cannot tell."""
    yaml = YAML(typ="safe", pure=True)
    try:
        params = yaml.load(git(root, "show", "HEAD:./params.yaml")), yaml.load(root / "params.yaml")
    except (OSError, UserError, YAMLError):
        return None
    old, new = (pd.json_normalize(tree or {}).to_dict("records")[0] for tree in params)
    return {str(name): (old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)}


def check_lock(root: Path) -> tuple[list[str], str]:
    """The stages that `dvc repro` would run, or why DVC cannot tell; it changes nothing, and needs no data."""
    if not (root / "dvc.lock").exists():
        return [], "there is no dvc.lock; run `dvc repro`"
    command = [*DVC, "repro", "--dry", "--allow-missing"]
    done = subprocess.run(command, cwd=root, env=clean_environment(), capture_output=True, text=True, check=False)
    # Where data are missing, DVC ends at the first stage that has to run.
    stale = re.findall(r"(?:Running stage|failed to reproduce) '(.+?)'", done.stdout + done.stderr)
    if done.returncode == 0 or stale:
        return list(dict.fromkeys(stale)), ""
    said = done.stderr.strip() or f"dvc ended with {done.returncode}"
    return [], said.splitlines()[-1].removeprefix("ERROR: ")


def read_outputs(root: Path) -> list[dict[str, Any]]:
    """The datasets and models that dvc.lock knows, `present` in the workspace or not. Raises `UserError` if it is no lock."""
    path = root / "dvc.lock"
    return [
        {"path": out, "stage": name, "size": stage.sizes.get(md5, 0), "md5": md5, "present": (root / out).exists()}
        for name, stage in (read_lock(path) if path.exists() else {}).items()
        for out, md5 in stage.outs.items()
        if not out.startswith("plots/")
    ]


def read_maker(path: Path) -> dict[str, str] | str:
    """{package: version} of what made a model, or why its file does not say."""
    try:
        return {str(name): str(found) for name, found in load_meta(path)["made"]["versions"].items()}
    except UserError as error:
        return str(error).removeprefix(f"{path}: ")
    except (LookupError, TypeError, AttributeError):
        return "it does not say what made it"


def versions(makers: Mapping[str, dict[str, str] | str], libraries: Iterable[str]) -> pd.DataFrame:
    """A row a package, a column for each set of versions that models were made with, and one for this page."""
    models: dict[str, list[str]] = {}
    for path, made in makers.items():
        if not isinstance(made, str):
            models.setdefault(str(sorted(made.items())), []).append(path)
    columns = {"made " + ", ".join(Path(path).stem for path in paths): makers[paths[0]] for paths in models.values()}
    columns["made this page"] = provenance.versions() | {"dvc": version("dvc")} | dict(name.rsplit("@", 1) for name in libraries)
    return pd.DataFrame(columns).fillna("")
