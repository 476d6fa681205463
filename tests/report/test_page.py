"""The page: nothing is fetched, nothing a file says becomes markup, and a failure leaves no page behind."""

import json
import re
import sys
from html import unescape

import pytest
from small_project import add_figure, conditional_rows, results, row, unconditional_rows, write_project

from toycrystals.cli import main
from toycrystals.report.collect import collect
from toycrystals.report.page import LIBRARIES, read_libraries, render, what_it_is, write_report
from toycrystals.report.sources import Code
from toycrystals.runtime.errors import UserError

CODE = Code("0123456789abcdef", "a <script>alert(1)</script> & more", [" M <b>.py"])
OUTPUT = {"path": "data/train.safetensors", "stage": "generate", "size": 1000, "md5": "d41d8cd9", "present": False}
KNOWN = {"code": CODE, "stale": [], "lock_problem": "", "changed": {}, "outputs": [OUTPUT], "makers": {}}
FLOW = row("flow", "matched_psnr", (30.0, 29.0, 31.0))


def rendered(folder, content=None, **provenance):
    return render(folder, results(folder, **(content or {})), KNOWN | provenance, {"vega@5": "1"})


def text(html):
    return unescape(" ".join(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split()))


def table(html, caption):
    """{heading of a row: {heading of a column: cell}} of the table with this caption; cells as markup."""
    html = html.replace("\u00a0", " ")
    found = next(one for one in re.findall(r"<table.*?</table>", html, flags=re.DOTALL) if f"<caption>{caption}" in one)
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", one, flags=re.DOTALL) for one in re.findall(r"<tr>.*?</tr>", found, re.DOTALL)
    ]
    return {unescape(first): dict(zip(rows[0][1:], cells, strict=True)) for first, *cells in rows[1:]}


def specs(html):
    return [
        json.loads(spec, parse_constant=pytest.fail)
        for spec in re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    ]


def test_what_files_say_is_escaped(tmp_path):
    write_project(tmp_path, rows=[*conditional_rows(), row("<i>flow</i>", "matched_psnr", (30.0, 29.0, 31.0))])
    add_figure(tmp_path, "plots/<u>.png")
    html = render(tmp_path, collect(tmp_path), KNOWN, {"vega@5": "1"})
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
    assert "default-src 'none'" in html


def test_results_of_other_code_or_params_are_announced(tmp_path):
    shown = text(rendered(tmp_path / "stale", stale=["train_vae"]))
    assert "These results are not those of the present code and params. dvc repro would run at least train_vae" in shown
    assert "is not known. Unable to lock." in text(rendered(tmp_path / "problem", lock_problem="Unable to lock."))
    assert 'class="warning" role' not in rendered(tmp_path / "matches")


def test_params_that_differ_from_the_commit_are_marked(tmp_path):
    assert "beta 1e-05 in HEAD: 0.5" in text(rendered(tmp_path, changed={"vae.beta": (0.5, 1e-5)}))


def test_what_is_not_known_is_said(tmp_path):
    shown = text(rendered(tmp_path, code=Code(problem="not a git repository"), changed=None))
    assert "not known: not a git repository" in shown
    assert "git does not tell" in shown
    assert "no model is in this workspace" in shown
    assert "Not in this workspace, so not looked at: 1 of 1" in shown


def test_versions_of_makers_stand_apart_from_those_of_the_reader(tmp_path):
    makers = {"models/vae.safetensors": {"torch": "9.9"}, "models/priors/mop.safetensors": "it does not say"}
    html = rendered(tmp_path, makers=makers)
    assert table(html, "Versions")["torch"]["made vae"] == "9.9"
    assert table(html, "Versions")["vega"] == {"made vae": "", "made this page": "5"}
    assert "models/priors/mop.safetensors : it does not say" in text(html)


def test_tables_have_a_column_a_method_and_bold_is_the_tables_verdict(tmp_path):
    rows = [*conditional_rows(), FLOW, row("flow", "odd", (1, 0, 2), verdict="no valid image")]
    html = rendered(tmp_path, {"rows": rows})
    main = table(html, "Results of every method")
    psnr, mmd2, nats, copies = main.values()
    fresh, *methods = psnr
    assert "fresh real images" in fresh
    assert methods == ["real", "VAE reconstruction", "N(0, I)", "latent diffusion", "flow<small>no valid image</small>"]
    bold = [[name for name, cell in cells.items() if "<strong>" in cell] for cells in main.values()]
    assert bold == [[], ["real", "latent diffusion"], [], ["latent diffusion"]]
    assert mmd2[methods[-1]] == "–"
    assert [cells[fresh] for cells in (psnr, copies)] == ["60.00<small>59.80</small>", "5.0<small>4.0 or 6.0</small>"]
    assert nats["N(0, I)"] == "5.00<small>[4.90, 5.10]</small>"
    assert [*table(html, "Every metric")][-1] == "odd"
    assert [*table(html, "matched PSNR, dB, by lattice type")] == ["square", "honeycomb"]
    tested = {"difference": "−20.0", "95 % interval": "[−21.0, −19.0]", "corrected p": "0.0002"}
    assert table(html, "matched PSNR, dB<")["N(0, I) − latent diffusion"] == tested


