"""The whole pipeline at toy size: what it writes, and that it is of one piece."""

import json
import re
from fnmatch import fnmatch

import pandas as pd
import pytest
import torch
from closure import ROOT, STAGES
from ruamel.yaml import YAML
from smoke import TOY, dvc

from stages import train_prior
from toycrystals.core.artifacts import load_tensors, save_tensors
from toycrystals.core.tables import write_csv
from toycrystals.metrics.comparison import COLUMNS
from toycrystals.metrics.measures import MEASURES, PRIMARY
from toycrystals.runtime.config import load_params

PRIORS = ["standard", "mop", "local", "diffusion"]
METHODS = ["real", "reconstruction", *PRIORS]


def planned(folder):
    """Names of the stages that dvc would run."""
    return set(re.findall(r"Running stage '(.+)':", dvc(folder, "repro", "--dry").stdout))


def test_the_pipeline_fits_on_a_screen():
    assert len(STAGES) == 8


def test_metrics_json_keeps_its_contract(finished_copy):
    metrics = json.loads((finished_copy / "plots/evaluate/metrics.json").read_text())
    assert list(metrics) == METHODS
    wanted = {"nearest_ncc", "aspect_w1", *PRIMARY, "type_accuracy_merged", "theta_error_median", "valid"}
    wanted |= {f"matched_psnr_{name}" for name in ("square", "rectangular", "triangular", "honeycomb")}
    for row in metrics.values():
        assert wanted <= set(row)
        assert all(isinstance(value, float) for value in row.values())
    assert metrics["real"]["matched_psnr"] > 50 > metrics["standard"]["matched_psnr"]
    for prior in PRIORS:
        assert {"latent_mmd2", "latent_auc_boosted", "copy_code", "swap_decoder_type"} <= set(metrics[prior])
        assert metrics[prior]["rate"] == pytest.approx(
            metrics["reconstruction"]["mutual_information"] + metrics[prior]["kl_oracle"]
        )
    assert "active_units" in metrics["reconstruction"]


def test_tables_have_a_floor_beside_every_measure_of_images(finished_copy):
    table = pd.read_csv(finished_copy / "plots/evaluate/table.csv")
    assert list(table.columns) == COLUMNS
    assert set(table["method"]) == set(METHODS)
    floors = table[["floor", "ceiling"]].notna().any(axis=1)
    without = set(table[~floors]["metric"])
    assert without <= {name for name, measure in MEASURES.items() if measure.group in ("swap", "latent")} | {"found_vacancy_w1"}
    real = table[(table["method"] == "real") & (table["type"] == "all")].set_index("metric")
    assert real.loc["matched_psnr", "low"] <= real.loc["matched_psnr", "value"]
    assert real.loc["mmd2_pca", ["low", "high"]].isna().all()
    assert table.loc[floors, "p_holm"].between(0, 1, inclusive="right").all()
    pairs = pd.read_csv(finished_copy / "plots/evaluate/pairs.csv")
    assert pairs.groupby("metric").size().to_dict() == {"matched_psnr": 15, "mmd2_pca": 15, "rate": 6}
    assert pairs["p"].between(0, 1, inclusive="right").all()
    assert len(pd.read_csv(finished_copy / "plots/evaluate/controls.csv")) == 10


def test_every_image_has_a_row(finished_copy):
    for method in METHODS:
        rows = pd.read_csv(finished_copy / f"data/evaluate/{method}.csv")
        assert len(rows) == TOY["data"]["n_heldout"]
        assert {"asked_type", "asked_theta", "found_type", "found_theta", "reason", "mse", "theta_error"} <= set(rows)


def test_quality_is_measured_at_every_number_of_steps(finished_copy):
    rows = pd.read_csv(finished_copy / "plots/evaluate/steps.csv")
    assert sorted(rows["steps"].unique()) == TOY["sample"]["curve"]
    assert set(rows["method"]) == {"diffusion"}
    assert rows.loc[rows["type"] == "all", ["psnr", "mmd2"]].notna().all(axis=None)
    assert all(
        len(cell) < 14 for line in (finished_copy / "plots/evaluate/steps.csv").read_text().split() for cell in line.split(",")
    )


