"""A stage may not outlive what made it: sources, params and inputs are compared from its start to its end."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from closure import ROOT
from stopping import has_ended

STAGE = '''"""A stage that edits its own project while it runs."""

import sys
from pathlib import Path

from stages.command import run
from toycrystals.lattice import TYPES


def edit(source: Path, folder: Path, out: Path) -> None:
    """Run the line of code in `source`."""
    (out / "result").write_text("result")
    exec(source.read_text())


if __name__ == "__main__":
    run(edit)
'''
PARAMS = "seed: 0\nvae:\n  beta: 1e-5\n  width: 8\nmop:\n  neighbours: 3\n"
PIPELINE = {"stages": {"edit": {"cmd": "", "params": ["seed", "vae.beta"]}}}


@pytest.fixture
def project(tmp_path):
    """The stages and the package, with one stage more that does what it is told."""
    for name in ("src/toycrystals", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages/edit.py").write_text(STAGE)
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/old").write_text("old")
    (tmp_path / "folder/deep/old").write_text("old")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text(yaml.dump(PIPELINE))
    return tmp_path


def run(project, code, cwd=None, **env):
    (project / "source.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | env
    return subprocess.run(
        [sys.executable, "-m", "stages.edit", "--source", "source.py", "--folder", "folder", "--out", "results"],
        cwd=cwd or project, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def write(path, text):
    return f"Path({path!r}).write_text({text!r})"


HARMLESS = {
    "nothing": "pass",
    "a module that it does not import": write("src/toycrystals/vae.py", "edited"),
    "a comment in params.yaml": write("params.yaml", PARAMS + "# a comment\n"),
    "a param of other stages": write(
        "params.yaml", PARAMS.replace("width: 8", "width: 9").replace("neighbours: 3", "neighbours: 4")
    ),
    "a new file in its folder of outputs": write("results/new", "new"),
    "a number in another notation": write("params.yaml", PARAMS.replace("1e-5", "0.00001")),
}
CHANGED = {
    "a module that it imports": (write("src/toycrystals/lattice.py", "edited"), "src/toycrystals/lattice.py"),
    "the stage itself": (write("stages/edit.py", "edited"), "stages/edit.py"),
    "a module that is gone": ("Path('src/toycrystals/lattice.py').unlink()", "src/toycrystals/lattice.py"),
    "a param": (write("params.yaml", PARAMS.replace("1e-5", "1e-4")), "params.yaml: vae.beta"),
    "a param that is gone": (write("params.yaml", PARAMS.replace("seed: 0\n", "")), "params.yaml: seed"),
    "params.yaml, half edited": (write("params.yaml", "seed: [0"), "params.yaml"),
    "an input": (write("source.py", "pass"), "source.py"),
    "a file in a folder that it was given": (write("folder/deep/old", "edited"), "folder/deep/old"),
    "a new file in a folder that it was given": (write("folder/new", "new"), "folder/new"),
    "an input that is gone": ("Path('folder/deep/old').unlink()", "folder/deep/old"),
}


@pytest.mark.parametrize("edit", HARMLESS)
def test_what_the_stage_does_not_use_may_change(project, edit):
    done = run(project, HARMLESS[edit], DVC_STAGE="edit@x")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("edit", CHANGED)
def test_stage_does_not_finish_when_what_it_uses_changed(project, edit):
    code, named = CHANGED[edit]
    done = run(project, code, DVC_STAGE="edit@x")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: edit: {named} changed while the stage ran")


def test_without_dvc_every_param_counts(project):
    assert "params.yaml: vae changed" in run(project, write("params.yaml", PARAMS.replace("width: 8", "width: 9"))).stderr


def test_sources_are_those_of_the_start_also_when_they_are_imported_late(project):
    late = write("src/toycrystals/conditioning.py", "A = 1\n") + "\nimport toycrystals.conditioning"
    assert "src/toycrystals/conditioning.py changed" in run(project, late, DVC_STAGE="edit").stderr


def test_stage_of_another_project_is_refused(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run(project, "pass", cwd=elsewhere, PYTHONPATH=str(project))
    assert done.returncode == 1
    assert f"the stages of {project} were started in {elsewhere}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_package_from_outside_the_project_is_refused(project, tmp_path_factory):
    """An environment may have imported another checkout's package before the stage begins."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'src')!r})\nimport toycrystals.errors\n")
    done = run(project, "pass", PYTHONPATH=str(site))
    assert done.returncode == 1
    assert "toycrystals comes from" in done.stderr
    assert f"expected from {project}" in done.stderr
    assert not (project / "results/result").exists()


@pytest.mark.parametrize("shell", ["exec {}", "{} & wait"], ids=["in place of the shell", "beside the shell"])
def test_stage_ends_with_the_process_that_started_it(project, shell):
    """Killing dvc leaves no stage behind that would write outputs into the next run, whatever the shell between them."""
    (project / "source.py").write_text("import time\nPath('pid').write_text(str(__import__('os').getpid()))\ntime.sleep(60)")
    stage = shell.format(f"{sys.executable} -m stages.edit --source source.py --folder folder --out results")
    # As dvc does it: a process that starts a shell, and waits.
    starter = [sys.executable, "-c", f"import subprocess; subprocess.run(['bash', '-c', {stage!r}])"]
    with subprocess.Popen(starter, cwd=project, env={**os.environ, "DVC_STAGE": "edit"}) as parent:
        pid = int(wait_for(lambda: (project / "pid").exists() and (project / "pid").read_text()))
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: has_ended(pid))


def test_stage_ends_also_when_its_starter_is_gone_before_it_begins(project):
    (project / "source.py").write_text("import time\ntime.sleep(60)")
    stage = f"touch begun; sleep 1; exec {sys.executable} -m stages.edit --source source.py --folder folder --out results"
    starter = [sys.executable, "-c", f"import subprocess; subprocess.run(['bash', '-c', {stage!r}])"]
    with (project / "printed").open("w") as printed:
        environment = {**os.environ, "DVC_STAGE": "edit"}
        with subprocess.Popen(starter, cwd=project, env=environment, stderr=printed, start_new_session=True) as parent:
            wait_for((project / "begun").exists)
            parent.send_signal(signal.SIGKILL)
    wait_for(lambda: "interrupted: " in (project / "printed").read_text())


def wait_for(condition, seconds=20):
    """The first true value of `condition`."""
    for _ in range(seconds * 20):
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen")
