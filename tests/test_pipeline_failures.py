"""What goes wrong in the pipeline ends in one line, and what is unusual goes through: on a project at toy size."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
import smoke
from smoke import dvc, set_params

from toycrystals.artifacts import load_tensors, save_tensors


def test_few_samples_are_drawn_all_the_same(scratch):
    set_params(scratch, {"sample": {"n": 8}})
    dvc(scratch, "repro", "figures")
    assert (scratch / "plots/figures/samples.png").stat().st_size > 1000


def test_samples_for_other_conditions_are_not_evaluated(scratch):
    other = copy_tensors(scratch / "data/heldout.safetensors", "held-out list", lambda t: {**t, "type": t["type"].flip(0)})
    samples = ["--samples", "data/samples/mop/heldout.safetensors", "--heldout", other, "--train", "data/train.safetensors"]
    done = run_stage(scratch, "stages.evaluate", *samples, "--features", "models/features.safetensors", "--out", "out")
    assert_one_line(done, "mop", "other conditions")
    assert not (scratch / "out").exists()


def copy_tensors(path, kind, change):
    """A copy of a file beside it, with changed tensors."""
    tensors, meta = load_tensors(path, kind)
    other = path.with_name("other.safetensors")
    save_tensors(other, kind, change(tensors), meta)
    return str(other)


def run_stage(folder, *arguments, python=None, **kwargs):
    return subprocess.run(
        [python or smoke.PYTHON, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120, **kwargs
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
    done = run_stage(scratch, "stages.sample", "--prior", "mop", *model, "--heldout", "data/heldout.safetensors", "--out", "out")
    assert_one_line(done, "mop.safetensors", "another VAE")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_writes_nothing(scratch, signal_number):
    set_params(scratch, {"vae": {"epochs": 10000}})
    command = [sys.executable, "-m", "stages.train_vae", "--train", "data/train.safetensors", "--val", "data/val.safetensors"]
    command += ["--model", "out/vae.safetensors", "--curve", "out/curve.csv"]
    with subprocess.Popen(command, cwd=scratch, stderr=subprocess.PIPE, text=True) as process:
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
    dvc(scratch, "repro", "compare")
    metrics = json.loads((scratch / "plots/compare/metrics.json").read_text())
    row = metrics["diffusion"]
    assert {"nearest_ncc", "type_tv", "mmd2_pca", "latent_mmd2", "copy_code"} <= set(row)
    assert not {"matched_psnr", "type_accuracy", "theta_error_median", "swap_decoder_type", "latent_energy_score"} & set(row)
    assert "matched_psnr" in metrics["real"]
    table = pd.read_csv(scratch / "plots/compare/table.csv").set_index(["method", "metric", "type"])
    assert ("diffusion", "type_frequency", "honeycomb") in table.index
    # Its images were made for no condition, and floors are of draws for given ones; its codes have one all the same.
    assert table.loc[("diffusion", "mmd2_pca", "all"), ["floor", "ceiling"]].isna().all()
    assert table.loc[("diffusion", ["latent_mmd2", "copy_code"], "all"), "floor"].notna().all()


def test_stage_runs_the_package_of_its_own_folder(scratch):
    (scratch / "src/toycrystals/dataset.py").write_text("raise SystemExit('code of the copy')\n")
    done = run_stage(scratch, "stages.preview", "--out", "out", python=sys.executable, env={**os.environ, "PYTHONPATH": ""})
    assert "code of the copy" in done.stderr
