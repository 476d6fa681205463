"""What `dvc plots show` and `dvc plots diff` write, as a browser without a network shows it.

The project has this repository's dvc.yaml and templates, and tables and images that no stage made.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import opened
from closure import ROOT
from PIL import Image
from results.charted import METHODS, STEPS, TYPES, controls, curve, pairs, steps, table
from smoke import commit_all, dvc, git

from toycrystals.results.catalogue import CHART

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
EPOCHS = 7
TABLES = {
    "plots/evaluate/table.csv": table(values=dict.fromkeys(CHART, 0.5)),
    "plots/evaluate/pairs.csv": pairs(),
    "plots/evaluate/controls.csv": controls(),
    "plots/evaluate/steps.csv": steps(),
    "plots/train_vae/curve.csv": curve(EPOCHS, total=1.0, reconstruction=1.0, kl=20.0, val_psnr=30.0),
    "plots/train_prior/diffusion.csv": curve(EPOCHS, total=1.0, val_total=1.1),
    **{
        f"plots/train_prior/{name}.csv": pd.DataFrame({"epoch": [0], "val_total": [3.0]}) for name in ("standard", "mop", "local")
    },
}
NAMED = {next(iter(plot)) for plot in PIPELINE["plots"]}
# The rows behind the drawings of a chart that have all these fields, with no others.
ROWS = """([id, fields]) => Object.keys(charts[id]._runtime.data).flatMap(name => charts[id].data(name))
    .filter(row => fields.every(field => field in row))
    .map(row => Object.fromEntries(fields.map(field => [field, row[field]])))"""
READY = """() => document.querySelectorAll('main > div:not(.images)').length === Object.keys(window.charts ?? {}).length
    && [...document.images].every(image => image.complete)"""
DOTS = ".role-mark.mark-symbol path:not([fill='white'])"


def chart_id(path):
    return path.replace("/", "_").replace(".", "_").replace(" ", "_")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with two revisions, `main` and `other`, that differ in a curve, a table and an image."""
    folder = tmp_path_factory.mktemp("plots") / "project"
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots", ignore=shutil.ignore_patterns("node_modules"))
    for name in ("dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name, rows in TABLES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(folder / name, index=False)
    pictures = folder / "plots/figures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(256, size=(2, 300, 600), dtype=np.uint8)
    for name, pixels in zip(("samples", "metrics"), noise, strict=True):
        Image.fromarray(pixels).save(pictures / f"{name}.png")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit_all(folder, "main")
    git(folder, "switch", "--quiet", "--create", "other")
    TABLES["plots/train_vae/curve.csv"].assign(total=2.0).to_csv(folder / "plots/train_vae/curve.csv", index=False)
    TABLES["plots/evaluate/table.csv"].assign(value=0.25).to_csv(folder / "plots/evaluate/table.csv", index=False)
    shutil.copy(pictures / "samples.png", pictures / "metrics.png")
    commit_all(folder, "other")
    git(folder, "switch", "--quiet", "main")
    return folder


@pytest.fixture(scope="module")
def written(project, tmp_path_factory):
    out = tmp_path_factory.mktemp("show")
    dvc(project, "plots", "show", "--out", str(out))
    return out / "index.html"


@pytest.fixture(scope="module")
def shown(written, browser):
    with opened(browser, written) as page:
        page.page.wait_for_function(READY)
        yield page


@pytest.fixture(scope="module")
def compared(project, browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("diff")
    dvc(project, "plots", "diff", "main", "other", "--out", str(out))
    with opened(browser, out / "index.html") as page:
        page.page.wait_for_function(READY)
        yield page


@pytest.fixture(params=["shown", "compared"])
def either(request):
    """The page, and how many revisions it shows."""
    return request.getfixturevalue(request.param).page, 1 if request.param == "shown" else 2


@pytest.mark.parametrize("which", ["shown", "compared"])
def test_opens_without_network_and_without_errors(which, request):
    page = request.getfixturevalue(which)
    assert page.requests == []
    assert page.problems == []


def test_every_table_has_a_drawing(either):
    page, _ = either
    drawn = set(page.evaluate("Object.keys(charts)"))
    assert {chart_id(name) for name in [*NAMED, *(name for name in TABLES if "evaluate" in name)]} <= drawn
    for chart in page.locator("main > .chart svg.marks").all():
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150
        assert chart.locator(".role-mark path, .role-mark line").count() > 0


def test_every_image_is_loaded_and_beside_that_of_the_other_revision(either):
    page, revisions = either
    rows = page.locator("main > .images").all()
    assert len(rows) == 2
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    for row in rows:
        boxes = [image.bounding_box() for image in row.locator("img").all()]
        assert len(boxes) == revisions
        assert len({box["y"] for box in boxes}) == 1
        assert all(box["width"] > 300 for box in boxes)


def test_diff_names_both_revisions_everywhere(compared):
    for chart in compared.page.locator("main > .chart").all():
        assert {"main", "other"} <= set(chart.locator("svg text").all_text_contents())
    for row in compared.page.locator("main > .images").all():
        assert row.locator("div > p").all_text_contents() == ["main", "other"]


def test_curves_have_a_point_an_epoch_and_a_line_a_column_in_each_revision(either):
    page, revisions = either
    for plot in PIPELINE["plots"]:
        ((name, properties),) = plot.items()
        columns = sum(len(y) if isinstance(y, list) else 1 for y in properties["y"].values())
        lines = page.locator(f"#{chart_id(name)} .mark-line path").all()
        assert len(lines) == columns * revisions, name
        assert {line.get_attribute("d").count("L") + 1 for line in lines} == {EPOCHS}


def test_tables_are_drawn_in_full(either):
    page, revisions = either
    expected = {
        "plots/evaluate/table.csv": len(METHODS) * len(CHART),
        "plots/evaluate/pairs.csv": len(pairs()),
        "plots/evaluate/steps.csv": len(STEPS) * (len(TYPES) + 1),
    }
    for name, dots in expected.items():
        assert page.locator(f"#{chart_id(name)} {DOTS}").count() == revisions * dots, name
    words = set(page.locator(f"#{chart_id('plots/evaluate/table.csv')} svg text").all_text_contents())
    assert {"matched PSNR, dB", "MMD²\N{NO-BREAK SPACE}←", "latent diffusion", "my_prior"} <= words


def test_a_difference_between_revisions_is_drawn(compared):
    fields = ["rev", "method", "metric", "type", "value"]
    rows = compared.page.evaluate(ROWS, [chart_id("plots/evaluate/table.csv"), fields])
    wanted = {"method": "real", "metric": "matched_psnr", "type": "all"}
    values = {row["rev"]: float(row["value"]) for row in rows if wanted.items() <= row.items()}
    assert values == {"main": 0.5, "other": 0.25}


@pytest.mark.parametrize("width", [390, 1280])
def test_fits_the_window(written, browser, width):
    with opened(browser, written, width=width) as shown:
        shown.page.wait_for_function(READY)
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width


def test_page_cannot_reach_a_network(shown):
    """Even code within the page is stopped by the page's own policy, before any request."""
    tried = shown.page.evaluate("fetch('https://example.org/data.csv').then(() => 'loaded', error => error.name)")
    assert tried == "TypeError"
    assert shown.requests == []
    assert "Content Security Policy" in shown.problems.pop()
    shown.problems.clear()


def test_a_subfolder_uses_the_same_page(project, tmp_path):
    dvc(project / "plots", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert 'data-package="vega@' in page
    assert "cdn." not in page


def test_json_holds_both_revisions(project):
    charts = json.loads(dvc(project, "plots", "diff", "main", "other", "--json").stdout)["data"]
    assert set(charts) >= NAMED
    for name, (drawing, *_) in charts.items():
        if drawing["type"] == "vega":
            assert drawing["revisions"] == ["main", "other"], name


def test_no_table_is_drawn_by_the_stock_template():
    """Which would be a line of the last column over the row number."""
    for plot in [plot for stage in PIPELINE["stages"].values() for plot in stage.get("plots", [])] + PIPELINE["plots"]:
        ((path, properties),) = plot.items()
        if path in NAMED or path.endswith(".csv"):
            assert (ROOT / f".dvc/plots/{properties.get('template')}.json").is_file(), path
