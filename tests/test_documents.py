"""Every command that README.md and docs/ show runs, in their order, and prints what they say that it prints.

The stages are stubs here: what they do is tested elsewhere, and what dvc makes of them does not depend on it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import smoke
from bucket import bucket_server
from closure import ROOT
from documents import DOCUMENTS, Command, commands
from smoke import commit_all, dvc, set_params
from stub import stub_pipeline

pytestmark = pytest.mark.acceptance

WITH_COMMANDS = [path for path in DOCUMENTS if commands(path)]
# Carries folder and exported variables from one command to the next.
SHELL = """
source {state}/env 2>/dev/null
cd "$(cat {state}/folder)"
{command}
code=$?
pwd > {state}/folder
export -p > {state}/env
exit $code
"""


@pytest.fixture(scope="module")
def stubbed(finished, tmp_path_factory):
    """A project with stubs for stages, its results committed."""
    folder = tmp_path_factory.mktemp("stubbed") / "project"
    shutil.copytree(finished, folder, symlinks=True)
    set_params(folder, {"data": {"n_test": 8192}})  # enough for what the documents ask for
    stub_pipeline(folder, finished)
    dvc(folder, "repro")
    commit_all(folder, "stubs")
    return folder


@pytest.fixture(scope="module")
def bucket():
    with bucket_server() as env:
        yield env


def activated(project):
    """The folder of programs that the document's `.venv` has: those of this environment, with the project's own package."""
    environment, programs = Path(sys.prefix) / "bin", project / ".venv/bin"
    programs.mkdir(parents=True)
    source, python = shlex.quote(str(project / "src")), shlex.quote(str(smoke.PYTHON))
    wrappers = {
        "python": f'PYTHONPATH={source} exec {python} "$@"',
        "dvc": f'exec {python} -m dvc "$@"',
        "toycrystals": f'PYTHONPATH={source} exec {python} -m toycrystals.cli "$@"',
        # The environment is there: make must not install into it.
        "make": f'exec {shlex.quote(str(shutil.which("make")))} -o .venv/.installed "$@"',
    }
    for name, script in wrappers.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    for program in environment.iterdir():
        if not (programs / program.name).exists() and not program.name.startswith(("python", "pip", "activate")):
            (programs / program.name).symlink_to(program)
    (programs / "activate").write_text(f"export PATH={shlex.quote(str(programs))}:$PATH\n")
    return programs


@pytest.fixture
def shell(stubbed, bucket, tmp_path):
    """A function that runs a command as a user in the project's root would, in the project's environment."""
    project, state = tmp_path / "work/project", tmp_path / "state"
    shutil.copytree(stubbed, project, symlinks=True)
    state.mkdir()
    (state / "folder").write_text(str(project))
    paths = os.pathsep.join([str(activated(project)), os.environ["PATH"]])
    identity = {f"GIT_{who}_{what}": "smoke" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **bucket, **identity, "PATH": paths, "TOYCRYSTALS_DEVICE": "cpu", "COLUMNS": "200"}

    def run(command):
        script = SHELL.format(state=state, command=command)
        return subprocess.run(
            ["bash", "-c", script], env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    return run


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.name)
def test_every_command_runs_and_prints_what_is_shown(shell, document):
    queued = []
    for command in commands(document):
        done = shell(command.text)
        printed = done.stdout + done.stderr
        where = f"{document.relative_to(ROOT)}:{command.line}: {command.text}"
        assert (done.returncode != 0) == command.fails, f"{where}\n{printed}"
        missing = command.missing(printed)
        assert not missing, f"{where}\nshown, but not printed: {missing}\n{printed}"
        # DVC exits with 0 where runs of the queue failed.
        assert command.fails or "Failed to reproduce" not in printed, f"{where}\n{printed}"
        queued += re.findall(r"Queued experiment '(.+?)'", printed)
        if "--run-all" in command.text:
            assert queued
            assert set(queued) <= set(shell("dvc exp list --all-commits --name-only").stdout.split()), f"{where}\n{printed}"
            assert "Failed" not in shell("dvc queue status").stdout


def test_documents_with_commands_are_those_that_show_work():
    assert {path.name for path in WITH_COMMANDS} == {"README.md", "data.md", "experiments.md", "reproduction.md", "sharing.md"}


SHOWN = """\
| Experiment               | psnr.diffusion | prediction |
|--------------------------|----------------|------------|
| ├── 1ab929a [objective-2] | 28.23          | eps        |
...
56 files pushed
"""
PRINTED = """\
| Experiment | psnr.diffusion | training_seed | prediction |
|------------|------|------|------|
| └── 9999999 [objective-2] | -1e-05 | 0 | eps |
1 files pushed
"""


def test_numbers_revisions_and_more_columns_may_differ():
    assert not Command("", 1, SHOWN.splitlines()).missing(PRINTED)


@pytest.mark.parametrize(
    ("printed", "instead"),
    [("objective-2", "objective-1"), ("| eps", "| x0"), ("psnr", "ssim"), ("pushed", "fetched"), ("1 f", "f")],
)
def test_a_line_that_is_not_printed_is_found(printed, instead):
    assert len(Command("", 1, SHOWN.splitlines()).missing(PRINTED.replace(printed, instead))) == 1
