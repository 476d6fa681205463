"""The README says what the committed files say."""

import re

import pandas as pd
import pytest
import yaml
from closure import ROOT
from readme import BEGIN, GRAPH_BEGIN, pipeline_graph, with_graph, with_results

from toycrystals.metrics.catalogue import PRIMARY

README = (ROOT / "README.md").read_text()
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def test_results_table_is_that_of_the_committed_metrics():
    assert BEGIN in README
    assert with_results(README, pd.read_csv(ROOT / "plots/compare/table.csv")) == README


def test_graph_is_that_of_the_pipeline():
    assert GRAPH_BEGIN in README
    assert with_graph(README, pipeline_graph()) == README


def test_primary_metrics_are_declared_before_the_results():
    for metric in PRIMARY:
        assert README.index(f"`{metric}`") < README.index(BEGIN)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_relative_link_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"-S '?([a-z_.]+)=", README))))
def test_every_param_that_the_readme_sets_exists(name):
    section, _, key = name.partition(".")
    assert section in PARAMS
    assert not key or key in PARAMS[section]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)`?", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_layout_names_every_module():
    modules = {path.name for path in (ROOT / "src/toycrystals").rglob("*.py") if path.name != "__init__.py"}
    assert not {name for name in modules if name not in README}
