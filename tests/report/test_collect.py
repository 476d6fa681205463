"""Collecting: what a report is made of is there and of the right form, or one line says what is not."""

import pytest
from small_project import conditional_rows, results, row, unconditional_rows, write_project

from toycrystals.report.collect import collect
from toycrystals.runtime.errors import UserError

TABLE = "plots/evaluate/table.csv"


@pytest.mark.parametrize("name", [TABLE, "plots/evaluate/pairs.csv", "plots/evaluate/steps.csv", "plots/train_vae/curve.csv"])
def test_missing_result_is_named_with_the_way_to_make_it(tmp_path, name):
    write_project(tmp_path)
    (tmp_path / name).unlink()
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
    (tmp_path / TABLE).write_text(content)
    with pytest.raises(UserError, match=message):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("<<<<<<< HEAD", "line 3: expected a name as metric, found nan"),
        ("real,valid,all,much,,,,,,,,,", "line 3: expected a number as value, found 'much'"),
        (",valid,all,1,,,,,,,,,", "line 3: expected a name as method, found nan"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path, line, message):
    write_project(tmp_path)
    path = tmp_path / TABLE
    first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, second, line, *rest]))
    with pytest.raises(UserError, match=f"table.csv, {message}; delete it and run `dvc repro`"):
        collect(tmp_path)


def test_table_without_rows_is_refused_but_pairs_and_steps_may_have_none(tmp_path):
    found = results(tmp_path / "a", pairs=[], steps=[])
    assert found.pairs.empty
    assert found.steps.empty
    with pytest.raises(UserError, match=r"table.csv: expected rows"):
        results(tmp_path / "b", rows=[])


def test_references_come_first_then_priors_known_or_not(tmp_path):
    found = results(tmp_path, rows=[row("flow", "odd", (0.5, 0.4, 0.6)), *conditional_rows()])
    assert found.methods == ["real", "reconstruction", "flow", "standard", "diffusion"]
    assert found.priors == ["flow", "standard", "diffusion"]
    assert found.metrics == ["matched_psnr", "mmd2_pca", "copy_code", "rate", "kl_oracle", "odd"]


def test_metric_has_the_rows_of_one_type_or_of_all_together(tmp_path):
    found = results(tmp_path)
    assert found.metric("matched_psnr")["value"].to_dict() == {
        "real": 60.0,
        "reconstruction": 45.0,
        "standard": 20.0,
        "diffusion": 40.0,
    }
    assert set(found.metric("matched_psnr", "square")["type"]) == {"square"}
    assert found.types == ("matched_psnr", ["square", "honeycomb"])
    assert results(tmp_path / "sets", rows=unconditional_rows()).types == ("", [])


def test_curves_are_those_of_the_vae_and_of_the_priors_that_were_measured(tmp_path):
    assert list(results(tmp_path).curves) == ["VAE", "latent diffusion", "N(0, I)"]
