"""A function as a stage: what it is given, from the command line and from params.yaml, and how it ends."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hyperparameters import COMMITTED

from toycrystals.runtime import config
from toycrystals.runtime import stage as module
from toycrystals.runtime.stage import param_names, run

RUNTIME = Path(config.__file__).parent


class Watch:
    """A guard that keeps what it is told, and says what it is to say."""

    def __init__(self, wrong="", changed=()):
        self.wrong, self.changed, self.told = wrong, [*changed], None

    def start(self, inputs, params):
        self.told = [str(path) for path in inputs], [*params]
        return self.wrong

    def changes(self):
        return self.changed


class Stage:
    """Keeps what it is called with."""

    def __init__(self):
        self.given = None

    def measure(self, train: Path, out: Path, prior: str, seed: int, vae: config.VAE, section: config.PriorSection) -> None:
        """Measure."""
        self.given = {name: value for name, value in locals().items() if name != "self"}


OPTIONS = ["--train", "data", "--out", "there", "--prior", "mop"]


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    shutil.copy(COMMITTED, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "end_with_parent", lambda: Path("watched").touch())
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def start(monkeypatch):
    """Run a stage with options and a guard; what it was given."""

    def call(guard, options=OPTIONS):
        monkeypatch.setattr(sys, "argv", ["stage", *options])
        stage = Stage()
        try:
            run(stage.measure, guard)
        finally:
            call.given = stage.given
        return stage.given

    return call


def test_paths_and_names_are_options_and_everything_else_is_of_params(start):
    params = config.load_params()
    assert param_names(Stage().measure) == ["seed", "vae", "section"]
    assert start(Watch()) == {
        "train": Path("data"), "out": Path("there"), "prior": "mop",
        "seed": params.seed, "vae": params.vae, "section": params.mop,
    }  # fmt: skip


def test_the_guard_is_told_the_names_of_params_and_under_dvc_the_inputs(start, monkeypatch):
    plain, under_dvc = Watch(), Watch()
    start(plain)
    assert not Path("watched").exists()
    monkeypatch.setenv("DVC_STAGE", "measure@mop")
    start(under_dvc)
    assert Path("watched").exists()
    assert plain.told == ([], ["seed", "vae", "mop"])
    # What the stage writes to is no input.
    assert under_dvc.told == (["data"], ["seed", "vae", "mop"])


def test_a_stage_that_may_not_begin_is_not_called(start, capsys):
    with pytest.raises(SystemExit) as info:
        start(Watch(wrong="started elsewhere"))
    assert info.value.code == 1
    assert start.given is None
    assert capsys.readouterr().err == "error: measure: started elsewhere\n"


def test_a_stage_whose_code_changed_does_not_end_well(start, capsys):
    with pytest.raises(SystemExit) as info:
        start(Watch(changed=["src/a.py", "params.yaml: seed"]))
    assert info.value.code == 1
    assert start.given is not None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: measure: src/a.py, params.yaml: seed changed while the stage ran")


def test_params_are_checked_before_the_stage_begins(start, capsys):
    Path("params.yaml").write_text(COMMITTED.read_text().replace("seed: 0", "seed: -1", 1))
    with pytest.raises(SystemExit):
        start(Watch())
    assert start.given is None
    assert capsys.readouterr().err.startswith("error: params.yaml: seed = -1: ")


def test_a_prior_without_a_section_is_told_in_one_line(start, capsys):
    with pytest.raises(SystemExit):
        start(Watch(), [*OPTIONS[:-1], "nonsense"])
    assert capsys.readouterr().err == "error: params.yaml: nonsense: missing; add it\n"


@pytest.mark.parametrize("left_out", ["--train", "--out", "--prior"])
def test_every_option_is_required(start, capsys, left_out):
    at = OPTIONS.index(left_out)
    with pytest.raises(SystemExit) as info:
        start(Watch(), OPTIONS[:at] + OPTIONS[at + 2 :])
    assert info.value.code == 2
    assert left_out in capsys.readouterr().err


def test_the_runtime_imports_no_numbers_and_no_other_room():
    """So that no edit of it can change a result, and a mistake is told before anything heavy is imported."""
    names = [f"toycrystals.runtime.{path.stem}" for path in RUNTIME.glob("*.py") if path.stem != "__init__"]
    assert len(names) >= 6
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=RUNTIME.parents[1], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"numpy", "torch", "scipy", "pandas"} & loaded
    assert {name for name in loaded if name.startswith("toycrystals")} == {"toycrystals", "toycrystals.runtime", *names}
