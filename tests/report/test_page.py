"""The page: nothing is fetched, nothing a file says becomes markup, and a failure leaves no page behind."""

import json
import re
import sys

import pytest
from small_project import add_figure, conditional_rows, results, row, unconditional_rows, write_project

from toycrystals.cli import main
from toycrystals.errors import UserError
from toycrystals.report import page
from toycrystals.report.charts import metric_charts, steps_charts, training_charts
from toycrystals.report.page import Provenance, read_libraries, render, write_report
from toycrystals.report.sources import Code, Lock, Maker, Output
from toycrystals.report.tables import all_table, main_table, pairs_tables, type_table

CODE = Code("0123456789abcdef", "a <script>alert(1)</script> & more", (" M <b>.py",))
KNOWN = Provenance(CODE, Lock(), {}, [Output("data/train.safetensors", "generate", "d41d8cd9", 1000, False)], [])


def rendered(folder, provenance=KNOWN, **content):
    return render(results(folder, **content), provenance, {"vega@5": "1"}, folder)


def text(html):
    return " ".join(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def test_what_files_say_is_escaped(tmp_path):
    rows = [*conditional_rows(), row("<i>flow</i>", "matched_psnr", (30.0, 29.0, 31.0))]
    write_project(tmp_path, rows=rows)
    add_figure(tmp_path, "plots/<u>.png")
    html = render(page.collect(tmp_path), KNOWN, {"vega@5": "1"}, tmp_path)
    for raw in ("<i>flow", "<script>alert", "<b>.py", "<u>.png"):
        assert raw not in html
    for shown in ("&lt;i&gt;flow", "&lt;script&gt;alert", "&lt;b&gt;.py", "&lt;u&gt;.png"):
        assert shown in html


def test_the_page_refers_to_nothing_outside_itself(tmp_path):
    html = rendered(tmp_path)
    sources = re.findall(r'\b(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert set(re.findall(r'href="#(\w+)"', html)) <= set(re.findall(r'id="(\w+)"', html))
    assert all(re.findall(r'<img [^>]*alt="([^"]*)"', html))


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        (
            Lock(stale=("train_vae",)),
            "These results are not those of the present code and params. dvc repro would run at least train_vae",
        ),
        (Lock(problem="Unable to acquire lock."), "is not known. Unable to acquire lock."),
    ],
)
def test_results_of_other_code_or_params_are_announced(tmp_path, lock, message):
    assert message in text(rendered(tmp_path, Provenance(CODE, lock, {}, [], [])))
    assert "These results are not" not in text(rendered(tmp_path / "again"))


def test_params_that_differ_from_the_commit_are_marked(tmp_path):
    shown = text(rendered(tmp_path, Provenance(CODE, Lock(), {"vae.beta": (0.5, 1e-5)}, [], [])))
    assert "beta 1e-05 in HEAD: 0.5" in shown


def test_what_is_not_known_is_said(tmp_path):
    shown = text(rendered(tmp_path, Provenance(Code(problem="not a git repository"), Lock(), None, KNOWN.outputs, [])))
    assert "not known: not a git repository" in shown
    assert "git does not tell" in shown
    assert "no model is in this workspace" in shown
    assert "Not in this workspace, so not looked at: 1 of 1" in shown


def test_versions_of_makers_stand_apart_from_those_of_the_reader(tmp_path):
    makers = [Maker("models/vae.safetensors", {"torch": "9.9"}), Maker("models/priors/mop.safetensors", {}, "it does not say")]
    html = rendered(tmp_path, Provenance(CODE, Lock(), {}, [], makers))
    assert "package made vae made this page" in text(html)
    assert "torch 9.9 " in text(html)
    assert "models/priors/mop.safetensors : it does not say" in text(html)


def test_tables_have_a_row_a_method_and_bold_is_the_tables_verdict(tmp_path):
    found = results(
        tmp_path, rows=[*conditional_rows(), row("flow", "matched_psnr", (30.0, 29.0, 31.0)), row("flow", "odd", (1, 0, 2))]
    )
    table = main_table(found)
    assert [cells[0].text for cells in table.rows[1:]] == ["real", "VAE reconstruction", "N(0, I)", "latent diffusion", "flow"]
    cells = {cells[0].text: dict(zip(table.head, cells, strict=True)) for cells in table.rows}
    assert cells["latent diffusion"]["MMD², 10⁻⁶"].strong
    assert not cells["N(0, I)"]["MMD², 10⁻⁶"].strong
    assert not cells["N(0, I)"]["codes copied, %"].strong
    assert cells["flow"]["MMD², 10⁻⁶"].text == "–"
    assert [cells[0].text for cells in all_table(found).rows][-1] == "odd"
    assert type_table(found).head == ["", "square", "honeycomb"]
    assert pairs_tables(found)[0].rows[1][0].text == "N(0, I) − latent diffusion"


def test_unconditional_results_have_columns_of_their_own_and_no_empty_ones(tmp_path):
    found = results(tmp_path, rows=unconditional_rows(), pairs=[])
    assert main_table(found).head == ["", "MMD², 10⁻⁶", "lattices, %"]
    assert type_table(found) is None
    assert "There is no pair" in text(render(found, KNOWN, {}, tmp_path))


