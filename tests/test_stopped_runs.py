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
    FULL,
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
    workers,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.usefixtures("nothing_goes_on")]

# A stage of each kind: several outputs, training, workers of its own, a folder as output, outputs that git tracks. Of the shells
# that start them, dash stays between dvc and the stage, and bash makes way.
KILLS = [
    ("generate", "writes", "Ctrl-C", "sh"),
    ("train_vae", "imports", "dvc killed", "bash"),
    ("encode", "writes", "terminal closed", "sh"),
    ("sample@mop", "writes", "dvc killed", "sh"),
    ("sample@diffusion", "writes", "all killed", "bash"),
    ("floor_images", "workers work", "stage killed", "sh"),
    ("encode", "writes", "stage killed", "bash"),
    ("floor_images", "has workers", "Ctrl-C", "sh"),
    ("controls", "has workers", "worker killed", "bash"),
    ("evaluate@mop", "writes", "dvc terminated", "sh"),
    ("compare", "imports", "Ctrl-C", "bash"),
]
# In a namespace of its own, so that nothing stays mounted.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=100m none {disk} || exit 77
cp -a {project} {disk}/project && cd {disk}/project || exit 1
fill() {{ head -c $((($(df --output=avail -k . | tail -1) - 20) * 1024)) /dev/zero > ../ballast; }}
for n_train in 1500 6000; do  # as large as what they replace: no room for the cache; larger: none for the stage
    sed -i "s/n_train: .*/n_train: $n_train/; s/^seed: .*/seed: $n_train/" params.yaml
    fill
    echo full; {dvc} repro generate; echo "code $?"
    rm ../ballast
    echo free; {dvc} repro generate; echo "code $?"
done
"""


def writes(folder, stage):
    return [*folder.glob(f"[dmp]*/**/.*.{stage.pid}.*")]


def has_workers(folder, stage):
    return workers(folder)


def workers_work(folder, stage):
    """A worker that has not yet been told by its stage what it is would end with a traceback of Python's own."""
    return (found := workers(folder)) and all(imports(folder, worker) for worker in found)


def imports(folder, stage):
    """For half a second of work, which is within the imports of torch."""
    return stage.cpu_times().user > 0.5


STATES = {"writes": writes, "has workers": has_workers, "workers work": workers_work, "imports": imports}
# What is said at the end, by what was done; a stage says nothing where it was killed itself.
SAID = {
    "Ctrl-C": "interrupted: ",
    "dvc killed": "interrupted: ",
    "dvc terminated": "interrupted: ",
    "worker killed": ": a worker was killed, perhaps for want of memory; ",
    "stage killed": "exited with (-9|137)",
    "all killed": "",
    "terminal closed": "",
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
    assert bool(writes(scratch, stage)) == (state == "writes" and way in ("all killed", "stage killed", "terminal closed"))
    dvc(scratch, "repro")
    assert locked(scratch) == locked(finished)
    # The stage stands in another place of the lock.
    assert git(scratch, "status", "--porcelain").strip() in ("", "M dvc.lock")


EDITS = {
    "src/toycrystals/priors/mop.py": ("import", "import  "),
    "stages/fit_prior.py": ("import", "import  "),
    "params.yaml: mop": ("neighbours: ", "neighbours: 1"),
}


@pytest.mark.parametrize("what", EDITS)
def test_what_is_edited_while_its_stage_runs_is_not_recorded_as_what_made_the_result(scratch, finished, tmp_path, what):
    path, (before, after) = what.partition(":")[0], EDITS[what]
    edit = f"(path := pathlib.Path({path!r})).write_text(path.read_text().replace({before!r}, {after!r}))"
    python_path = at_a_write(tmp_path / "site", "fit_prior@mop", "*", edit)
    process = begin(scratch, "repro", "--force", "--single-item", "fit_prior@mop", python_path=python_path)
    assert process.wait(DEADLINE) != 0
    assert f"error: fit_prior: {what} changed while the stage ran" in printed(scratch)
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert "up to date" not in dvc(scratch, "status", "fit_prior@mop").stdout
    git(scratch, "restore", path)
    dvc(scratch, "repro")
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert git(scratch, "status", "--porcelain") == ""


@pytest.mark.parametrize("action", [KILL, FULL], ids=["killed", "full disk"])
def test_half_of_the_outputs_are_made_again(scratch, finished, tmp_path, action):
    python_path = at_a_write(tmp_path / "site", "generate", "data/val.*", action)
    process = begin(scratch, "repro", "--force", "--single-item", "generate", python_path=python_path)
    assert process.wait(DEADLINE) != 0
    assert (scratch / "data/train.safetensors").exists()
    assert not (scratch / "data/test.safetensors").exists()
    if action == FULL:
        own = [line for line in printed(scratch).splitlines() if line.startswith("error:")]
        assert own == ["error: data/val.safetensors: no space left on device; free space, or choose another file or folder"]
    assert "Traceback" not in printed(scratch)
    dvc(scratch, "repro", "generate")
    assert (scratch / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    left = git(scratch, "status", "--porcelain").splitlines()
    assert [bool(re.fullmatch(r"\?\? data/\.val\.\d+\.safetensors", line)) for line in left] == [True] * (action == KILL)


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
    assert re.findall(r"code (\d+)", done.stdout) == ["255", "0", "255", "0"], done.stdout + done.stderr
    assert re.search(r"^error: data/\w+\.safetensors: no space left on device; free space", done.stderr, re.MULTILINE), (
        done.stderr
    )
    assert "failed to reproduce 'generate': [Errno 28] No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_dvc_was_writing_when_it_was_stopped_is_removed(scratch):
    """Both ways back stand in docs/recovery.md with the messages."""
    lock = scratch / ".dvc/tmp/rwlock"
    lock.write_text('{"read": {"data/tr')
    assert "Unable to read RWLock-file" in dvc(scratch, "repro", "preview", check=False).stderr
    lock.unlink()
    (scratch / "dvc.lock").unlink()
    command = "python -m stages.preview"
    run = next(path for path in (scratch / ".dvc/cache/runs").glob("*/*/*") if command in path.read_text())
    run.unlink()
    assert "'preview': join() argument" in dvc(scratch, "repro", "preview", check=False).stderr
    run.parent.rmdir()
    dvc(scratch, "repro", "preview")
    assert git(scratch, "status", "--porcelain", "plots") == ""


def test_half_a_lock_is_told_and_restored(scratch, finished):
    """As docs/recovery.md says it."""
    lock = (finished / "dvc.lock").read_bytes()
    (scratch / "dvc.lock").write_bytes(lock[: lock.rindex(b"md5") + 1])
    assert "'./dvc.lock' is invalid." in dvc(scratch, "repro", check=False).stderr
    git(scratch, "restore", "dvc.lock")
    dvc(scratch, "repro")
    assert (scratch / "dvc.lock").read_bytes() == lock
