"""Every command that README.md and docs/ show runs, in their order, and prints what they say that it prints.

The stages are stubs here: what they do is tested elsewhere, and what dvc makes of them does not depend on it.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bucket import bucket_server
from closure import ROOT
from documents import DOCUMENTS, commands
from smoke import commit_all, dvc
from stub import stub_pipeline

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
    stub_pipeline(folder, finished)
    dvc(folder, "repro")
    commit_all(folder, "stubs")
    return folder


@pytest.fixture(scope="module")
def bucket():
    with bucket_server() as env:
        yield env


@pytest.fixture
def shell(stubbed, bucket, tmp_path):
    """A function that runs a command as a user in the project's root would, with this environment's programs."""
    project, state = tmp_path / "work/project", tmp_path / "state"
    shutil.copytree(stubbed, project, symlinks=True)
    state.mkdir()
    (state / "folder").write_text(str(project))
    environment = Path(sys.prefix)
    (project / ".venv").symlink_to(environment)
    # As installed there: the command line of this project, whichever checkout the environment has.
    program = f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(project / "src"))} exec {sys.executable} -m toycrystals.cli "$@"\n'
    (state / "bin").mkdir()
    (state / "bin/toycrystals").write_text(program)
    (state / "bin/toycrystals").chmod(0o755)
    # The environment is there: make must not install into it.
    (state / "bin/make").write_text('#!/bin/sh\nexec /usr/bin/env -S PATH="$MAKE_PATH" make -o .venv/.installed "$@"\n')
    (state / "bin/make").chmod(0o755)
    paths = os.pathsep.join([str(state / "bin"), str(environment / "bin"), os.environ["PATH"]])
    plain = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
    identity = {f"GIT_{who}_{what}": "smoke" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **bucket, **identity, "PATH": paths, "MAKE_PATH": plain, "TOYCRYSTALS_DEVICE": "cpu", "COLUMNS": "200"}

    def run(command):
        script = SHELL.format(state=state, command=command)
        return subprocess.run(
            ["bash", "-c", script], env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    return run


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_runs_and_prints_what_is_shown(shell, document):
    for command in commands(document):
        done = shell(command.text)
        printed = done.stdout + done.stderr
        where = f"{document.relative_to(ROOT)}:{command.line}: {command.text}"
        assert (done.returncode != 0) == command.fails, f"{where}\n{printed}"
        lines = {" ".join(line.split()) for line in printed.splitlines()}
        missing = [line for line in command.fixed_output if " ".join(line.split()) not in lines]
        assert not missing, f"{where}\nshown, but not printed: {missing}\n{printed}"
