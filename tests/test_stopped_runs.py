"""Whatever is killed, and when: `dvc repro` goes on from there, and docs/recovery.md names the way back from the rest."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from smoke import dvc, git
from stopping import (
    DEADLINE,
    KILL,
    WAIT,
    WAYS,
    all_end,
    at_a_write,
    begin,
    forget,
    locked,
    printed,
    stage_processes,
    wait_for_stage,
    wait_until,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.usefixtures("nothing_goes_on")]

# Each way of stopping once, in a stage of each kind: several outputs, training, a folder as output, outputs that git tracks,
# work in threads. Of the shells that start them, dash stays between dvc and the stage, and bash makes way; dvc above a dash is
# killed in test_stopped_experiments.py.
KILLS = [
    ("generate", "writes", "Ctrl-C", "sh"),
    ("train_vae", "imports", "dvc killed", "bash"),
    ("encode", "writes", "terminal closed", "sh"),
    ("train_prior@standard", "writes", "dvc terminated", "bash"),
    ("sample", "writes", "all killed", "bash"),
    ("floor", "works", "stage killed", "sh"),
    ("evaluate", "works", "Ctrl-C", "bash"),
]
# In a namespace of its own, so that nothing stays mounted.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=200m none {disk} || exit 77
cp -a {project} {disk}/project && cd {disk}/project || exit 1
for n_train in 1500 6000; do  # as large as what they replace: no room for the cache; larger: none for the stage
    sed -i "s/n_train: .*/n_train: $n_train/; s/^seed: .*/seed: $n_train/" params.yaml
    head -c $((($(df --output=avail -k . | tail -1) - 20) * 1024)) /dev/zero > ../ballast
    {dvc} repro generate; echo "code $?"
    rm ../ballast
done
{dvc} repro generate; echo "code $?"
"""
STANDARD = "train_prior@standard"


def writes(folder, stage):
    return [*folder.glob(f"[dmp]*/**/.*.{stage.pid}.*")]


def works(folder, stage):
    """In the threads that `in_threads` starts when the imports, which leave one or two, have ended."""
    return stage.cpu_times().user > 2.0 and stage.num_threads() > 2


def imports(folder, stage):
    """For half a second of work, which is within the imports of torch."""
    return stage.cpu_times().user > 0.5


STATES = {"writes": writes, "works": works, "imports": imports}
# What is said at the end, by what was done; a stage says nothing where it was killed itself.
SAID = {
    "Ctrl-C": "interrupted: ",
    "dvc killed": "interrupted: ",
    "dvc terminated": "interrupted: ",
    "stage killed": "exited with (-9|137)",
    "all killed": "",
    "terminal closed": "interrupted: ",
}


@pytest.mark.parametrize(("name", "state", "way", "shell"), KILLS)
def test_repro_goes_on_after_a_kill_and_ends_as_if_there_were_none(scratch, finished, tmp_path, name, state, way, shell):
    forget(scratch, name)
    python_path = at_a_write(tmp_path / "site", name, "*", WAIT) if state == "writes" else ""
    process = begin(scratch, "repro", python_path=python_path, shell=f"/bin/{shell}")
    wait_for_stage(scratch, process, name)
    stage = stage_processes(scratch)[0]
    wait_until(partial(STATES[state], scratch, stage), partial(printed, scratch))
    WAYS[way](process, scratch)
    assert process.wait(DEADLINE) != 0, printed(scratch)
    all_end(scratch)
    assert "Traceback" not in printed(scratch)
    assert re.search(SAID[way], printed(scratch))
    assert name not in locked(scratch)
    assert bool(writes(scratch, stage)) == (state == "writes" and way in ("all killed", "stage killed"))
    dvc(scratch, "repro")
    assert locked(scratch) == locked(finished)
    # The stage stands in another place of the lock.
    assert git(scratch, "status", "--porcelain").strip() in ("", "M dvc.lock")


EDITS = {
    "src/toycrystals/priors/mop.py, stages/train_prior.py": ("import", "import  "),
    "params.yaml: mop": ("neighbours: ", "neighbours: 1"),
}


@pytest.mark.parametrize("what", EDITS)
def test_what_is_edited_while_its_stage_runs_is_not_recorded_as_what_made_the_result(scratch, finished, tmp_path, what):
    paths, (before, after) = what.partition(":")[0].split(", "), EDITS[what]
    edit = f"[(path := pathlib.Path(p)).write_text(path.read_text().replace({before!r}, {after!r})) for p in {paths}]"
    python_path = at_a_write(tmp_path / "site", "train_prior@mop", "*", edit)
    process = begin(scratch, "repro", "--force", "--single-item", "train_prior@mop", python_path=python_path)
    assert process.wait(DEADLINE) != 0
    assert f"error: train_prior: {what} changed while the stage ran" in printed(scratch)
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert "up to date" not in dvc(scratch, "status", "train_prior@mop").stdout
    git(scratch, "restore", *paths)
    dvc(scratch, "repro")
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert git(scratch, "status", "--porcelain") == ""


def test_half_of_the_outputs_are_made_again(scratch, finished, tmp_path):
    python_path = at_a_write(tmp_path / "site", "generate", "data/val.*", KILL)
    process = begin(scratch, "repro", "--force", "--single-item", "generate", python_path=python_path)
    assert process.wait(DEADLINE) != 0
    assert (scratch / "data/train.safetensors").exists()
    assert not (scratch / "data/test.safetensors").exists()
    assert "Traceback" not in printed(scratch)
    dvc(scratch, "repro", "generate")
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert re.fullmatch(r"\?\? data/\.val\.\d+\.safetensors\n", git(scratch, "status", "--porcelain"))


def test_full_disk_ends_stage_and_dvc_and_space_mends_both(finished, tmp_path):
    script = ON_A_SMALL_DISK.format(disk=tmp_path, project=finished, dvc=f"{sys.executable} -m dvc")
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    try:
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
            env={**os.environ, "PATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no file system may be mounted here")
    assert re.findall(r"code (\d+)", done.stdout) == ["255", "255", "0"], done.stdout + done.stderr
    assert re.search(r"^error: data/\w+\.safetensors: no space left on device; free space", done.stderr, re.MULTILINE), (
        done.stderr
    )
    assert "failed to reproduce 'generate': [Errno 28] No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_dvc_was_writing_when_it_was_stopped_is_removed(scratch):
    """Both ways back stand in docs/recovery.md with the messages."""
    lock = scratch / ".dvc/tmp/rwlock"
    lock.write_text('{"read": {"data/tr')
    assert "Unable to read RWLock-file" in dvc(scratch, "repro", STANDARD, check=False).stderr
    lock.unlink()
    (scratch / "dvc.lock").unlink()
    run = next(path for path in (scratch / ".dvc/cache/runs").glob("*/*/*") if "--prior standard" in path.read_text())
    run.unlink()
    assert f"'{STANDARD}': join() argument" in dvc(scratch, "repro", STANDARD, check=False).stderr
    run.parent.rmdir()
    dvc(scratch, "repro", STANDARD)
    assert git(scratch, "status", "--porcelain", "plots") == ""


def test_half_a_lock_is_told_and_restored(scratch, finished):
    """As docs/recovery.md says it."""
    lock = (finished / "dvc.lock").read_bytes()
    (scratch / "dvc.lock").write_bytes(lock[: lock.rindex(b"md5") + 1])
    assert "'./dvc.lock' is invalid." in dvc(scratch, "repro", check=False).stderr
    git(scratch, "restore", "dvc.lock")
    dvc(scratch, "repro")
    assert (scratch / "dvc.lock").read_bytes() == lock
