"""dvc.yaml against the code that it runs, and the whole pipeline at toy size."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from closure import ROOT, import_closure
from params_read import params_read
from ruamel.yaml import YAML
from smoke import TOY, dvc

from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.metrics.catalogue import METRICS, PRIMARY
from toycrystals.metrics.comparison import COLUMNS

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
METHODS = ["real", "reconstruction", "standard", "mop", "diffusion"]


def modules(stage):
    return {Path(dep) for dep in stage["deps"] if dep.endswith(".py")}


def script(stage):
    module = re.match(r"python -m ([\w.]+)", stage["cmd"]).group(1)
    return Path(*module.split(".")).with_suffix(".py")


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_import_closure_of_the_script(name):
    assert modules(STAGES[name]) == import_closure(script(STAGES[name]))


@pytest.mark.parametrize("name", STAGES)
def test_stage_tracks_exactly_the_params_that_it_reads(name):
    tracked, read = set(STAGES[name].get("params", [])), params_read(script(STAGES[name]))
    assert {key.split(".")[0] if key.split(".")[0] in tracked else key for key in read} == tracked


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("params = load_params()\nf(params.vae)", {"vae"}),
        ("f(load_params().sample.n)", {"sample.n"}),
        ("origin, p = Origin(), params.diffusion\nf(p.width, p.model_dump())", {"diffusion.width", "diffusion.model_dump"}),
        ("def f(settings: Evaluate, n: int): return settings.bootstrap + n.real", {"evaluate.bootstrap"}),
        ("f(params.seed, other.width)", {"seed"}),
    ],
)
def test_params_are_found_in_source(tmp_path, source, read):
    (tmp_path / "stage.py").write_text(source)
    assert params_read(tmp_path / "stage.py") == read


@pytest.mark.parametrize("name", STAGES)
def test_stage_says_what_it_does(name):
    assert len(STAGES[name]["desc"]) > 10


def test_figures_enter_no_model():
    upstream = ("generate", "hold_out", "train_vae", "encode", "train_diffusion", "fit_prior", "sample", "reference")
    drawing = {Path(path).relative_to(ROOT) for path in (ROOT / "src/toycrystals/figures").glob("*.py")}
    assert drawing & modules(STAGES["figures"])
    assert not any(drawing & modules(STAGES[name]) for name in upstream)


def test_priors_enter_no_measure_of_images():
    """So that an edit of a prior measures that prior's images again, and no others."""
    for name in ("fit_features", "floor_images", "controls", "evaluate"):
        assert not [path for path in modules(STAGES[name]) if "priors" in path.parts or path.name == "vae.py"]


def test_network_enters_everything_that_depends_on_it():
    trained = ("train_vae", "encode", "train_diffusion", "sample", "reference")
    assert all(Path("src/toycrystals/networks.py") in modules(STAGES[name]) for name in trained)


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A copy for the tests here, which put back what they change."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("pipeline") / "project", symlinks=True)


def planned(folder):
    """Names of the stages that dvc would run, without their matrix suffix."""
    plan = dvc(folder, "repro", "--dry").stdout
    return {name.split("@")[0] for name in re.findall(r"Running stage '(.+)':", plan)}


def test_metrics_json_keeps_its_contract(project):
    metrics = json.loads((project / "plots/compare/metrics.json").read_text())
    assert list(metrics) == METHODS
    wanted = {"nearest_ncc", "aspect_w1", "mass_w1", "fft_radial_l2", *PRIMARY, "type_accuracy", "theta_error_median", "valid"}
    wanted |= {f"matched_psnr_{name}" for name in ("square", "rectangular", "triangular", "honeycomb")}
    for row in metrics.values():
        assert wanted <= set(row)
        assert all(isinstance(value, float) for value in row.values())
    assert metrics["real"]["matched_psnr"] > 50 > metrics["standard"]["matched_psnr"]
    for prior in ("standard", "mop", "diffusion"):
        assert {"latent_mmd2", "latent_auc_boosted", "latent_energy_score", "copy_code", "swap_decoder_type"} <= set(
            metrics[prior]
        )
    assert {"rate", "mutual_information_low", "aggregate_kl_high", "active_units"} <= set(metrics["reconstruction"])


def test_tables_have_a_floor_beside_every_measure_of_images(project):
    table = pd.read_csv(project / "plots/compare/table.csv")
    assert list(table.columns) == [*COLUMNS, "posterior_width"]
    assert set(table["method"]) == set(METHODS)
    floors = table[["floor", "ceiling"]].notna().any(axis=1)
    without = set(table[~floors]["metric"])
    assert without <= {name for name, metric in METRICS.items() if metric.group in ("swap", "latent")} | {"found_vacancy_w1"}
    real = table[(table["method"] == "real") & (table["type"] == "all")].set_index("metric")
    assert (real.loc[list(PRIMARY), "low"] <= real.loc[list(PRIMARY), "value"]).all()
    pairs = pd.read_csv(project / "plots/compare/pairs.csv")
    assert len(pairs) == 2 * 10
    assert pairs["p"].between(0, 1, inclusive="right").all()
    assert len(pd.read_csv(project / "plots/compare/controls.csv")) == 10


