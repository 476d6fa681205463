"""The DVC project: who is at work in it, and what git and DVC say when they fail."""

import json
import os
import subprocess
import sys

import pytest
from smoke import git as smoke_git

from toycrystals import repository
from toycrystals.errors import UserError
from toycrystals.repository import exclusive, git

HERE = {"pid": os.getpid(), "cmd": "dvc repro"}
# Where DVC lists itself while it waits for a stage: in the project, in a queued experiment's copy, in that of `--temp`.
LISTS = [".dvc/tmp/rwlock", ".dvc/tmp/exps/tmp1/.dvc/tmp/rwlock", ".dvc/tmp/exps/standalone/tmp1/.dvc/tmp/rwlock"]


@pytest.fixture
def project(tmp_path):
    (tmp_path / ".dvc").mkdir()
    return tmp_path


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


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"write": {"a": null}}', '{"write": {"a": {"pid": null}}}', '{"read": {"a": 1}}']
)
def test_where_the_list_cannot_be_read_somebody_may_be_at_work(project, path, content):
    write_list(project, path, content)
    with pytest.raises(UserError, match=r"rwlock: expected .* when no dvc runs here, remove the file"), exclusive(project):
        pytest.fail("two at once")


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
        repository._run(("sh", "-c", script), tmp_path)
    assert str(error.value) == f"{tmp_path}: {complaint}"
