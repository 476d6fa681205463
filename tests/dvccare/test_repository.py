"""The DVC project: who is at work in it, and what git and DVC say when they fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from smoke import git as smoke_git

from dvccare.repository import _run, exclusive, find_root, git, read_lock, stage_of
from toycrystals.runtime.errors import UserError

HERE = {"pid": os.getpid(), "cmd": "dvc repro"}
# Where DVC lists itself: in the project, while it prepares an experiment, in a queued one's copy, in that of `--temp`, and in
# that of a project that is a folder of a repository.
LISTS = [
    ".dvc/tmp/rwlock",
    ".dvc/tmp/exps/rwlock",
    ".dvc/tmp/exps/tmp1/.dvc/tmp/rwlock",
    ".dvc/tmp/exps/standalone/tmp1/.dvc/tmp/rwlock",
    ".dvc/tmp/exps/standalone/tmp1/some/folder/.dvc/tmp/rwlock",
]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project/.dvc").mkdir(parents=True)
    return tmp_path / "project"


def write_list(project, path, content):
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text(content)


@pytest.fixture
def gone():
    """The PID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_at_a_time(project):
    with exclusive(project), pytest.raises(UserError, match="another DVC command is at work"), exclusive(project):
        pytest.fail("two at once")
    with exclusive(project):
        pass


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("listed", [{"write": {"data/one.bin": HERE}}, {"read": {"make.py": [HERE]}}], ids=["writes", "reads"])
def test_a_listed_command_is_at_work_until_it_has_ended(project, path, listed, gone):
    write_list(project, path, json.dumps(listed))
    with pytest.raises(UserError, match="another DVC command is at work"), exclusive(project):
        pytest.fail("two at once")
    write_list(project, path, json.dumps(listed).replace(str(os.getpid()), str(gone)))
    with exclusive(project):
        pass


def test_the_complaint_of_git_is_told_and_not_its_hints(project):
    smoke_git(project, "init", "--quiet")
    with pytest.raises(UserError, match=r": fatal: ambiguous argument 'nothing'.*"):
        git(project, "log", "nothing")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("echo a warning >&2; echo ERROR: the reason >&2; echo a hint >&2; exit 1", "ERROR: the reason"),
        ("echo the reason >&2; exit 1", "the reason"),
        ("echo the reason; exit 1", "the reason"),
        ("exit 3", "sh ended with 3"),
    ],
)
def test_a_complaint_is_one_line(tmp_path, script, complaint):
    with pytest.raises(UserError) as error:
        _run(("sh", "-c", script), tmp_path)
    assert str(error.value) == f"{tmp_path}: {complaint}"


@pytest.mark.parametrize("text", ["", "stages: 3\n", "{", "stages:\n  a: {outs: [{md5: x}]}\n"])
def test_a_file_that_is_no_lock_is_one_line(tmp_path, text):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(UserError, match="expected a lock"):
        read_lock(tmp_path / "dvc.lock")


def test_outside_of_a_project_is_one_line(tmp_path):
    with pytest.raises(UserError, match="expected a DVC project"):
        find_root(tmp_path)


LOCK = """
stages:
  train:
    cmd: train
    outs:
    - {path: models/vae.bin, md5: a}
    - {path: figures, md5: b.dir}
"""


@pytest.fixture
def locked(project):
    (project / "dvc.yaml").touch()
    (project / "dvc.lock").write_text(LOCK)
    (project / "models").mkdir()
    return project


@pytest.mark.parametrize("out", ["models/vae.bin", "figures", "figures/one.png", "figures/deeper/one.png", "models/../figures"])
def test_an_output_and_what_lies_in_it_are_the_stages(locked, monkeypatch, out):
    assert stage_of(locked / out) == "train"
    monkeypatch.chdir(locked / "models")
    assert stage_of(Path("..") / out) == "train"


@pytest.mark.parametrize("path", ["models/other.bin", "models", "vae.bin", "../models/vae.bin"])
def test_other_paths_in_the_project_and_outside_are_no_stages(locked, path):
    assert stage_of(locked / path) is None


def test_an_output_is_known_though_it_is_a_link_into_the_cache_or_is_reached_by_one(locked, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/a").touch()
    (locked / "models/vae.bin").symlink_to(tmp_path / "cache/a")
    assert stage_of(locked / "models/vae.bin") == "train"
    (tmp_path / "link").symlink_to(locked / "models")
    assert stage_of(tmp_path / "link/vae.bin") == "train"


def test_a_link_to_an_output_is_none_for_it_is_what_would_be_replaced(locked):
    (locked / "link.bin").symlink_to(locked / "models/vae.bin")
    assert stage_of(locked / "link.bin") is None


def test_without_a_lock_nothing_is_an_output_and_one_that_cannot_be_read_is_no_permission(locked):
    (locked / "dvc.lock").write_text("{")
    with pytest.raises(UserError, match="expected a lock"):
        stage_of(locked / "models/vae.bin")
    (locked / "dvc.lock").unlink()
    assert stage_of(locked / "models/vae.bin") is None
