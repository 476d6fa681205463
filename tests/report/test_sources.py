"""Provenance: git, DVC and the models are asked, and what they do not tell is said."""

import subprocess

import pytest
import torch
from smoke import commit_all, git

from toycrystals.core.artifacts import save_tensors
from toycrystals.report.sources import changed_params, check_lock, read_code, read_maker, read_outputs, trace, versions

DVC_YAML = """
stages:
  train_vae: {cmd: train, params: [vae.beta], outs: [models/vae.safetensors], plots: [plots/curve.csv: {cache: false}]}
"""
LOCK = """
schema: '2.0'
stages:
  train_vae:
    cmd: train
    params: {params.yaml: {vae.beta: 1e-05}}
    outs:
    - {path: models/vae.safetensors, hash: md5, md5: 0123456789abcdef0123456789abcdef, size: 1600}
    - {path: plots/curve.csv, hash: md5, md5: d41d8cd98f00b204e9800998ecf8427e}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A committed DVC project of one stage that has run, without its model; to be left as it was found."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".dvc").mkdir()
    (folder / "plots").mkdir()
    files = {"dvc.yaml": DVC_YAML, "dvc.lock": LOCK, "params.yaml": "vae:\n  beta: 0.00001\n", ".dvc/config": ""}
    for name, content in (files | {"plots/curve.csv": "", ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n"}).items():
        (folder / name).write_text(content)
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "smoke")
    git(folder, "config", "user.email", "smoke@localhost")
    commit_all(folder, "results & <more>")
    return folder


@pytest.fixture
def changed(project):
    """The project with another beta in params.yaml."""
    path = project / "params.yaml"
    before = path.read_text()
    path.write_text("vae:\n  beta: 0.5\n")
    yield project
    path.write_text(before)


def test_a_clean_project_has_a_commit_no_changes_and_a_lock_that_matches(project):
    told = trace(project)
    code = told["code"]
    assert len(code.commit) == 40
    assert (code.subject, code.changes, code.problem) == ("results & <more>", [], "")
    assert (told["changed"], told["stale"], told["lock_problem"], told["makers"]) == ({}, [], "", {})


def test_a_changed_project_says_what_differs_from_what_and_which_stages_would_run(changed):
    assert read_code(changed).changes == [" M params.yaml"]
    assert changed_params(changed) == {"vae.beta": (1e-5, 0.5)}
    assert check_lock(changed) == (["train_vae"], "")
    assert git(changed, "status", "--short") == " M params.yaml\n"


def test_a_commit_without_a_message_has_no_subject(tmp_path):
    git(tmp_path, "init", "--quiet")
    identity = ["-c", "user.name=smoke", "-c", "user.email=smoke@localhost"]
    git(tmp_path, *identity, "commit", "--quiet", "--allow-empty", "--allow-empty-message", "--message", "")
    code = read_code(tmp_path)
    assert (len(code.commit), code.subject, code.problem) == (40, "", "")


def test_without_git_the_report_says_why(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in read_code(tmp_path).problem
    assert changed_params(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git" in read_code(tmp_path).problem


@pytest.mark.parametrize(
    ("code", "out", "err", "stale", "problem"),
    [
        (0, "Data and pipelines are up to date.", "", [], ""),
        (0, "Running stage 'a@b':\nRunning stage 'c':\n", "", ["a@b", "c"], ""),
        (255, "", "ERROR: failed to reproduce 'train_vae': [Errno 2] No such file", ["train_vae"], ""),
        (255, "", "ERROR: Unable to acquire lock.", [], "Unable to acquire lock."),
        (255, "", "", [], "dvc ended with 255"),
    ],
)
def test_what_dvc_says_of_the_lock(tmp_path, monkeypatch, code, out, err, stale, problem):
    (tmp_path / "dvc.lock").write_text("")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, out, err))
    assert check_lock(tmp_path) == (stale, problem)


def test_no_lock_is_said_without_asking_dvc(tmp_path):
    assert "no dvc.lock" in check_lock(tmp_path)[1]
    assert read_outputs(tmp_path) == []


def test_outputs_are_those_that_dvc_stores(project):
    (output,) = read_outputs(project)
    expected = {"path": "models/vae.safetensors", "stage": "train_vae", "size": 1600, "present": False}
    assert output.items() >= expected.items()


def test_models_tell_the_versions_that_made_them_or_why_not(tmp_path):
    for name, meta in {"vae": {"made": {"versions": {"torch": "9.9"}}}, "mop": {}, "features": {"made": "by hand"}}.items():
        save_tensors(tmp_path / name, "model", {"w": torch.zeros(1)}, meta)
    (tmp_path / "flow").write_text("no tensors")
    assert read_maker(tmp_path / "vae") == {"torch": "9.9"}
    for name in ("mop", "features"):
        assert "does not say" in read_maker(tmp_path / name)
    assert isinstance(read_maker(tmp_path / "flow"), str)


def test_versions_have_a_column_for_each_set_that_models_were_made_with():
    makers = {"a/vae.st": {"torch": "1"}, "a/mop.st": {"torch": "2"}, "a/flow.st": {"torch": "1"}, "a/odd.st": "it does not say"}
    found = versions(makers, ["vega-lite@5.1"])
    assert list(found) == ["made vae, flow", "made mop", "made this page"]
    assert found.loc["torch"].to_list() == ["1", "2", torch.__version__]
    assert found.loc["vega-lite"].to_list() == ["", "", "5.1"]
