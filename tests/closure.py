"""The project's own modules that a script imports, directly or not, read from the source without running it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Its values reach a stage as params, which DVC tracks one by one; as a dependency, every comment in it would retrain a model.
EXEMPT = Path("src/toycrystals/config.py")


def import_closure(script: Path) -> set[Path]:
    """Paths relative to the root: the script, the modules it imports, and the packages that hold them."""
    found: set[Path] = set()
    pending = [script]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        pending += imports(path)
    return found - {EXEMPT}


def imports(module: Path) -> list[Path]:
    """The project's own modules that `module` itself imports, as paths relative to the root."""
    return [path for name in _imported_names(ROOT / module) for path in _paths(name)]


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
    base = Path("src") if parts[0] == "toycrystals" else Path()
    if parts[0] not in ("toycrystals", "stages"):
        return []
    candidates = [base.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    candidates.append(base.joinpath(*parts).with_suffix(".py"))
    return [path for path in candidates if (ROOT / path).is_file()]
