"""Proof of reproduction: what differs between the committed lock and the remade one, what caused it, and how much it matters."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from smoke import commit_all, dvc
from stopping import has_ended, hear_hangup, wait_until

from dvccare.repository import LockedStage, read_lock
from dvccare.verify import compare_locks, verify
from toycrystals.runtime.errors import UserError

SRC = Path(__file__).parents[2] / "src"
PROGRAM = """
import sys
from pathlib import Path
from dvccare.verify import verify
from toycrystals.runtime.errors import one_line_errors
with one_line_errors():
    sys.exit(not verify(Path.cwd(), []))
"""


def stage(deps=None, outs=None, cmd="run", params=None):
    return LockedStage(cmd, params or {}, deps or {}, outs or {}, {})


CHAIN = {
    "generate": stage({"make.py": "m"}, {"data": "d"}),
    "train": stage({"data": "d", "train.py": "t"}, {"model": "w"}, params={"params.yaml": {"lr": 0.1}}),
    "other": stage({"data": "d"}, {"preview": "p"}),
    "sample": stage({"model": "w"}, {"samples": "s"}),
}


def test_equal_locks_do_not_differ():
    assert compare_locks(CHAIN, dict(CHAIN)) == {}


def test_the_first_outputs_to_differ_are_the_cause_and_later_ones_are_not():
    remade = CHAIN | {
        "train": stage(CHAIN["train"].deps, {"model": "W"}, params=CHAIN["train"].params),
        "sample": stage({"model": "W"}, {"samples": "S"}),
    }
    assert compare_locks(CHAIN, remade) == {
        "train": "first to differ, from the same inputs: model",
        "sample": "differs in consequence: samples",
    }


def test_folders_hold_outputs_and_outputs_what_is_read():
    """A stage may read the folder that others write into, or one file of a folder that another writes."""
    before = {
        "train": stage({"data": "d"}, {"models/a": "m"}),
        "draw": stage({"models": "M", "sets/one.csv": "s"}, {"figures": "f"}),
        "make": stage({}, {"sets": "S"}),
    }
    after = {
        "train": stage({"data": "d"}, {"models/a": "n"}),
        "draw": stage({"models": "N", "sets/one.csv": "t"}, {"figures": "g"}),
    }
    assert compare_locks(before, {**after, "make": stage({}, {"sets": "T"})}) == {
        "train": "first to differ, from the same inputs: models/a",
        "draw": "differs in consequence: figures",
        "make": "first to differ, from the same inputs: sets",
    }


@pytest.mark.parametrize(
    ("change", "inputs"),
    [
        ({"cmd": "run --fast"}, "cmd"),
        ({"params": {"params.yaml": {"lr": 0.2}}}, "params"),
        ({"deps": {"data": "d", "train.py": "T"}}, "train.py"),
        ({"deps": {"data": "d", "train.py": "t", "new.py": "n"}}, "new.py"),
        ({"deps": {"data": "d"}}, "train.py"),
    ],
)
def test_a_lock_of_other_code_is_told_from_an_output_that_differs(change, inputs):
    settings = {"deps": CHAIN["train"].deps, "outs": {"model": "W"}, "params": CHAIN["train"].params} | change
    found = compare_locks(CHAIN, CHAIN | {"train": stage(**settings)})
    assert found == {"train": f"the lock is that of another commit: {inputs}, model"}


def test_a_stage_that_one_side_lacks_differs():
    without = {name: locked for name, locked in CHAIN.items() if name != "other"}
    assert compare_locks(CHAIN, without) == {"other": "no stage of dvc.yaml"}
    assert compare_locks(without, CHAIN) == {"other": "not in the committed lock"}


@pytest.fixture
def temporary(tmp_path, monkeypatch, nothing_goes_on):
    """Where temporary clones are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_deterministic_project_is_reproduced_with_nothing_from_here(tiny, temporary, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tiny))
    monkeypatch.setenv("DVC_ROOT", str(tiny))
    assert verify(tiny, [])
    out, err = capfd.readouterr()
    assert "3 stages give the dvc.lock of the commit" in out
    # The last stage's outputs come with git, and it is run all the same.
    assert re.findall("Running stage '(.+)':", out) == ["make", "use", "judge"]
    assert "warning" not in err
    assert not list(temporary.iterdir())


