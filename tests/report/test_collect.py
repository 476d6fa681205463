"""Collecting: what a report is made of is there and of the right form, or one line says what is not."""

import pytest
from small_project import add_figure, conditional_rows, results, row, write_project

from toycrystals.errors import UserError
from toycrystals.report.captions import captioned
from toycrystals.report.collect import collect, flat


@pytest.mark.parametrize("name", ["compare/table.csv", "compare/pairs.csv", "steps/steps.csv", "train_vae/curve.csv"])
def test_missing_result_is_named_with_the_way_to_make_it(tmp_path, name):
    write_project(tmp_path)
    (tmp_path / "plots" / name).unlink()
    with pytest.raises(UserError, match=rf"{name}.*dvc repro") as error:
        collect(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_params_are_named(tmp_path):
    write_project(tmp_path)
    (tmp_path / "params.yaml").unlink()
    with pytest.raises(UserError, match=r"params\.yaml"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "expected CSV"), ("method,metric\nreal,valid\n", "expected a column type"), ("<<<<<<< HEAD\n", "expected a column")],
)
def test_table_of_another_form_is_refused(tmp_path, content, message):
    write_project(tmp_path)
    (tmp_path / "plots/compare/table.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("<<<<<<< HEAD", "line 3: expected a name as metric, found nothing"),
        ("real,valid,all,much,,,,,,,", "line 3: expected a number as value, found 'much'"),
        (",valid,all,1,,,,,,,", "line 3: expected a name as method, found nothing"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path, line, message):
    write_project(tmp_path)
    path = tmp_path / "plots/compare/table.csv"
    first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, second, line, *rest]))
    with pytest.raises(UserError, match=f"table.csv, {message}; delete it and run `dvc repro`"):
        collect(tmp_path)


def test_table_without_rows_is_refused_but_pairs_may_have_none(tmp_path):
    assert results(tmp_path / "a", pairs=[]).pairs.empty
    with pytest.raises(UserError, match=r"table.csv: expected rows"):
        results(tmp_path / "b", rows=[])


def test_references_come_first_then_priors_known_or_not(tmp_path):
    found = results(tmp_path, rows=[row("flow", "valid", (0.5, 0.4, 0.6)), *conditional_rows()])
    assert found.methods == ["real", "reconstruction", "flow", "standard", "diffusion"]
    assert found.priors == ["flow", "standard", "diffusion"]


def test_metric_has_the_rows_of_all_types_together(tmp_path):
    rows = results(tmp_path).metric("matched_psnr")
    assert rows["value"].to_dict() == {"real": 60.0, "reconstruction": 45.0, "standard": 20.0, "diffusion": 40.0}


def test_every_curve_and_figure_is_found_and_unknown_figures_come_last(tmp_path):
    write_project(tmp_path)
    for name in ("plots/aaa/new_kind.png", "plots/figures/sweep_flow.png"):
        add_figure(tmp_path, name)
    found = collect(tmp_path)
    assert set(found.curves) == {"train_vae", "train_diffusion"}
    figures = captioned(found.figures)
    assert [figure.path.as_posix() for figure in figures] == [
        "plots/figures/samples.png",
        "plots/figures/sweep_flow.png",
        "plots/aaa/new_kind.png",
    ]
    assert figures[1].caption.title == "Rotation sweep: flow"
    assert figures[2].caption.title == "plots/aaa/new_kind.png"
    assert all(figure.caption.alt for figure in figures)


def test_flat_names_leaves_by_their_path():
    assert flat({"seed": 0, "vae": {"beta": 1e-5, "sizes": [1, 2]}}) == {"seed": 0, "vae.beta": 1e-5, "vae.sizes": [1, 2]}
