"""Proof of reproduction: what differs between the committed lock and the remade one, what caused it, and how much it matters."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from smoke import commit_all, dvc
from stopping import has_ended, hear_hangup, wait_until
from tiny import finish_project

from toycrystals.errors import UserError
from toycrystals.lockdiff import (
    Difference,
    Metrics,
    compare_locks,
    compare_metrics,
    describe_locks,
    describe_metrics,
    read_metrics,
)
from toycrystals.repository import LockedStage, find_root, read_lock
from toycrystals.verify import verify

SRC = Path(__file__).parents[1] / "src"


def stage(deps=None, outs=None, cmd="run", params=None):
    return LockedStage(cmd, params or {}, deps or {}, outs or {})


CHAIN = {
    "generate": stage({"make.py": "m"}, {"data": "d"}),
    "train": stage({"data": "d", "train.py": "t"}, {"model": "w"}, params={"params.yaml": {"lr": 0.1}}),
    "other": stage({"data": "d"}, {"preview": "p"}),
    "sample": stage({"model": "w"}, {"samples": "s"}),
}


def test_equal_locks_do_not_differ():
    assert compare_locks(CHAIN, dict(CHAIN)) == []


def test_the_first_outputs_to_differ_are_the_cause_and_later_ones_are_not():
    remade = CHAIN | {
        "train": stage(CHAIN["train"].deps, {"model": "W"}, params=CHAIN["train"].params),
        "sample": stage({"model": "W"}, {"samples": "S"}),
    }
    differences = compare_locks(CHAIN, remade)
    assert differences == [Difference("train", outs=("model",)), Difference("sample", outs=("samples",), follows=True)]
    assert [difference.is_cause for difference in differences] == [True, False]
    assert list(describe_locks(differences, remade)) == [
        "first to differ, from the same inputs: train: model",
        "differs in consequence: sample: samples",
        "data: the same bytes",
    ]


def test_other_data_are_said_to_be_other():
    remade = CHAIN | {"generate": stage({"make.py": "m"}, {"data": "D"})}
    assert list(describe_locks(compare_locks(CHAIN, remade), remade))[-1] == "data: other bytes"


@pytest.mark.parametrize(
    ("change", "inputs"),
    [
        ({"cmd": "run --fast"}, ("cmd",)),
        ({"params": {"params.yaml": {"lr": 0.2}}}, ("params",)),
        ({"deps": {"data": "d", "train.py": "T"}}, ("train.py",)),
        ({"deps": {"data": "d", "train.py": "t", "new.py": "n"}}, ("new.py",)),
        ({"deps": {"data": "d"}}, ("train.py",)),
    ],
)
def test_a_lock_of_other_code_is_told_from_an_output_that_differs(change, inputs):
    settings = {"deps": CHAIN["train"].deps, "outs": {"model": "W"}, "params": CHAIN["train"].params} | change
    (difference,) = compare_locks(CHAIN, CHAIN | {"train": stage(**settings)})
    assert difference.inputs == inputs
    assert not difference.is_cause


def test_a_stage_that_one_side_lacks_differs():
    without = {name: locked for name, locked in CHAIN.items() if name != "other"}
    assert [difference.stage for difference in compare_locks(CHAIN, without)] == ["other"]
    assert [difference.stage for difference in compare_locks(without, CHAIN)] == ["other"]


def metrics(values, intervals=None):
    return Metrics({("mop", name): x for name, x in values.items()}, {("mop", k): v for k, v in (intervals or {}).items()})


def test_shifts_are_in_half_widths_and_the_largest_come_first():
    before = metrics({"a": 10.0, "b": 1.0, "c": 5.0, "d": 2.0}, {"a": (8.0, 12.0), "b": (0.9, 1.1)})
    shifts = compare_metrics(before, metrics({"a": 11.0, "b": 1.3, "c": 5.0, "d": 2.5}))
    assert [(shift.name, shift.outside) for shift in shifts] == [("mop.b", True), ("mop.a", False), ("mop.d", False)]
    assert [shift.half_widths for shift in shifts] == [pytest.approx(3.0), pytest.approx(0.5), None]
    assert next(describe_metrics(before, shifts)) == "metrics: 3 of 4 differ, 1 lie outside of their 95 % interval"


def test_an_interval_rounded_to_a_point_holds_what_rounds_to_it():
    before = metrics({"a": 0.99998787}, {"a": (0.999988, 0.999988)})
    (near,) = compare_metrics(before, metrics({"a": 0.99998791}))
    (far,) = compare_metrics(before, metrics({"a": 0.9998}))
    assert (near.outside, near.half_widths) == (False, 0.0)
    assert (far.outside, far.half_widths) == (True, math.inf)


def test_a_metric_that_vanished_lies_outside():
    (shift,) = compare_metrics(metrics({"a": 1.0}, {"a": (0.0, 2.0)}), metrics({}))
    assert shift.outside


def test_metrics_and_intervals_are_read_by_method_metric_and_type(tmp_path):
    (tmp_path / "m.json").write_text('{"mop": {"psnr": 40.0, "psnr_square": 41.0, "none": null}}')
    (tmp_path / "t.csv").write_text("method,metric,type,low,high\nmop,psnr,all,39,41\nmop,psnr,square,40,42\nmop,x,all,,\n")
    found = read_metrics(tmp_path / "m.json", tmp_path / "t.csv")
    assert found.values == {("mop", "psnr"): 40.0, ("mop", "psnr_square"): 41.0}
    assert found.intervals == {("mop", "psnr"): (39.0, 41.0), ("mop", "psnr_square"): (40.0, 42.0)}


@pytest.mark.parametrize(("values", "table"), [("[]", "a\n"), ("{", "a\n"), ("{}", "method,metric\nmop,psnr\n")])
def test_foreign_metrics_are_one_line(tmp_path, values, table):
    (tmp_path / "m.json").write_text(values)
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(UserError, match="expected"):
        read_metrics(tmp_path / "m.json", tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["", "stages: 3\n", "{", "stages:\n  a: {outs: [{md5: x}]}\n"])
def test_a_file_that_is_no_lock_is_one_line(tmp_path, text):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(UserError, match="expected a lock"):
        read_lock(tmp_path / "dvc.lock")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return finish_project(tmp_path_factory.mktemp("tiny") / "project")


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


@pytest.fixture
def project(tiny, tmp_path):
    """The finished project again, free to be changed."""
    return shutil.copytree(tiny, tmp_path / "project", symlinks=True)


def test_a_stage_that_draws_from_the_clock_is_named_as_the_cause(project, temporary, capfd):
    score = "from pathlib import Path\nfolder = Path('plots/compare')\nfolder.mkdir(parents=True, exist_ok=True)\n"
    score += "x = 40 + Path('models/copy.bin').stat().st_size / 1e9\n"
    score += "(folder / 'metrics.json').write_text(f'{{\"mop\": {{\"psnr\": {x}}}}}')\n"
    score += "(folder / 'table.csv').write_text('method,metric,type,value,low,high\\nmop,psnr,all,40,39,41\\n')\n"
    draw = "import time\nfrom pathlib import Path\nPath('models').mkdir(exist_ok=True)\n"
    draw += "Path('models/copy.bin').write_bytes(bytes(time.time_ns() % 10**6 + 1))\n"
    (project / "use.py").write_text(draw)
    (project / "judge.py").write_text(score)
    dvc(project, "repro")
    commit_all(project, "results")
    assert not verify(project, [])
    out = capfd.readouterr().out
    assert "first to differ, from the same inputs: use: models/copy.bin" in out
    assert "differs in consequence: judge: plots/compare/metrics.json" in out
    assert "metrics: 1 of 1 differ, 0 lie outside of their 95 % interval\n  mop.psnr: 40" in out
    assert not list(temporary.iterdir())


def test_a_lock_of_another_commit_is_said_to_be_one(project, temporary, capfd):
    with (project / "use.py").open("a") as file:
        file.write("# changed without running it\n")
    commit_all(project, "code without results")
    assert not verify(project, [])
    assert "the lock is that of another commit: use: use.py" in capfd.readouterr().out


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


def test_outside_of_a_project_is_one_line(tmp_path):
    with pytest.raises(UserError, match="expected a DVC project"):
        find_root(tmp_path)


def start_verify(project, temporary, *arguments):
    """`toycrystals verify` as a process, and the first PID that a stage prints."""
    command = [sys.executable, "-m", "toycrystals.cli", "verify", *arguments]
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


def test_exit_code_says_that_something_differs_and_the_clone_may_be_kept(project, temporary, tmp_path):
    (project / "use.py").write_text((project / "use.py").read_text() + "# changed without running it\n")
    commit_all(project, "code without results")
    process, _ = start_verify(project, temporary, "use", "--keep", str(tmp_path / "clone"))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    assert set(read_lock(tmp_path / "clone/dvc.lock")) == {"make", "use"}