def test_charts_show_every_method_and_all_intervals(tmp_path):
    found = results(tmp_path, rows=[*conditional_rows(), row("flow", "matched_psnr", (30.0, 29.0, 31.0))])
    psnr, mmd2, *_ = metric_charts(found)
    places = {row["method"]: (row["v"], row["l"], row["h"]) for row in psnr.spec["data"]["values"]}
    assert places["latent diffusion"] == (40.0, 39.9, 40.1)
    assert places["flow"] == (30.0, 29.0, 31.0)
    absent = [layer["data"]["values"] for layer in mmd2.spec["layer"] if "data" in layer]
    assert [row["method"] for row in absent[0]] == ["flow"]
    assert [row["hollow"] for row in mmd2.spec["data"]["values"] if "v" in row] == [True, False, False, True]
    json.dumps([psnr.spec, mmd2.spec], allow_nan=False)


def test_curves_join_training_and_held_out_data(tmp_path):
    titles = {chart.title: chart for chart in training_charts(results(tmp_path).curves)}
    assert list(titles) == ["VAE: loss", "VAE: PSNR, held out, dB", "latent diffusion: loss"]
    assert {row["data"] for row in titles["latent diffusion: loss"].spec["data"]["values"]} == {"training", "held out"}


def test_steps_without_psnr_have_one_chart(tmp_path):
    nan = float("nan")
    steps = [["all", nan, nan, nan, 1e-3, 9e-4, 2e-3, 1], ["all", nan, nan, nan, 1e-6, -1e-6, 2e-6, 5]]
    found = results(tmp_path, rows=unconditional_rows(), pairs=[], steps=steps)
    assert [chart.title for chart in steps_charts(found)] == ["MMD², PCA"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    def call(*arguments, folder=tmp_path):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["toycrystals", "report", *arguments])
        with pytest.raises(SystemExit) as ending:
            main()
        return ending.value.code or 0, capsys.readouterr().err

    return call


def test_command_writes_report_html_in_the_root(tmp_path, command):
    write_project(tmp_path)
    assert command() == (0, "")
    assert "<h1>" in (tmp_path / "report.html").read_text()


def test_command_in_a_folder_of_the_project_writes_there(tmp_path, command):
    write_project(tmp_path)
    assert command("--out", "page.html", folder=tmp_path / "plots") == (0, "")
    assert "<h1>" in (tmp_path / "plots/page.html").read_text()


def test_command_outside_of_a_project_is_one_line(command):
    code, message = command()
    assert code == 1
    assert message.count("\n") == 1
    assert "expected a DVC project" in message


@pytest.mark.parametrize("content", ["stages: 3\n", "<<<<<<< HEAD\n", "stages:\n  a: {outs: [{md5: x}]}\n"])
def test_a_lock_of_another_form_is_one_line(tmp_path, command, content):
    write_project(tmp_path)
    (tmp_path / "dvc.lock").write_text(content)
    code, message = command()
    assert code == 1
    assert message.count("\n") == 1
    assert "dvc.lock: expected a lock" in message
    assert not (tmp_path / "report.html").exists()


def test_command_refuses_another_ending_before_any_work(tmp_path, command):
    code, message = command("--out", "report.pdf")
    assert code == 1
    assert message == "error: report.pdf: expected a file name that ends in .html\n"


def test_a_failure_keeps_the_last_report(tmp_path, command):
    write_project(tmp_path)
    (tmp_path / "report.html").write_text("before")
    (tmp_path / "plots/compare/table.csv").unlink()
    code, message = command()
    assert code == 1
    assert message.count("\n") == 1
    assert "plots/compare/table.csv" in message
    assert "dvc repro" in message
    assert (tmp_path / "report.html").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"plots", "params.yaml", "dvc.yaml", ".dvc", "report.html"}


@pytest.mark.parametrize("content", [b"", b"<<<<<<< HEAD", b"half"])
def test_a_figure_that_is_no_whole_image_is_named(tmp_path, content):
    write_project(tmp_path)
    path = tmp_path / "plots/figures/samples.png"
    path.write_bytes(path.read_bytes()[:-20] if content == b"half" else content)
    with pytest.raises(UserError, match=r"figures/samples\.png: expected a PNG image.*run `dvc repro`"):
        render(page.collect(tmp_path), KNOWN, {"vega@5": "1"}, tmp_path)


def test_libraries_come_from_the_page_for_dvc_plots(tmp_path):
    write_project(tmp_path)
    assert [package.rpartition("@")[0] for package in read_libraries(tmp_path)] == ["vega", "vega-lite", "vega-embed"]


@pytest.mark.parametrize("content", [None, '<script data-package="vega@5.0.0">1</script>'])
def test_missing_libraries_are_one_line(tmp_path, content):
    write_project(tmp_path)
    path = tmp_path / page.LIBRARIES
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"offline\.html: expected"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