def test_every_image_has_a_row(project):
    for method in METHODS:
        rows = pd.read_csv(project / f"plots/evaluate/{method}/images.csv")
        assert len(rows) == TOY["sample"]["n"]
        assert {"asked_type", "asked_theta", "found_type", "found_theta", "reason", "mse", "ssim", "theta_error"} <= set(rows)


def test_quality_is_measured_at_every_number_of_steps(project):
    rows = pd.read_csv(project / "plots/steps/steps.csv")
    assert sorted(rows["steps"].unique()) == TOY["sample"]["curve"]
    assert rows.loc[rows["type"] == "all", ["psnr", "mmd2"]].notna().all(axis=None)


def test_all_methods_answer_the_same_conditions(project):
    test, _ = load_tensors(project / "data/test.safetensors", "dataset")
    held_out, _ = load_tensors(project / "data/heldout.safetensors", "held-out list")
    n = TOY["sample"]["n"]
    assert held_out["type"].bincount().tolist() == [n // 4] * 4
    for name in ("images", "type", "labels", "factors"):
        assert held_out[name].equal(test[name][held_out["index"]])
    for method in METHODS:
        samples, _ = load_tensors(project / "data/samples" / method / "heldout.safetensors", "samples")
        assert samples["images"].shape == (n, 1, 32, 32)
        assert samples["type"].equal(held_out["type"])
        assert samples["labels"].equal(held_out["labels"])


def test_curves_have_a_row_an_epoch(project):
    vae, prior = (pd.read_csv(project / f"plots/{stage}/curve.csv") for stage in ("train_vae", "train_diffusion"))
    assert list(vae.columns) == ["epoch", "total", "reconstruction", "kl", "val_psnr"]
    assert list(prior.columns) == ["epoch", "total", "val_total"]
    assert len(vae) == TOY["vae"]["epochs"]
    assert len(prior) == TOY["diffusion"]["epochs"]


def test_nothing_is_left_to_do(project):
    assert planned(project) == set()
    assert "up to date" in dvc(project, "status").stdout


def test_plots_are_drawn_from_every_declared_file(project):
    drawn = json.loads(dvc(project, "plots", "show", "--json").stdout)["data"]
    assert {"VAE loss", "VAE KL", "diffusion loss", "plots/compare/table.csv"} <= set(drawn)
    assert any(name.endswith("samples.png") for name in drawn)


def test_a_model_that_fails_gives_a_row_that_says_so(scratch):
    """All images black, all codes wild: the evaluation goes on, and the table tells."""

    def spoil(tensors):
        return {
            **tensors,
            "images": torch.zeros_like(tensors["images"]),
            "codes": torch.full_like(tensors["codes"], float("nan")),
        }

    folder = scratch / "data/samples/diffusion"
    tensors, meta = load_tensors(folder / "heldout.safetensors", "samples")
    (folder / "heldout.safetensors").unlink()
    save_tensors(folder / "heldout.safetensors", "samples", spoil(tensors), meta)
    dvc(scratch, "commit", "--force", "sample@diffusion")
    dvc(scratch, "repro", "--single-item", "evaluate@diffusion", "evaluate_codes@diffusion", "compare", "diagnose")
    table = pd.read_csv(scratch / "plots/compare/table.csv")
    assert set(table.loc[table["method"] == "diffusion", "verdict"]) == {"no valid image"}
    metrics = json.loads((scratch / "plots/compare/metrics.json").read_text())["diffusion"]
    assert metrics["valid"] == 0.0
    assert metrics["latent_auc_boosted"] > 0.9


def test_forced_run_gives_the_same_lock(project):
    before = (project / "dvc.lock").read_bytes()
    stages = ("train_vae", "train_diffusion", "sample@diffusion", "evaluate@diffusion")
    dvc(project, "repro", "--force", "--no-run-cache", "--single-item", *stages)
    assert (project / "dvc.lock").read_bytes() == before


@pytest.mark.parametrize(
    ("module", "runs", "stays"),
    [
        ("figures/images.py", {"preview", "figures", "diagnose"}, {"generate", "train_vae", "sample", "evaluate", "compare"}),
        ("metrics/recovery.py", {"evaluate", "floor_images", "controls"}, {"generate", "train_vae", "train_diffusion", "sample"}),
        ("metrics/comparison.py", {"evaluate", "compare"}, {"sample", "figures", "fit_features"}),
        ("diffusion/sampler.py", {"train_diffusion", "sample"}, {"generate", "train_vae", "encode"}),
        ("priors/mop.py", {"fit_prior", "sample"}, {"train_vae", "train_diffusion", "figures", "compare"}),
        ("networks.py", {"train_vae"}, {"generate", "preview"}),
    ],
)
def test_an_edit_runs_what_depends_on_it_and_no_more(project, module, runs, stays):
    path = project / "src/toycrystals" / module
    original = path.read_text()
    path.write_text(original + "\n# edited\n")
    try:
        stages = planned(project)
    finally:
        path.write_text(original)
    assert runs <= stages
    assert not stages & stays


def test_lock_belongs_to_the_committed_params():
    # As YAML 1.2, which DVC writes: PyYAML takes its 1e-05 for a string.
    lock, params = (YAML(typ="safe", pure=True).load(ROOT / name) for name in ("dvc.lock", "params.yaml"))
    assert lock["stages"]["train_vae"]["params"]["params.yaml"]["vae"] == params["vae"]