def test_a_target_is_verified_with_what_it_needs(tiny, temporary, tmp_path, capfd):
    assert verify(tiny, ["use"], tmp_path / "clone")
    assert "2 stages give the dvc.lock of the commit" in capfd.readouterr().out
    assert set(read_lock(tmp_path / "clone/dvc.lock")) == {"make", "use"}


def test_a_stage_that_draws_from_the_clock_is_named_as_the_cause(project, temporary, capfd):
    score = "from pathlib import Path\nfolder = Path('results')\nfolder.mkdir(exist_ok=True)\n"
    score += "x = 40 + Path('models/copy.bin').stat().st_size / 1e9\n"
    score += "(folder / 'metrics.json').write_text(f'{{\"mop\": {{\"psnr\": {x}}}}}')\n"
    score += "(folder / 'table.csv').touch()\n"
    draw = "import time\nfrom pathlib import Path\nPath('models').mkdir(exist_ok=True)\n"
    draw += "Path('models/copy.bin').write_bytes(bytes(time.time_ns() % 10**6 + 1))\n"
    (project / "use.py").write_text(draw)
    (project / "judge.py").write_text(score)
    dvc(project, "repro")
    commit_all(project, "results")
    assert not verify(project, [])
    out = capfd.readouterr().out
    assert (
        "use: first to differ, from the same inputs: models/copy.bin\njudge: differs in consequence: results/metrics.json\n"
        in out
    )
    assert re.search(r"results.metrics\.json +mop\.psnr +40\.", out)
    assert not list(temporary.iterdir())


def test_a_lock_of_another_commit_is_said_to_be_one(project, temporary, capfd):
    with (project / "use.py").open("a") as file:
        file.write("# changed without running it\n")
    commit_all(project, "code without results")
    assert not verify(project, [])
    assert "use: the lock is that of another commit: use.py" in capfd.readouterr().out


def test_changes_that_are_not_committed_are_warned_of_and_left_out(project, temporary, capfd):
    (project / "use.py").write_text("raise SystemExit(3)\n")
    assert verify(project, [])
    assert "warning: not committed, and so not verified: use.py" in capfd.readouterr().err


def test_a_stage_that_fails_is_named_and_its_clone_kept(project, temporary, capfd):
    (project / "use.py").write_text("raise SystemExit(3)\n")
    commit_all(project, "broken")
    with pytest.raises(UserError, match="stage use failed in a fresh clone") as failure:
        verify(project, [])
    (clone,) = temporary.iterdir()
    assert str(clone) in str(failure.value)


def test_a_target_that_does_not_exist_leaves_nothing(tiny, temporary):
    with pytest.raises(UserError, match="DVC ran no stage"):
        verify(tiny, ["nonsense"])
    assert not list(temporary.iterdir())


def test_without_a_committed_lock_there_is_nothing_to_verify(project):
    (project / "dvc.lock").unlink()
    commit_all(project, "no lock")
    with pytest.raises(UserError, match=r"expected a dvc\.lock in the last commit"):
        verify(project, [])


def test_a_folder_in_use_is_not_taken(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="expected a new or an empty folder"):
        verify(tiny, [], tmp_path)


def start_verify(project, temporary):
    """`verify` as a process, and the first PID that a stage prints."""
    command = [sys.executable, "-c", PROGRAM]
    env = os.environ | {"PYTHONPATH": str(SRC), "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_hangup
    )
    return process, next((int(line.split()[1]) for line in process.stdout if line.startswith("pid ")), None)


def assert_gone(pid):
    wait_until(lambda: has_ended(pid), lambda: "the stage still runs", seconds=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_interruption_ends_the_stage_and_removes_the_clone(project, temporary, number):
    (project / "use.py").write_text("import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)\n")
    commit_all(project, "slow")
    process, pid = start_verify(project, temporary)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert not list(temporary.iterdir())
    assert_gone(pid)


def test_second_interruption_kills_a_stage_that_does_not_hear_the_first(project, temporary):
    deaf = "import os, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    (project / "use.py").write_text(deaf + "print('pid', os.getpid(), flush=True)\ntime.sleep(600)\n")
    commit_all(project, "deaf")
    process, pid = start_verify(project, temporary)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(temporary.iterdir())
    assert_gone(pid)
