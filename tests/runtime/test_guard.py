"""A stage may not outlive what made it: sources, params and inputs are compared from its start to its end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hyperparameters import tree
from stopping import has_ended

from toycrystals.runtime.config import prior_names
from toycrystals.runtime.guard import Guard

ROOT = Path(__file__).parents[2]
PARAMS = "seed: 0\nvae:\n  beta: 1e-5\n  width: 8\nmop:\n  neighbours: 3\n"
DEPS = ["stages/edit.py", "src/toycrystals/core", "src/toycrystals/priors/base.py", "src/toycrystals/priors/${item.prior}.py"]
SOURCES = (
    "src/toycrystals/runtime/config.py", "src/toycrystals/core/rng.py", "src/toycrystals/core/unused.py",
    "src/toycrystals/metrics/mmd.py", "src/toycrystals/priors/base.py", "src/toycrystals/priors/mop.py",
    "src/toycrystals/priors/standard.py", "stages/edit.py",
)  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in whose root a stage has imported all of its sources but the unused one, and was given an input and a folder."""
    for name in SOURCES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"NAME = {name!r}\n")
        if "unused" not in name:
            pretend_import(tmp_path / name, monkeypatch)
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/old").write_text("old")
    (tmp_path / "input").write_text("old")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text(yaml.dump({"stages": {"edit": {"deps": DEPS}, "bare": {}}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "edit@mop")
    return tmp_path


def pretend_import(path, monkeypatch):
    module = ModuleType("pretended")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, f"pretended_{path.stem}", module)


def changes(project, edit):
    """What a guard has to say after `edit` of the project."""
    guard = Guard(project)
    guard.start([Path("input"), Path("folder"), Path("nothing")], ["seed", "vae"])
    edit()
    return guard.changes()


def write(name, text="edited"):
    return lambda: Path(name).write_text(text)


def in_params(before, after):
    return write("params.yaml", PARAMS.replace(before, after))


HARMLESS = {
    "nothing": lambda: None,
    "a module that it does not import": write("src/toycrystals/core/unused.py"),
    "how it is run": write("src/toycrystals/runtime/config.py"),
    "a module that is not in its deps": write("src/toycrystals/metrics/mmd.py"),
    "another prior": write("src/toycrystals/priors/standard.py"),
    "a comment in params.yaml": in_params("seed", "# a comment\nseed"),
    "a param of other stages": in_params("neighbours: 3", "neighbours: 4"),
    "a number in another notation": in_params("1e-5", "0.00001"),
    "a file that it was not given": write("another"),
}
CHANGED = {
    "a module that it imports": (write("src/toycrystals/core/rng.py"), "src/toycrystals/core/rng.py"),
    "its own prior": (write("src/toycrystals/priors/mop.py"), "src/toycrystals/priors/mop.py"),
    "a file in its deps": (write("src/toycrystals/priors/base.py"), "src/toycrystals/priors/base.py"),
    "the stage itself": (write("stages/edit.py"), "stages/edit.py"),
    "a module that is gone": (lambda: Path("src/toycrystals/core/rng.py").unlink(), "src/toycrystals/core/rng.py"),
    "a value of a section": (in_params("1e-5", "1e-4"), "params.yaml: vae"),
    "a param that is gone": (in_params("seed: 0\n", ""), "params.yaml: seed"),
    "params.yaml, half edited": (write("params.yaml", "seed: [0"), "params.yaml: seed, params.yaml: vae"),
    "params.yaml, which is gone": (lambda: Path("params.yaml").unlink(), "params.yaml: seed, params.yaml: vae"),
    "an input": (write("input"), "input"),
    "a file in a folder that it was given": (write("folder/deep/old"), "folder/deep/old"),
    "a new file in a folder that it was given": (write("folder/new"), "folder/new"),
    "an input that is gone": (lambda: Path("folder/deep/old").unlink(), "folder/deep/old"),
}


@pytest.mark.parametrize("edit", HARMLESS)
def test_what_the_stage_does_not_use_may_change(project, edit):
    assert changes(project, HARMLESS[edit]) == []


@pytest.mark.parametrize("edit", CHANGED)
def test_what_the_stage_uses_may_not_change(project, edit):
    act, named = CHANGED[edit]
    assert ", ".join(changes(project, act)) == named


@pytest.mark.parametrize(
    ("stage", "expected"), [("", True), ("edit@standard", True), ("edit@mop", False), ("../dvc.yaml:edit@mop", False)]
)
def test_a_prior_counts_for_its_own_stage_and_where_there_is_no_dvc(project, monkeypatch, stage, expected):
    monkeypatch.setenv("DVC_STAGE", stage)
    assert bool(changes(project, HARMLESS["another prior"])) is expected


def test_how_a_stage_is_run_decides_no_number_also_where_there_is_no_dvc(project, monkeypatch):
    monkeypatch.delenv("DVC_STAGE")
    assert changes(project, HARMLESS["how it is run"]) == []
    assert changes(project, HARMLESS["a module that is not in its deps"]) != []


@pytest.mark.parametrize("content", ["stages: [", "[]", "stages: {}", "stages:\n  edit: {}\n", None], ids=str)
def test_where_dvc_yaml_says_nothing_every_source_counts(project, content):
    def edit():
        Path("src/toycrystals/metrics/mmd.py").write_text("edited")
        Path("dvc.yaml").write_text(content) if content else Path("dvc.yaml").unlink()

    assert changes(project, edit) == ["src/toycrystals/metrics/mmd.py"]


def test_sources_are_those_of_the_start_also_when_they_are_imported_late(project, monkeypatch):
    def edit():
        Path("src/toycrystals/core/unused.py").write_text("edited")
        pretend_import(project / "src/toycrystals/core/unused.py", monkeypatch)

    assert changes(project, edit) == ["src/toycrystals/core/unused.py"]


STAGE = '''"""A stage that does what it is told."""

from pathlib import Path

from stages import GUARD
from toycrystals.crystals.variants import LABELS
from toycrystals.runtime.config import VAE
from toycrystals.runtime.stage import run


def edit(source: Path, folder: Path, out: Path, seed: int, vae: VAE) -> None:
    """Run the code in `source`."""
    (out / "result").write_text(f"{seed} {vae.beta}")
    exec(source.read_text())


if __name__ == "__main__":
    run(edit, GUARD)
'''
LIGHT = ["__init__.py", *(f"crystals/{name}.py" for name in ("__init__", "variants", "lattice")), "priors/__init__.py"]
COMMAND = [sys.executable, "-m", "stages.edit", "--source", "source.py", "--folder", "folder", "--out", "results"]


@pytest.fixture
def light(tmp_path):
    """The runtime with one stage, and a prior that imports nothing, so that it starts at once."""
    package = tmp_path / "src/toycrystals"
    shutil.copytree(ROOT / "src/toycrystals/runtime", package / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*(f"src/toycrystals/{name}" for name in LIGHT), "stages/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    prior = "from toycrystals.runtime.config import PriorSection\n\n\nclass Config(PriorSection):\n    pass\n"
    (package / "priors/plain.py").write_text(prior)
    (tmp_path / "stages/edit.py").write_text(STAGE)
    for name in ("folder", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "results/result").write_text("old")
    content = {name: value for name, value in tree(priors=["plain"]).items() if name not in prior_names()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content | {"seed": 5, "plain": {}}))
    (tmp_path / "dvc.yaml").write_text(yaml.dump({"stages": {"edit": {"deps": ["src/toycrystals/crystals", "stages/edit.py"]}}}))
    return tmp_path


def run(project, code, cwd=None, **env):
    (project / "source.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | env
    return subprocess.run(COMMAND, cwd=cwd or project, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_stage_ends_well_where_nothing_that_it_uses_changed(light):
    edit = "for name in ('runtime/config', 'priors/plain'): Path(f'src/toycrystals/{name}.py').write_text('edited')"
    done = run(light, edit, DVC_STAGE="edit")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (light / "results/result").read_text().startswith("5 ")


def test_stage_does_not_finish_when_what_it_uses_changed(light):
    files = ["src/toycrystals/crystals/lattice.py", "params.yaml", "source.py"]
    done = run(light, f"for name in {files}: Path(name).write_text('seed: 6')", DVC_STAGE="edit")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: edit: {files[0]}, params.yaml: seed, params.yaml: vae, source.py changed while the stage ran")


def test_stage_of_another_project_is_refused(light, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run(light, "pass", cwd=elsewhere, PYTHONPATH=str(light))
    assert done.returncode == 1
    assert f"the stages of {light} were started in {elsewhere}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_package_from_outside_the_project_is_refused(light, tmp_path_factory):
    """An environment may have imported another checkout's package before the stage begins."""
    site = tmp_path_factory.mktemp("site")
    lines = ["import sys", f"sys.path.insert(0, {str(ROOT / 'src')!r})", "import toycrystals.runtime.errors"]
    (site / "sitecustomize.py").write_text("\n".join(lines))
    done = run(light, "pass", PYTHONPATH=str(site))
    assert done.returncode == 1
    assert "toycrystals comes from" in done.stderr
    assert f"expected from {light}" in done.stderr
    assert (light / "results/result").read_text() == "old"


@pytest.mark.parametrize("shell", ["exec {}", "{} & wait"], ids=["in place of the shell", "beside the shell"])
def test_stage_ends_with_the_process_that_started_it(light, shell):
    """Killing dvc leaves no stage behind that would write outputs into the next run, whatever the shell between them."""
    (light / "source.py").write_text("import time\nPath('pid').write_text(str(__import__('os').getpid()))\ntime.sleep(60)")
    # As dvc does it: a process that starts a shell, and waits.
    starter = [sys.executable, "-c", f"import subprocess; subprocess.run(['bash', '-c', {shell.format(' '.join(COMMAND))!r}])"]
    with subprocess.Popen(starter, cwd=light, env={**os.environ, "DVC_STAGE": "edit"}) as parent:
        pid = int(wait_for(lambda: (light / "pid").exists() and (light / "pid").read_text()))
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: has_ended(pid))


def test_stage_ends_also_when_its_starter_is_gone_before_it_begins(light):
    (light / "source.py").write_text("import time\ntime.sleep(60)")
    stage = f"touch begun; sleep 0.5; exec {' '.join(COMMAND)}"
    starter = [sys.executable, "-c", f"import subprocess; subprocess.run(['bash', '-c', {stage!r}])"]
    with (light / "printed").open("w") as printed:
        environment = {**os.environ, "DVC_STAGE": "edit"}
        with subprocess.Popen(starter, cwd=light, env=environment, stderr=printed, start_new_session=True) as parent:
            wait_for((light / "begun").exists)
            parent.send_signal(signal.SIGKILL)
    wait_for(lambda: "interrupted: " in (light / "printed").read_text())


def wait_for(condition, seconds=20):
    """The first true value of `condition`."""
    for _ in range(seconds * 20):
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen")
