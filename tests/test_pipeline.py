"""dvc.yaml against the code that it runs, and the whole pipeline at toy size."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml
from closure import ROOT, import_closure
from ruamel.yaml import YAML
from smoke import TOY, copy_project, dvc, set_params

from toycrystals.artifacts import load_tensors

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
def test_stage_tracks_every_section_that_its_script_reads(name):
    source = (ROOT / script(STAGES[name])).read_text()
    read = set(re.findall(r"(?:params|load_params\(\))\.(\w+)", source))
    tracked = {key.split(".")[0] for key in STAGES[name].get("params", [])}
    assert read == tracked


@pytest.mark.parametrize("name", STAGES)
def test_stage_says_what_it_does(name):
    assert len(STAGES[name]["desc"]) > 10


def test_figures_enter_no_model():
    upstream = ("generate", "train_vae", "encode", "train_diffusion", "fit_prior", "sample", "reference")
    assert all(Path("src/toycrystals/figures.py") not in modules(STAGES[name]) for name in upstream)


def test_network_enters_everything_that_depends_on_it():
    trained = ("train_vae", "encode", "train_diffusion", "sample", "reference")
    assert all(Path("src/toycrystals/networks.py") in modules(STAGES[name]) for name in trained)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copy_project(tmp_path_factory.mktemp("project"))
    set_params(folder, TOY)
    dvc(folder, "repro")
    return folder


def planned(folder):
    """Names of the stages that dvc would run, without their matrix suffix."""
    plan = dvc(folder, "repro", "--dry").stdout
    return {name.split("@")[0] for name in re.findall(r"Running stage '(.+)':", plan)}


def test_metrics_json_keeps_its_contract(project):
    metrics = json.loads((project / "plots/compare/metrics.json").read_text())
    assert list(metrics) == METHODS
    wanted = {"nearest_ncc", "aspect_w1", "mass_w1", "fft_radial_l2", "matched_psnr"}
    wanted |= {f"matched_psnr_{name}" for name in ("square", "rectangular", "triangular", "honeycomb")}
    for row in metrics.values():
        assert wanted <= set(row)
        assert all(isinstance(value, float) for value in row.values())
    assert metrics["real"]["matched_psnr"] > 50 > metrics["standard"]["matched_psnr"]


def test_all_methods_answer_the_same_conditions(project):
    test, _ = load_tensors(project / "data/test.safetensors", "dataset")
    for method in METHODS:
        samples, _ = load_tensors(project / "data/samples" / method / "heldout.safetensors", "samples")
        assert samples["images"].shape == (TOY["sample"]["n"], 1, 32, 32)
        assert samples["type"].equal(test["type"][: TOY["sample"]["n"]])
        assert samples["labels"].equal(test["labels"][: TOY["sample"]["n"]])


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
    assert {"VAE loss", "VAE KL", "diffusion loss", "matched PSNR by method"} <= set(drawn)
    assert any(name.endswith("samples.png") for name in drawn)


def test_few_samples_are_drawn_all_the_same(scratch):
    set_params(scratch, {"sample": {"n": 3}})
    dvc(scratch, "repro", "figures")
    assert (scratch / "plots/figures/samples.png").stat().st_size > 1000


def test_samples_for_other_conditions_are_not_evaluated(scratch):
    train = ["--train", "data/train.safetensors", "--val", "data/val.safetensors", "--test", "data/test.safetensors"]
    params = scratch / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 1"))
    assert run_stage(scratch, "stages.generate", *train).returncode == 0
    samples = ["--samples", "data/samples/mop/heldout.safetensors", "--test", "data/test.safetensors"]
    assert_one_line(run_stage(scratch, "stages.evaluate", *samples, "--out", "out.json"), "mop", "other conditions")


def test_forced_run_gives_the_same_lock(project):
    before = (project / "dvc.lock").read_bytes()
    dvc(project, "repro", "--force", "--no-run-cache")
    assert (project / "dvc.lock").read_bytes() == before


@pytest.mark.parametrize(
    ("module", "runs", "stays"),
    [
        ("figures.py", {"preview", "figures", "compare"}, {"generate", "train_vae", "sample", "evaluate"}),
        ("metrics/matching.py", {"evaluate"}, {"generate", "train_vae", "train_diffusion", "sample"}),
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


@pytest.fixture
def scratch(project, tmp_path):
    """The finished project again, free to be damaged."""
    folder = tmp_path / "scratch"
    shutil.copytree(project, folder, symlinks=True)
    return folder


def run_stage(folder, *arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120, **kwargs
    )


ENCODE = ["stages.encode", "--train", "data/train.safetensors", "--val", "data/val.safetensors"]
ENCODE += ["--test", "data/test.safetensors", "--model", "models/vae.safetensors", "--out", "out"]


def assert_one_line(done, *words):
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("vae", "beta", "banana"), ("sample", "steps", 0), ("data", "variant", "none"), ("vae", "bta", 1)],
)
def test_wrong_param_ends_the_run_with_its_name(scratch, section, key, value):
    set_params(scratch, {section: {key: value}})
    done = dvc(scratch, "repro", check=False)
    assert done.returncode != 0
    assert f"params.yaml: {section}.{key}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_truncated_artifact_is_named(scratch):
    path = scratch / "models/vae.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])
    assert_one_line(run_stage(scratch, *ENCODE), "models/vae.safetensors", "truncated")
    assert not (scratch / "out").exists()


def test_missing_artifact_is_named(scratch):
    (scratch / "data/val.safetensors").unlink()
    assert_one_line(run_stage(scratch, *ENCODE), "data/val.safetensors", "dvc")


def test_data_of_another_size_is_refused(scratch):
    set_params(scratch, {"data": {"image_size": 16}})
    splits = ["--train", "data/train.safetensors", "--val", "data/val.safetensors", "--test", "data/test.safetensors"]
    assert run_stage(scratch, "stages.generate", *splits).returncode == 0
    assert_one_line(run_stage(scratch, *ENCODE), "image_size = 16", "image_size = 32")


def test_prior_of_another_vae_is_refused(scratch):
    set_params(scratch, {"vae": {"beta": 0.1}})
    train = ["--train", "data/train.safetensors", "--val", "data/val.safetensors"]
    done = run_stage(scratch, "stages.train_vae", *train, "--model", "models/vae.safetensors", "--curve", "curve.csv")
    assert done.returncode == 0, done.stderr
    model = ["--model", "models/priors/mop.safetensors", "--vae", "models/vae.safetensors"]
    done = run_stage(scratch, "stages.sample", "--prior", "mop", *model, "--test", "data/test.safetensors", "--out", "out")
    assert_one_line(done, "mop.safetensors", "another VAE")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_writes_nothing(scratch, signal_number):
    set_params(scratch, {"vae": {"epochs": 10000}})
    command = [sys.executable, "-m", "stages.train_vae", "--train", "data/train.safetensors", "--val", "data/val.safetensors"]
    command += ["--model", "out/vae.safetensors", "--curve", "out/curve.csv"]
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background shell makes its children deaf to Ctrl-C
    with subprocess.Popen(command, cwd=scratch, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        for line in process.stderr:
            if "epoch 1/" in line:
                break
        process.send_signal(signal_number)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert rest.strip().splitlines()[-1] == "interrupted: no half-written file is left"
    assert "Traceback" not in rest
    assert not (scratch / "out").exists()


def test_unconditional_pipeline_answers_no_request(scratch):
    set_params(scratch, {"vae": {"conditional": False}})
    dvc(scratch, "repro", "evaluate@diffusion")
    row = json.loads((scratch / "plots/evaluate/diffusion.json").read_text())
    assert "nearest_ncc" in row
    assert sum(value for name, value in row.items() if name.startswith("type_frequency")) == pytest.approx(1.0)
    assert not [name for name in row if name.startswith("matched") or name == "type_accuracy"]


def test_stage_runs_the_package_of_its_own_folder(scratch):
    (scratch / "src/toycrystals/dataset.py").write_text("raise SystemExit('code of the copy')\n")
    done = run_stage(scratch, "stages.preview", "--out", "out", env={**os.environ, "PYTHONPATH": ""})
    assert "code of the copy" in done.stderr


def test_lock_belongs_to_the_committed_params():
    # As YAML 1.2, which DVC writes: PyYAML takes its 1e-05 for a string.
    lock, params = (YAML(typ="safe", pure=True).load(ROOT / name) for name in ("dvc.lock", "params.yaml"))
    assert lock["stages"]["train_vae"]["params"]["params.yaml"]["vae"] == params["vae"]
