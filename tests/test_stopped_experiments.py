"""Experiments that are stopped, in the workspace, in a folder of their own, in the queue: the ways back of docs/recovery.md."""

import re
import shutil
from functools import partial

import pytest
from smoke import dvc, git
from stopping import DEADLINE, LONG, WAYS, all_end, begin, printed, processes, stage_processes, wait_for_stage, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.usefixtures("nothing_goes_on")]


# By how it was stopped: the branch that git is on then, and the way back.
BACK = {
    "Ctrl-C": ("main\n", [["restore", "params.yaml", "dvc.lock", "plots"]]),
    "dvc killed": (
        "",
        [["switch", "--quiet", "main"], ["restore", "--staged", "--worktree", "params.yaml", "dvc.lock", "plots"]],
    ),
}


@pytest.mark.parametrize("way", BACK)
def test_experiment_stopped_in_the_workspace_leaves_it_and_the_way_back_keeps_edits(scratch, finished, way):
    branch, commands = BACK[way]
    (scratch / "CHANGELOG.md").write_text("mine\n")
    process = begin(scratch, "exp", "run", *LONG)
    wait_for_stage(scratch, process, "train_vae")
    WAYS[way](process, scratch)
    assert process.wait(DEADLINE) != 0
    all_end(scratch)
    assert "epochs: 100000" in (scratch / "params.yaml").read_text()
    assert git(scratch, "branch", "--show-current") == branch
    for command in commands:
        git(scratch, *command)
    dvc(scratch, "repro")
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert (scratch / "CHANGELOG.md").read_text() == "mine\n"
    assert [line.split() for line in git(scratch, "status", "--porcelain").splitlines()] == [["M", "CHANGELOG.md"]]


def test_experiment_interrupted_in_a_folder_of_its_own_leaves_nothing(scratch):
    process = begin(scratch, "exp", "run", "--temp", *LONG)
    wait_for_stage(scratch, process, "train_vae")
    WAYS["Ctrl-C"](process, scratch)
    assert process.wait(DEADLINE) != 0
    all_end(scratch)
    assert git(scratch, "status", "--porcelain", "--branch") == "## main\n"
    assert "long" not in dvc(scratch, "exp", "show", "--md").stdout
    assert not [*(scratch / ".dvc/tmp/exps/standalone").glob("tmp*")]


def test_experiment_killed_in_a_folder_of_its_own_leaves_the_workspace_alone(scratch):
    process = begin(scratch, "exp", "run", "--temp", *LONG)
    wait_for_stage(scratch, process, "train_vae")
    process.kill()
    process.wait()
    all_end(scratch)
    assert git(scratch, "status", "--porcelain", "--branch") == "## main\n"
    assert "Running" in dvc(scratch, "exp", "show", "--md").stdout
    for folder in (scratch / ".dvc/tmp/exps/standalone").glob("tmp*"):
        shutil.rmtree(folder)
    assert "Running" not in dvc(scratch, "exp", "show", "--md").stdout
    dvc(scratch, "exp", "run", "--temp", "-n", "long", "-S", "mop.neighbours=4", "train_prior@mop")
    assert "long" in dvc(scratch, "exp", "list").stdout


def queue_status(folder):
    return dvc(folder, "queue", "status").stdout


def test_interrupting_run_all_ends_the_following_and_not_the_experiments(scratch):
    dvc(scratch, "exp", "run", "--queue", *LONG)
    process = begin(scratch, "exp", "run", "--run-all")
    wait_until(lambda: stage_processes(scratch) and "Running stage" in printed(scratch), partial(printed, scratch))
    (stage,) = stage_processes(scratch)
    WAYS["Ctrl-C"](process, scratch)
    process.wait(DEADLINE)
    assert "still executing" in printed(scratch)
    assert stage.is_running()
    assert re.search(r"long .* Running", queue_status(scratch))
    dvc(scratch, "queue", "stop", "--kill")
    all_end(scratch)


def test_queued_experiment_is_taken_off_and_another_is_ended(scratch):
    """Taken off by `dvc queue kill` after its worker was killed; by the same, the one that runs next is ended."""
    status = partial(queue_status, scratch)

    def run_long():
        dvc(scratch, "exp", "run", "--queue", *LONG)
        assert begin(scratch, "queue", "start").wait(DEADLINE) == 0
        wait_until(lambda: stage_processes(scratch), status)

    run_long()
    for process in processes(scratch):
        process.kill()
    all_end(scratch)
    assert re.search(r"long .* Running", status())

    def taken_off():
        # As long as the system keeps a killed process as a zombie, DVC believes that it has killed it just now.
        dvc(scratch, "queue", "kill", "long", check=False)
        return re.search(r"long .* Failed", status())

    wait_until(taken_off, status)
    dvc(scratch, "queue", "remove", "--failed")
    assert "No experiment tasks" in status()
    run_long()
    dvc(scratch, "queue", "kill", "long")
    wait_until(lambda: re.search(r"long .* Failed", status()) and not stage_processes(scratch), status)
    dvc(scratch, "queue", "stop", "--kill")
    all_end(scratch)
