"""What goes wrong in the pipeline ends in one line, and what is unusual goes through: on a project at toy size."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import smoke
from smoke import dvc, set_params

from toycrystals.core.artifacts import load_tensors, save_tensors

DATA = ["--train", "data/train.safetensors", "--val", "data/val.safetensors"]
SPLITS = [*DATA, "--test", "data/test.safetensors"]
VAE, HELD_OUT = ["--vae", "models/vae.safetensors"], ["--heldout", "data/heldout.safetensors"]
ENCODE = ["stages.encode", *SPLITS, "--model", "models/vae.safetensors", "--out", "out"]
EVALUATE = ["stages.evaluate", *VAE, "--latents", "data/latents", "--samples", "data/samples", "--floor", "data/floor"]
EVALUATE += ["--tables", "out", "--out", "out"]


def run_stage(folder, *arguments, python=None, **kwargs):
    return subprocess.run(
        [python or smoke.PYTHON, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120, **kwargs
    )


def assert_one_line(done, *words):
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_samples_for_other_conditions_are_not_evaluated(scratch):
    tensors, meta = load_tensors(scratch / "data/heldout.safetensors", "held-out list")
    save_tensors(scratch / "data/other.safetensors", "held-out list", {**tensors, "type": tensors["type"].flip(0)}, meta)
    assert_one_line(run_stage(scratch, *EVALUATE, "--heldout", "data/other.safetensors"), "data/samples/", "other conditions")
    assert not (scratch / "out").exists()


def test_wrong_params_end_the_run_with_their_names(scratch):
    set_params(scratch, {"vae": {"beta": "banana", "bta": 1}, "sample": {"steps": 0}})
    done = dvc(scratch, "repro", check=False)
    assert done.returncode != 0
    printed = done.stdout + done.stderr
    assert all(f"params.yaml: {said}" in printed for said in ("vae.beta = ", "vae.bta: unknown", "sample.steps = 0"))
    assert "Traceback" not in printed


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
    assert run_stage(scratch, "stages.generate", *SPLITS, *HELD_OUT).returncode == 0
    assert_one_line(run_stage(scratch, *ENCODE), "image_size = 16", "image_size = 32")


def test_prior_of_another_vae_is_refused(scratch):
    set_params(scratch, {"vae": {"beta": 0.1}})
    done = run_stage(scratch, "stages.train_vae", *DATA, "--model", "models/vae.safetensors", "--curve", "curve.csv")
    assert done.returncode == 0, done.stderr
    done = run_stage(scratch, "stages.sample", *VAE, "--models", "models/priors", *HELD_OUT, "--out", "out")
    assert_one_line(done, "standard.safetensors", "another VAE")


def test_interrupted_training_writes_no_model_and_leaves_its_curve_whole(scratch):
    """Of a stage that was started by hand."""
    set_params(scratch, {"vae": {"epochs": 10000}})
    command = [sys.executable, "-m", "stages.train_vae", *DATA, "--model", "out/vae.safetensors", "--curve", "out/curve.csv"]
    with subprocess.Popen(command, cwd=scratch, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "epoch 2/" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert rest.strip().splitlines()[-1] == "interrupted: no half-written file is left"
    assert "Traceback" not in rest
    assert [path.name for path in (scratch / "out").iterdir()] == ["curve.csv"]
    assert pd.read_csv(scratch / "out/curve.csv").notna().all(axis=None)


def test_unconditional_pipeline_answers_no_request_and_few_images_are_measured_all_the_same(scratch):
    set_params(scratch, {"vae": {"conditional": False}, "data": {"n_heldout": 8}})
    dvc(scratch, "repro")
    assert len(pd.read_csv(scratch / "data/evaluate/mop.csv")) == 8
    assert (scratch / "plots/figures/samples.png").stat().st_size > 1000
    metrics = json.loads((scratch / "plots/evaluate/metrics.json").read_text())
    row = metrics["diffusion"]
    assert {"nearest_ncc", "type_tv", "mmd2_pca", "latent_mmd2", "copy_code"} <= set(row)
    assert not {"matched_psnr", "type_accuracy_merged", "theta_error_median", "swap_decoder_type"} & set(row)
    assert "matched_psnr" in metrics["real"]
    table = pd.read_csv(scratch / "plots/evaluate/table.csv").set_index(["method", "metric", "type"])
    assert ("diffusion", "type_frequency", "honeycomb") in table.index
    # Images and codes were made for no condition, and floors are of draws for given ones.
    of_prior = table.loc[("diffusion", ["mmd2_pca", "latent_mmd2", "copy_code"], "all"), ["floor", "ceiling", "p", "p_holm"]]
    assert of_prior.isna().all(axis=None)


def test_stage_runs_the_package_of_its_own_folder(scratch):
    (scratch / "src/toycrystals/runtime/guard.py").write_text("raise SystemExit('code of the copy')\n")
    done = run_stage(scratch, *ENCODE, python=sys.executable, env={**os.environ, "PYTHONPATH": ""})
    assert "code of the copy" in done.stderr
