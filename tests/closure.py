"""The project's own modules that a script imports, directly or not, read from the source without running it."""

import ast
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
PRIORS = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["priors"]
# What computes nothing is no dependency: the room that decides no number, and (by name) what makes folders packages.
EXEMPT = "src/toycrystals/runtime"
SHARED = ("__init__", "base", "generator")


def needed(stage: str) -> set[Path]:
    """The modules that a stage imports: those of its script, and of the priors where it finds them by name."""
    scripts = [Path("stages", stage).with_suffix(".py")]
    closure = import_closure(scripts[0])
    if Path("src/toycrystals/priors/base.py") in closure:
        folder = ROOT / "src/toycrystals/priors"
        closure |= set().union(*(import_closure(p.relative_to(ROOT)) for p in folder.glob("*.py") if p.stem not in SHARED))
    return {path for path in closure if not path.is_relative_to(EXEMPT) and path.name != "__init__.py"}


def code_deps(stage: str) -> list[str]:
    """The code that a stage's deps name, files and folders; a prior's own file once for each prior that there is."""
    folder = ROOT / "src/toycrystals/priors"
    names = [path.stem for path in folder.glob("*.py") if path.stem not in SHARED]
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))]
    return [dep.replace("${item.prior}", name) for dep in deps for name in (names if "${" in dep else names[:1])]


def import_closure(script: Path) -> set[Path]:
    """Paths relative to the root: the script, the modules it imports, and the packages that hold them."""
    found: set[Path] = set()
    pending = [script]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += [path for name in _imported_names(ROOT / path) for path in _paths(name)]
    return found


def _imported_names(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _paths(name: str) -> list[Path]:
    """The file of a dotted name and the ``__init__`` of every package above it; nothing for other people's modules."""
    parts = name.split(".")
    base = Path() if parts[0] == "stages" else Path("src")
    if parts[0] not in ("toycrystals", "dvccare", "stages"):
        return []
    candidates = [base.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    candidates.append(base.joinpath(*parts).with_suffix(".py"))
    return [path for path in candidates if (ROOT / path).is_file()]