def test_the_rate_stands_in_where_the_true_density_of_codes_is_not_known(tmp_path):
    rows = [row for row in conditional_rows() if row[1] != "kl_oracle"]
    assert [name.split(",")[0] for name in table(rendered(tmp_path, {"rows": rows}), "Results of every method")][2] == "rate"


def test_unconditional_results_have_rows_of_their_own_and_no_empty_ones(tmp_path):
    html = rendered(tmp_path, {"rows": unconditional_rows(), "pairs": []})
    assert [heading.split(",")[0] for heading in table(html, "Results of every method")] == [
        "MMD²",
        "images that are a lattice about the centre",
    ]
    assert ", by lattice type" not in text(html)
    assert "There is no pair" in text(html)


def test_charts_show_the_rows_of_all_methods(tmp_path):
    psnr, mmd2, nats, copies, steps, *training = specs(rendered(tmp_path, {"rows": [*conditional_rows(), FLOW]}))
    for spec, metric in ((psnr, "matched_psnr"), (mmd2, "mmd2_pca"), (nats, "kl_oracle"), (copies, "copy_code")):
        assert metric in json.dumps(spec["concat"])
        rows = [one for one in spec["data"]["values"] if one["metric"] == "matched_psnr" and one["type"] == "all"]
        assert {one["method"]: one["value"] for one in rows}.items() >= {"diffusion": 40.0, "flow": 30.0}.items()
    assert {one["steps"] for one in steps["data"]["values"]} == {1, 5, 25}
    # The VAE's loss and PSNR, and the loss of the one prior that takes more than an epoch.
    assert len(training) == 3


def test_without_steps_there_is_no_section_on_cost(tmp_path):
    assert "Quality against cost" not in text(rendered(tmp_path, {"steps": []}))


def test_a_prior_fitted_at_once_has_a_number_and_one_says_what_it_is(tmp_path):
    shown = text(rendered(tmp_path))
    assert "in nats: N(0, I) 12.35." in shown
    assert what_it_is("mop").startswith("The mixture of posteriors")
    assert "\n" not in what_it_is("diffusion")
    assert "does not have" in what_it_is("unheard_of")


def test_figures_are_in_the_order_of_their_captions_and_unknown_ones_last(tmp_path):
    write_project(tmp_path)
    for name in ("aaa/new_kind", "figures/sweep_diffusion", "figures/metrics", "figures/preview_full"):
        add_figure(tmp_path, f"plots/{name}.png")
    html = render(tmp_path, collect(tmp_path), KNOWN, {})
    assert re.findall(r"<figcaption><b>(.*?)\.</b>", html) == [
        "Samples beside the truth",
        "Rotation sweep: latent diffusion",
        "The data: variant full",
        "plots/aaa/new_kind.png",
    ]


def test_libraries_come_from_the_page_for_dvc_plots(tmp_path):
    write_project(tmp_path)
    assert [package.rpartition("@")[0] for package in read_libraries(tmp_path)] == ["vega", "vega-lite", "vega-embed"]


@pytest.mark.parametrize("content", [None, '<script data-package="vega@5.0.0">1</script>'])
def test_missing_libraries_are_one_line(tmp_path, content):
    write_project(tmp_path)
    path = tmp_path / LIBRARIES
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"offline\.html: expected"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    def call(*arguments, folder=tmp_path):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["toycrystals", "report", *arguments])
        with pytest.raises(SystemExit) as ending:
            main()
        return ending.value.code or 0, capsys.readouterr().err

    return call


def test_command_writes_report_html_in_the_root_or_where_it_is_told(tmp_path, command):
    write_project(tmp_path)
    assert command() == (0, "")
    assert "<h1>" in (tmp_path / "report.html").read_text()
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
    write_project(tmp_path)
    code, message = command("--out", "report.pdf")
    assert code == 1
    assert message == "error: report.pdf: expected a file name that ends in .html\n"


def test_a_failure_keeps_the_last_report(tmp_path, command):
    write_project(tmp_path)
    (tmp_path / "report.html").write_text("before")
    (tmp_path / "plots/evaluate/table.csv").unlink()
    code, message = command()
    assert code == 1
    assert message.count("\n") == 1
    assert "plots/evaluate/table.csv" in message
    assert "dvc repro" in message
    assert (tmp_path / "report.html").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"plots", "params.yaml", "dvc.yaml", ".dvc", "report.html"}