def test_all_methods_answer_the_same_conditions(finished_copy):
    test, _ = load_tensors(finished_copy / "data/test.safetensors", "dataset")
    held_out, _ = load_tensors(finished_copy / "data/heldout.safetensors", "held-out list")
    n = TOY["data"]["n_heldout"]
    assert held_out["type"].bincount().tolist() == [n // 4] * 4
    for name in ("images", "type", "labels", "factors"):
        assert held_out[name].equal(test[name][held_out["index"]])
    for method in METHODS:
        samples, _ = load_tensors(finished_copy / "data/samples" / method / "heldout.safetensors", "samples")
        assert samples["images"].shape == (n, 1, 32, 32)
        assert samples["type"].equal(held_out["type"])
        assert samples["labels"].equal(held_out["labels"])


def test_curves_have_a_row_an_epoch(finished_copy):
    vae = pd.read_csv(finished_copy / "plots/train_vae/curve.csv")
    diffusion, mop = (pd.read_csv(finished_copy / f"plots/train_prior/{name}.csv") for name in ("diffusion", "mop"))
    assert list(vae.columns) == ["epoch", "total", "reconstruction", "kl", "val_psnr"]
    assert list(diffusion.columns) == ["epoch", "total", "val_total"]
    assert len(vae) == TOY["vae"]["epochs"]
    assert len(diffusion) == TOY["diffusion"]["epochs"]
    assert mop[["epoch", "val_total"]].notna().all(axis=None)


def test_every_figure_is_there(finished_copy):
    drawn = {path.stem for path in (finished_copy / "plots/figures").glob("*.png")}
    each = {f"{kind}_{name}" for kind in ("sweep", "worst") for name in PRIORS}
    previews = {f"preview_{variant}" for variant in ("simple", "rot_only", "full")}
    assert drawn == each | previews | {
        "samples", "reconstructions", "curves", "posterior", "metrics", "controls", "steps", "confusion", "angles",
    }  # fmt: skip


def test_plots_are_drawn_from_every_declared_file(finished_copy):
    drawn = json.loads(dvc(finished_copy, "plots", "show", "--json").stdout)["data"]
    assert {"VAE loss", "VAE KL", "diffusion loss", "plots/evaluate/table.csv"} <= set(drawn)
    assert any(name.endswith("samples.png") for name in drawn)


def test_a_model_that_fails_gives_a_row_that_says_so(scratch):
    """All images black, all codes wild: the evaluation goes on, and the table tells."""
    path = scratch / "data/samples/diffusion/heldout.safetensors"
    tensors, meta = load_tensors(path, "samples")
    path.unlink()
    wild = torch.full_like(tensors["codes"], float("nan"))
    save_tensors(path, "samples", {**tensors, "images": torch.zeros_like(tensors["images"]), "codes": wild}, meta)
    path = path.with_name("draws.safetensors")
    tensors, meta = load_tensors(path, "codes")
    path.unlink()
    save_tensors(path, "codes", {"codes": torch.full_like(tensors["codes"], float("nan"))}, meta)
    dvc(scratch, "commit", "--force", "sample")
    dvc(scratch, "repro", "--single-item", "evaluate", "figures")
    table = pd.read_csv(scratch / "plots/evaluate/table.csv")
    assert set(table.loc[table["method"] == "diffusion", "verdict"]) == {"no valid image"}
    metrics = json.loads((scratch / "plots/evaluate/metrics.json").read_text())["diffusion"]
    assert metrics["valid"] == 0.0
    assert metrics["latent_auc_boosted"] > 0.9


def test_forced_run_gives_the_same_lock(finished_copy):
    before = (finished_copy / "dvc.lock").read_bytes()
    stages = ("train_vae", "train_prior@diffusion", "sample", "evaluate", "figures")
    dvc(finished_copy, "repro", "--force", "--no-run-cache", "--single-item", *stages)
    assert (finished_copy / "dvc.lock").read_bytes() == before


def test_a_run_makes_the_priors_that_are_named(scratch):
    dvc(scratch, "exp", "run", "-S", "priors=[mop,standard]")
    metrics = json.loads((scratch / "plots/evaluate/metrics.json").read_text())
    assert list(metrics) == ["real", "reconstruction", "mop", "standard"]
    assert pd.read_csv(scratch / "plots/evaluate/steps.csv").empty
    lock = YAML(typ="safe", pure=True).load(scratch / "dvc.lock")["stages"]
    assert lock["evaluate"]["params"]["params.yaml"]["priors"] == ["mop", "standard"]
    # The folder of models is hashed as a whole: without those of priors that are not named, as in a copy, it is another.
    (scratch / "models/priors/diffusion.safetensors").unlink()
    assert planned(scratch) == {"sample"}
    dvc(scratch, "repro")
    assert planned(scratch) == set()


def test_lock_belongs_to_the_committed_params():
    # As YAML 1.2, which DVC writes: PyYAML takes its 1e-05 for a string.
    lock, params = (YAML(typ="safe", pure=True).load(ROOT / name) for name in ("dvc.lock", "params.yaml"))
    assert lock["stages"]["train_vae"]["params"]["params.yaml"]["vae"] == params["vae"]


def test_a_curve_grows_with_every_epoch(finished, tmp_path, monkeypatch):
    """So that `dvc plots show` follows a run."""
    lengths = []

    def write(path, table):
        write_csv(path, table)
        lengths.append(len(pd.read_csv(path)))

    monkeypatch.setattr(train_prior, "write_csv", write)
    latents, section = finished / "data/latents", load_params(finished / "params.yaml").of_prior("diffusion")
    splits = latents / "train.safetensors", latents / "val.safetensors"
    train_prior.train_prior("diffusion", *splits, tmp_path / "model.safetensors", tmp_path / "curve.csv", 0, 0, section)
    assert lengths == list(range(1, TOY["diffusion"]["epochs"] + 1))


def test_the_report_knows_every_figure(finished):
    """A figure without a caption stands last, under its path."""
    patterns = YAML(typ="safe", pure=True).load(ROOT / "src/toycrystals/report/content.yaml")["captions"]
    figures = [path.relative_to(finished).as_posix() for path in (finished / "plots").rglob("*.png")]
    assert not [name for name in figures if not any(fnmatch(name, pattern) for pattern in patterns)]
