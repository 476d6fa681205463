"""Folders are cache boundaries: what a stage imports, what its deps name, and which way imports point."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from closure import ROOT, STAGES, code_deps, import_closure, needed
from smoke import dvc, git
from test_pipeline import planned

from toycrystals.runtime.stage import param_names

# In the order in which they may import each other: a room knows those above it.
ROOMS = ("runtime", "core", "crystals", "models", "diffusion", "priors", "metrics", "results", "report")
SOURCES = sorted((ROOT / "src/toycrystals").rglob("*.py"))


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_imports_lies_within_its_deps(name):
    deps = code_deps(name)
    assert not [path for path in needed(name) if not any(path.is_relative_to(dep) for dep in deps)]


@pytest.mark.parametrize("name", STAGES)
def test_every_dep_on_code_is_needed(name):
    assert not [dep for dep in code_deps(name) if not any(path.is_relative_to(dep) for path in needed(name))]


@pytest.mark.parametrize("name", STAGES)
def test_stage_tracks_exactly_the_params_that_it_takes(name):
    taken = {"${item.prior}" if key == "section" else key for key in param_names(getattr(import_module(f"stages.{name}"), name))}
    assert set(STAGES[name].get("params", [])) == taken


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src/toycrystals")))
def test_imports_point_up_the_list_of_rooms(path):
    room = path.parent.name
    if room not in ROOMS:
        return
    names = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.module]
    rooms = {name.split(".")[1] for name in names if name.startswith("toycrystals.")}
    assert not [other for other in rooms if ROOMS.index(other) > ROOMS.index(room)]


def test_what_makes_a_folder_a_package_holds_no_code():
    for path in (path for path in SOURCES if path.name == "__init__.py" and path.parent.name != "toycrystals"):
        assert len(ast.parse(path.read_text()).body) == 1


def test_care_of_a_dvc_project_knows_nothing_of_crystals():
    known = set().union(*(import_closure(path.relative_to(ROOT)) for path in (ROOT / "src/dvccare").glob("*.py")))
    assert {path.parent.name for path in known if path.parts[1] == "toycrystals" and path.name != "__init__.py"} == {"runtime"}


def edits():
    """Rows of the table in docs/design.md: an edited file, and the stages that it names."""
    text = (ROOT / "docs/design.md").read_text()
    table = text[text.index("| an edit in") :].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        where, stages = (cell.strip() for cell in line.strip("|").split("|")[:2])
        yield re.search(r"\(e\.g\. `(.+?)`\)", where)[1], set(re.findall(r"`([\w@]+)`", stages))


@pytest.mark.parametrize(("file", "stages"), [pytest.param(*row, id=row[0]) for row in edits()])
def test_an_edit_runs_the_stages_that_the_document_names(finished_copy, file, stages):
    path = finished_copy / file
    original = path.read_text()
    path.write_text(original + "\n# edited\n")
    try:
        assert planned(finished_copy) == stages
    finally:
        path.write_text(original)


def test_nothing_runs_where_nothing_was_edited(finished_copy):
    assert planned(finished_copy) == set()
    assert "up to date" in dvc(finished_copy, "status").stdout


def test_a_clone_without_data_can_tell_that_the_lock_is_its_own(finished, tmp_path):
    git(tmp_path, "clone", "--quiet", str(finished), "clone")
    assert planned_without_data(tmp_path / "clone") == set()
    path = tmp_path / "clone/src/toycrystals/priors/generator.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert planned_without_data(tmp_path / "clone") == {"sample"}


def planned_without_data(folder):
    done = dvc(folder, "repro", "--dry", "--allow-missing", check=False)
    return set(re.findall(r"(?:Running stage|failed to reproduce) '(.+?)'", done.stdout + done.stderr))


def test_a_deps_folder_holds_code_alone():
    """A folder that DVC hashes must hold nothing that a run writes."""
    folders = {dep for name in STAGES for dep in code_deps(name) if (ROOT / dep).is_dir()}
    for folder in folders:
        others = {path.suffix for path in Path(ROOT, folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert others <= {".py", ".yaml"}
