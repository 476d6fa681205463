"""What the workflow costs beyond the work: dvc on a finished project, the start of a stage, provenance, the report.

Floors: `dvc --version` for dvc, the import of torch for stages and the report.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import smoke
from closure import ROOT
from smoke import dvc, set_params

from toycrystals.core.provenance import Origin
from toycrystals.runtime.guard import Guard

ROUNDS = {"rounds": 3, "iterations": 1, "warmup_rounds": 1}


def python(*arguments):
    env = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, check=True)


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A finished project with 20 experiments."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("workflow") / "project", symlinks=True)
    for k in range(20):
        set_params(folder, {"mop": {"neighbours": 1 + k}})
        dvc(folder, "exp", "save", "--name", f"neighbours-{k}", "--force")
    set_params(folder, {"mop": {"neighbours": 8}})
    return folder


@pytest.mark.benchmark(group="dvc")
@pytest.mark.parametrize(
    "arguments", [["--version"], ["repro"], ["status"], ["exp", "show"], ["exp", "show", "--only-changed"]], ids=" ".join
)
def test_dvc(benchmark, project, arguments, monkeypatch):
    monkeypatch.setattr(smoke, "PYTHON", Path(sys.executable))  # as a user starts it, imports included
    benchmark.pedantic(dvc, (project, *arguments), **ROUNDS)


STAGES = sorted(f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py") if "__main__" in path.read_text())


@pytest.mark.benchmark(group="start of a stage")
@pytest.mark.parametrize("module", ["torch", *STAGES])
def test_start_of_a_stage(benchmark, module):
    benchmark.pedantic(python, ("-c", f"import {module}"), **ROUNDS)


@pytest.mark.benchmark(group="provenance")
def test_guard(benchmark, monkeypatch):
    """Every source hashed at the start, and what was imported of them again at the end."""
    monkeypatch.chdir(ROOT)

    def check():
        guard = Guard(ROOT)
        guard.start([], [])
        return guard.changes()

    assert benchmark(check) == []


@pytest.mark.benchmark(group="provenance")
def test_hash_of_the_inputs(benchmark, tmp_path):
    """Of a training split of the default size, 205 MB; a stage hashes them beside its work."""
    (tmp_path / "train").write_bytes(os.urandom(1 << 20) * 205)
    benchmark(lambda: Origin("train", train=tmp_path / "train").made({}))


@pytest.mark.benchmark(group="report")
def test_report(benchmark, tmp_path):
    """Of the committed results, lock and all."""
    benchmark.pedantic(
        python, ("-m", "toycrystals.cli", "report", "--out", str(tmp_path / "report.html")), rounds=3, warmup_rounds=1
    )
