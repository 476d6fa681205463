"""What `dvc plots show` and `dvc plots diff` write, as a browser without a network shows it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import opened
from closure import ROOT
from smoke import TOY, commit_all, dvc, git

from toycrystals.metrics.catalogue import CHART, PRIMARY

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
CURVES = {"VAE_loss": 2, "VAE_KL": 1, "diffusion_loss": 2, "plots_train_vae_curve_csv": 1, "plots_train_diffusion_curve_csv": 1}
TABLES = {
    "plots_compare_metrics_csv",
    "plots_compare_table_csv",
    "plots_compare_pairs_csv",
    "plots_compare_controls_csv",
    "plots_steps_steps_csv",
}
# The rows behind the drawings of a chart that have all these fields, with no others.
ROWS = """([id, fields]) => Object.keys(charts[id]._runtime.data).flatMap(name => charts[id].data(name))
    .filter(row => fields.every(field => field in row))
    .map(row => Object.fromEntries(fields.map(field => [field, row[field]])))"""
READY = "n => Object.keys(window.charts ?? {}).length === n && [...document.images].every(image => image.complete)"


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A project with two revisions, `main` and `other`, that differ in a curve, a table and an image."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("plots") / "project", symlinks=True)
    git(folder, "switch", "--quiet", "--create", "other")
    curve = pd.read_csv(folder / "plots/train_vae/curve.csv")
    curve.assign(total=2 * curve["total"]).to_csv(folder / "plots/train_vae/curve.csv", index=False)
    table = pd.read_csv(folder / "plots/compare/table.csv")
    table.loc[table["metric"] == "matched_psnr", ["value", "low", "high"]] -= 1
    table.to_csv(folder / "plots/compare/table.csv", index=False)
    shutil.copy(folder / "plots/figures/sweep_mop.png", folder / "plots/figures/sweep_standard.png")
    commit_all(folder, "other")
    git(folder, "switch", "--quiet", "main")
    return folder


@pytest.fixture(scope="module")
def shown(project, browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("show")
    dvc(project, "plots", "show", "--out", str(out))
    with opened(browser, out / "index.html") as page:
        page.page.wait_for_function(READY, arg=len(CURVES) + len(TABLES))
        yield page


@pytest.fixture(scope="module")
def compared(project, browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("diff")
    dvc(project, "plots", "diff", "main", "other", "--out", str(out))
    with opened(browser, out / "index.html") as page:
        page.page.wait_for_function(READY, arg=len(CURVES) + len(TABLES))
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


def test_every_chart_has_a_drawing(either):
    page, _ = either
    assert set(page.evaluate("Object.keys(charts)")) == CURVES.keys() | TABLES
    assert page.locator("main > .chart").count() == len(CURVES) + len(TABLES)
    for chart in page.locator("main > .chart svg.marks").all():
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150
        assert chart.locator(".role-mark path, .role-mark line").count() > 0


def test_every_image_is_loaded_and_beside_that_of_the_other_revision(either, project):
    page, revisions = either
    pictures = len([*(project / "plots").glob("*/*.png")])
    rows = page.locator("main > .images").all()
    assert len(rows) == pictures
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


def test_curves_have_a_point_an_epoch_in_each_revision(either):
    page, revisions = either
    for name, fields in CURVES.items():
        epochs = TOY["diffusion" if "diffusion" in name else "vae"]["epochs"]
        lines = page.locator(f"#{name} .mark-line path").all()
        assert len(lines) == 2 * fields * revisions, name  # as it is, and smoothed
        assert {line.get_attribute("d").count("L") + 1 for line in lines} == {epochs}


@pytest.mark.parametrize(
    ("curve", "scale", "back"),
    [("train_vae", lambda y: y, lambda y: y), ("train_diffusion", np.log, np.exp)],
    ids=["linear", "log"],
)
def test_smoothing_weighs_neighbours_by_distance(project, browser, tmp_path, curve, scale, back):
    """Against the same sum in NumPy, on a curve of so many epochs that powers of the distance to the first overflow."""
    rng = np.random.default_rng(0)
    epochs = np.arange(1, 2001)
    loss = np.exp(-epochs / 600 + 0.2 * rng.standard_normal(len(epochs)))
    path = project / f"plots/{curve}/curve.csv"
    before = path.read_bytes()
    table = pd.read_csv(path).iloc[:1].reindex(np.zeros(len(epochs), dtype=int)).assign(epoch=epochs)
    table.loc[:, table.columns != "epoch"] = np.tile(loss[:, None], table.shape[1] - 1)
    table.to_csv(path, index=False)
    dvc(project, "plots", "show", "--out", str(tmp_path), f"plots/{curve}/curve.csv")
    path.write_bytes(before)
    name = f"plots_{curve}_curve_csv"
    with opened(browser, tmp_path / "index.html") as shown:
        shown.page.wait_for_function(READY, arg=1)
        for smoothing in (0.9, 0.5, 0.1, 0.0):
            shown.page.evaluate(f"async () => {{ await charts.{name}.signal('smoothing', {smoothing}).runAsync(); }}")
            drawn = {row["x"]: row["drawn"] for row in shown.page.evaluate(ROWS, [name, ["x", "drawn"]])}
            weights = smoothing ** np.abs(epochs[:, None] - epochs) if smoothing else np.eye(len(epochs))
            expected = back(weights @ scale(loss) / weights.sum(axis=1))
            assert np.allclose([drawn[epoch] for epoch in epochs], expected, rtol=1e-6), smoothing


def test_table_has_a_dot_for_every_value_of_every_revision(either, project):
    page, revisions = either
    table = pd.read_csv(project / "plots/compare/table.csv")
    drawn = table[(table["type"] == "all") & table["metric"].isin(CHART)]
    dots = page.locator("#plots_compare_table_csv .role-mark.mark-symbol path").count()
    assert dots == 2 * revisions * drawn["value"].notna().sum()  # a disc, and what makes it hollow
    shown = set(page.locator("#plots_compare_table_csv svg text").all_text_contents())
    assert {"matched PSNR, dB\N{NO-BREAK SPACE}→", "N(0, I)", "latent diffusion"} <= shown


def test_a_difference_between_revisions_is_drawn(compared):
    fields = ["rev", "method", "metric", "type", "value"]
    rows = compared.page.evaluate(ROWS, ["plots_compare_table_csv", fields])
    wanted = {"method": "real", "metric": "matched_psnr", "type": "all"}
    values = {row["rev"]: row["value"] for row in rows if wanted.items() <= row.items()}
    assert float(values["main"]) - float(values["other"]) == pytest.approx(1, abs=1e-3)


def test_pairs_and_steps_are_drawn_in_full(either, project):
    page, revisions = either
    pairs = pd.read_csv(project / "plots/compare/pairs.csv")
    assert set(pairs["metric"]) == set(PRIMARY)
    assert page.locator("#plots_compare_pairs_csv .role-mark.mark-symbol path").count() == 2 * revisions * len(pairs)
    steps = pd.read_csv(project / "plots/steps/steps.csv")
    numbers = steps["psnr"].notna().sum() + steps.loc[steps["type"] == "all", "mmd2"].notna().sum()
    assert page.locator("#plots_steps_steps_csv .role-mark.mark-symbol path").count() == revisions * numbers


@pytest.mark.parametrize("width", [390, 1280])
def test_fits_the_window(project, browser, tmp_path, width):
    dvc(project, "plots", "show", "--out", str(tmp_path))
    with opened(browser, tmp_path / "index.html", width=width) as shown:
        shown.page.wait_for_function(READY, arg=len(CURVES) + len(TABLES))
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width


def test_page_cannot_reach_a_network(shown):
    """Even code within the page is stopped by the page's own policy, before any request."""
    tried = shown.page.evaluate("fetch('https://example.org/data.csv').then(() => 'loaded', error => error.name)")
    assert tried == "TypeError"
    assert shown.requests == []
    assert "Content Security Policy" in shown.problems.pop()
    shown.problems.clear()


def test_a_subfolder_uses_the_same_page(project, tmp_path):
    dvc(project / "src", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert 'data-package="vega@' in page
    assert "cdn." not in page


def test_json_holds_both_revisions(project):
    charts = json.loads(dvc(project, "plots", "diff", "main", "other", "--json").stdout)["data"]
    assert {"VAE loss", "VAE KL", "diffusion loss"} <= set(charts)
    for name, (drawing, *_) in charts.items():
        if drawing["type"] == "vega":
            assert drawing["revisions"] == ["main", "other"], name


@pytest.mark.parametrize("plot", [plot for stage in PIPELINE["stages"].values() for plot in stage.get("plots", [])], ids=str)
def test_no_table_is_drawn_by_the_stock_template(plot):
    """Which would be a line of the last column over the row number."""
    ((path, properties),) = plot.items()
    holds_table = any(file.suffix == ".csv" for file in [ROOT / path, *(ROOT / path).glob("*")])
    assert holds_table == ("template" in properties)
    if holds_table:
        assert (ROOT / ".dvc/plots" / properties["template"]).with_suffix(".json").is_file()
