"""The params that a stage reads, found in its source without running it: whole sections, and keys of sections."""

import ast
from pathlib import Path

from closure import ROOT, import_closure

from toycrystals.config import Params

SECTIONS = {field.annotation.__name__: name for name, field in Params.model_fields.items() if field.annotation is not int}
# Where stages share what they do with a section that was handed over.
SHARED = Path("stages/judging.py")


def params_read(script: Path) -> set[str]:
    """`section.key`, or `section` where it is handed on, of everything that is read from params in `script` and `SHARED`."""
    modules = {script} | ({SHARED} & import_closure(script))
    read = set().union(*(_read_in(ast.parse((ROOT / module).read_text())) for module in modules))
    # A section that is handed on is read by key where it arrives.
    return {name for name in read if not any(other.startswith(f"{name}.") for other in read)}


def _read_in(tree: ast.AST) -> set[str]:
    meaning = {"params": "", **_annotated(tree), **_assigned(tree)}
    found = set()
    for node in ast.walk(tree):
        base, names = _chain(node)
        if base in meaning and names:
            found.add(".".join([*filter(None, [meaning[base]]), *names][:2]))
    return found


def _annotated(tree: ast.AST) -> dict[str, str]:
    """Arguments that are sections."""
    arguments = [node for node in ast.walk(tree) if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name)]
    return {node.arg: SECTIONS[node.annotation.id] for node in arguments if node.annotation.id in SECTIONS}


def _assigned(tree: ast.AST) -> dict[str, str]:
    """Variables that are sections."""
    found = {}
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Assign)):
        for target in node.targets:
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            for variable, value in zip(target.elts, node.value.elts, strict=True) if both else [(target, node.value)]:
                base, names = _chain(value)
                if base == "params" and len(names) == 1 and names[0] in SECTIONS.values() and isinstance(variable, ast.Name):
                    found[variable.id] = names[0]
    return found


def _chain(node: ast.AST) -> tuple[str, list[str]]:
    """`a.b.c` as a and [b, c]; a call of `load_params` counts as `params`."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_params":
        return "params", names
    return (node.id, names) if isinstance(node, ast.Name) else ("", names)
