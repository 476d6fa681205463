"""Provenance: git, DVC and the models are asked, and what they do not tell is said."""

import shutil
import subprocess

import pytest
import torch
from closure import ROOT
from smoke import commit_all, copy_project, git

from toycrystals.artifacts import save_tensors
from toycrystals.report.sources import Output, changed_params, check_lock, read_code, read_makers, read_outputs, reader_versions


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The project with its tracked results, without data and models; to be read, or left as it was found."""
    folder = copy_project(tmp_path_factory.mktemp("clone"))
    for name in git(ROOT, "ls-files", "plots", "dvc.lock").splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    commit_all(folder, "results & <more>")
    return folder


@pytest.fixture
def changed(clone):
    """The clone with another beta in params.yaml."""
    path = clone / "params.yaml"
    before = path.read_text()
    path.write_text(before.replace("beta: 0.00001", "beta: 0.5"))
    yield clone
    path.write_text(before)


def test_a_clean_tree_has_a_commit_and_no_changes(clone):
    code = read_code(clone)
    assert len(code.commit) == 40
    assert (code.subject, code.changes, code.problem) == ("results & <more>", (), "")
    assert changed_params(clone) == {}


def test_a_commit_without_a_message_has_no_subject(tmp_path):
    git(tmp_path, "init", "--quiet")
    identity = ["-c", "user.name=smoke", "-c", "user.email=smoke@localhost"]
    git(tmp_path, *identity, "commit", "--quiet", "--allow-empty", "--allow-empty-message", "--message", "")
    code = read_code(tmp_path)
    assert (len(code.commit), code.subject, code.problem) == (40, "", "")


def test_a_changed_tree_says_what_differs_and_from_what(changed):
    assert read_code(changed).changes == (" M params.yaml",)
    assert changed_params(changed) == {"vae.beta": (1e-5, 0.5)}


def test_without_git_the_report_says_why(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in read_code(tmp_path).problem
    assert changed_params(tmp_path) is None


def test_without_a_git_program_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git" in read_code(tmp_path).problem


def test_lock_names_the_stages_that_would_run(changed):
    lock = check_lock(changed)
    assert "train_vae" in lock.stale
    assert not lock.matches
    assert git(changed, "status", "--short") == " M params.yaml\n"


@pytest.mark.parametrize(
    ("code", "out", "err", "stale", "problem"),
    [
        (0, "Data and pipelines are up to date.", "", (), ""),
        (0, "Running stage 'a@b':\nRunning stage 'c':\n", "", ("a@b", "c"), ""),
        (255, "", "ERROR: failed to reproduce 'train_vae': [Errno 2] No such file", ("train_vae",), ""),
        (255, "", "ERROR: Unable to acquire lock.", (), "Unable to acquire lock."),
    ],
)
def test_what_dvc_says_of_the_lock(tmp_path, monkeypatch, code, out, err, stale, problem):
    (tmp_path / "dvc.lock").write_text("")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, out, err))
    lock = check_lock(tmp_path)
    assert (lock.stale, lock.problem) == (stale, problem)
    assert lock.matches == (not stale and not problem)


def test_no_lock_is_said_without_asking_dvc(tmp_path):
    assert "no dvc.lock" in check_lock(tmp_path).problem
    assert read_outputs(tmp_path) == []


def test_outputs_are_those_that_dvc_stores(clone):
    outputs = {out.path: out for out in read_outputs(clone)}
    assert {"data/train.safetensors", "models/vae.safetensors"} <= set(outputs)
    assert not any(path.startswith("plots/") for path in outputs)
    train = outputs["data/train.safetensors"]
    assert (train.stage, len(train.md5), train.present) == ("generate", 32, False)


def test_models_tell_the_versions_that_made_them_or_why_not(tmp_path):
    kinds = {"vae": ("VAE", {"made": {"versions": {"torch": "9.9"}}}), "priors/mop": ("mop prior", {}), "features": ("VAE", {})}
    for name, (kind, meta) in kinds.items():
        save_tensors(tmp_path / f"models/{name}.safetensors", kind, {"w": torch.zeros(1)}, meta)
    (tmp_path / "models/priors/flow.safetensors").write_text("no tensors")
    outputs = [Output(f"models/{name}.safetensors", "", "", 0, True) for name in (*kinds, "priors/flow")]
    outputs.append(Output("models/absent.safetensors", "", "", 0, False))
    vae, mop, features, flow = read_makers(tmp_path, outputs)
    assert (vae.versions, vae.problem) == ({"torch": "9.9"}, "")
    assert "does not say" in mop.problem
    assert "expected a feature extractor file" in features.problem
    assert flow.problem


def test_the_reader_has_its_own_versions():
    assert reader_versions()["torch"] == torch.__version__
