"""The README says what the committed files say."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from closure import ROOT, imports
from documents import DOCUMENTS
from readme import BEGIN, GRAPH_BEGIN, pipeline_graph, with_graph, with_results

from toycrystals.metrics.catalogue import PRIMARY

PACKAGE = ROOT / "src/toycrystals"
README = (ROOT / "README.md").read_text()
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def in_documents(pattern):
    """What `pattern` finds in README.md and docs/, each with the document's path from the root."""
    return sorted({(str(path.relative_to(ROOT)), found) for path in DOCUMENTS for found in re.findall(pattern, path.read_text())})


def test_results_table_is_that_of_the_committed_metrics():
    assert BEGIN in README
    assert with_results(README, pd.read_csv(ROOT / "plots/compare/table.csv")) == README


def test_graph_is_that_of_the_pipeline():
    assert GRAPH_BEGIN in README
    assert with_graph(README, pipeline_graph()) == README


def test_primary_metrics_are_declared_before_the_results():
    for metric in PRIMARY:
        assert README.index(f"`{metric}`") < README.index(BEGIN)


@pytest.mark.parametrize(("path", "target"), in_documents(r"\]\(([^)#:]+)(?:#[^)]*)?\)"))
def test_every_relative_link_leads_somewhere(path, target):
    assert (ROOT / path).parent.joinpath(target).exists()


@pytest.mark.parametrize(("path", "name"), in_documents(r"-S '?([a-z_.]+)="))
def test_every_param_that_a_document_sets_exists(path, name):
    section, _, key = name.partition(".")
    assert section in PARAMS
    assert not key or key in PARAMS[section]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)`?", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def layout():
    """The modules of the package in the order of the README's list."""
    folder, modules = "", []
    for line in re.search(r"^src/toycrystals/\n(.*?)^stages/", README, re.MULTILINE | re.DOTALL)[1].splitlines():
        if not line.startswith("    "):
            folder = "".join(re.findall(r"^  (\w+/)", line))
        modules += [f"{folder}{name}" for name in re.findall(r"\w+\.py", line)]
    return modules


def test_layout_names_every_module():
    modules = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(layout()) == sorted(modules)


@pytest.mark.parametrize("module", layout())
def test_imports_point_up_the_layout(module):
    above = layout()[: layout().index(module)]
    imported = {str(path.relative_to("src/toycrystals")) for path in imports(Path("src/toycrystals", module))}
    assert {path for path in imported if not path.endswith("__init__.py")} <= set(above)
