"""README.md and docs/ say what the committed files say."""

import json
import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml
from closure import ROOT, import_closure
from documents import DOCUMENTS
from readme import BEGIN, GRAPH_BEGIN, TABLE, pipeline_graph, with_graph, with_results

from toycrystals.crystals.lattice import TYPES
from toycrystals.metrics.measures import PRIMARY

PACKAGE = ROOT / "src/toycrystals"
README, DESIGN = ((ROOT / name).read_text() for name in ("README.md", "docs/design.md"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
RESULTS = json.loads((ROOT / "plots/evaluate/metrics.json").read_text())


def in_documents(pattern):
    """What `pattern` finds in README.md and docs/, each with the document's path from the root."""
    return sorted({(str(path.relative_to(ROOT)), found) for path in DOCUMENTS for found in re.findall(pattern, path.read_text())})


def test_results_table_is_that_of_the_committed_metrics():
    assert BEGIN in README
    assert with_results(README, pd.read_csv(TABLE)) == README


def shown(method, metric, form, factor=1.0):
    return format(factor * RESULTS[method][metric], form)


def of_codes(method):
    return [
        shown(method, "kl_oracle", ".3f"),
        shown(method, "latent_auc_boosted", ".3f"),
        shown(method, "copy_code", ".1f", 100) + " %",
    ]


def seed_row(method, label):
    numbers = [shown(method, "matched_psnr", ".2f"), shown(method, "mmd2_pca", "z.0f", 1e6), shown(method, "aspect_w1", ".4f")]
    codes = of_codes(method) if "copy_code" in RESULTS[method] else ["-", "-", "-"]
    return f"| {label} | 0 | " + " | ".join([*numbers, *codes]) + " |"


def objective_row():
    prior = partial(shown, "diffusion")
    numbers = [prior("matched_psnr", ".2f"), prior("mmd2_pca", "z.0f", 1e6), prior("aspect_w1", ".4f"), *of_codes("diffusion")]
    return " | ".join(["| v (default)", *numbers]) + " |"


def steps_row():
    """Matched PSNR of the diffusion prior at each number of steps."""
    steps = pd.read_csv(ROOT / "plots/evaluate/steps.csv").query("type == 'all'")
    return " | ".join(["| v (default)", *(f"{value:.1f}" for value in steps["psnr"])]) + " |"


def psnr_of_types(separator):
    return separator.join(shown("diffusion", f"matched_psnr_{name}", ".1f") for name in TYPES)


@pytest.mark.parametrize(
    ("document", "row"),
    [
        ("docs/results.md", seed_row("reconstruction", "VAE reconstruction")),
        ("docs/results.md", seed_row("mop", "mixture of posteriors")),
        ("docs/results.md", seed_row("local", "locally linear")),
        ("docs/results.md", seed_row("diffusion", "latent diffusion")),
        ("docs/results.md", f"| {psnr_of_types(', ')} dB (perfect images"),
        ("docs/experiments.md", objective_row()),
        ("docs/experiments.md", steps_row()),
    ],
)
def test_rows_of_the_default_run_are_those_of_the_committed_metrics(document, row):
    assert row in (ROOT / document).read_text()


def test_graph_is_that_of_the_pipeline():
    assert GRAPH_BEGIN in README
    assert with_graph(README, pipeline_graph()) == README


def test_primary_metrics_are_declared_before_the_results():
    for metric in PRIMARY:
        assert README.index(f"`{metric}`") < README.index(BEGIN)


def test_every_relative_link_leads_somewhere():
    links = in_documents(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
    assert not [link for link in links if not (ROOT / link[0]).parent.joinpath(link[1]).exists()]


def test_every_param_that_a_document_sets_exists():
    for path, name in in_documents(r"-S '?([a-z_.]+)="):
        section, _, key = name.partition(".")
        assert section in PARAMS, path
        assert not key or key in PARAMS[section], path


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_exists(document):
    targets = set(re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / document).read_text(), flags=re.MULTILINE))
    assert targets
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def layout():
    """The modules of the package in the order of the list in docs/design.md."""
    folder, modules = "", []
    for line in re.search(r"^src/toycrystals/\n(.*?)^stages/", DESIGN, re.MULTILINE | re.DOTALL)[1].splitlines():
        if not line.startswith("    "):
            folder = "".join(re.findall(r"^  (\w+/)", line))
        modules += [f"{folder}{name}" for name in re.findall(r"\w+\.py", line)]
    return modules


def test_layout_names_every_module():
    modules = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(layout()) == sorted(modules)


def test_imports_point_up_the_layout():
    for number, module in enumerate(layout()):
        known = import_closure(Path("src/toycrystals", module))
        imported = {str(path.relative_to("src/toycrystals")) for path in known if path.is_relative_to("src/toycrystals")}
        assert {path for path in imported if not path.endswith("__init__.py")} <= set(layout()[: number + 1]), module
