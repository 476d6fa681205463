"""Whatever is killed, and when: `dvc repro` goes on from there, and docs/recovery.md names the way back from the rest."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml
from smoke import dvc, git

pytestmark = pytest.mark.acceptance

DEADLINE = 300  # seconds, after which something hangs; on a busy machine dvc may take one minute to start
LONG = ["-n", "long", "-S", "vae.epochs=100000"]
# One stage of each kind: several outputs, training, workers of its own, a folder as output, outputs that git tracks.
KILLS = [
    ("generate", "writes", "Ctrl-C"),
    ("train_vae", "imports", "dvc killed"),
    ("sample@diffusion", "writes", "all killed"),
    ("floor_images", "has workers", "stage killed"),
    ("floor_images", "has workers", "Ctrl-C"),
    ("controls", "has workers", "worker killed"),
    ("evaluate@mop", "writes", "dvc terminated"),
    ("compare", "imports", "Ctrl-C"),
]
# A stage that does something else where a complete output would take its place.
AT_A_WRITE = """
import errno, os, pathlib, signal, time
if os.environ.get("DVC_STAGE") == {stage!r}:
    replace = pathlib.Path.replace
    def replace_or_not(self, target):
        if str(os.getpid()) in self.name and pathlib.Path(target).match({target!r}):
            {action}
        return replace(self, target)
    pathlib.Path.replace = replace_or_not
"""
WAIT = "time.sleep(600)"
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
FULL = "raise OSError(errno.ENOSPC, '', str(target))"
# In a namespace of its own, so that nothing stays mounted.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=100m none {disk} && cp -a {project} {disk}/project && cd {disk}/project || exit 77
fill() {{ head -c $((($(df --output=avail -k . | tail -1) - 20) * 1024)) /dev/zero > ../ballast; }}
for n_train in 1500 6000; do  # as large as what they replace: no room for the cache; larger: none for the stage
    sed -i "s/n_train: .*/n_train: $n_train/; s/^seed: .*/seed: $n_train/" params.yaml
    fill
    echo full; {dvc} repro generate; echo "code $?"
    rm ../ballast
    echo free; {dvc} repro generate; echo "code $?"
done
"""


def begin(folder, *arguments, python_path=""):
    """Start dvc as a terminal would: a process group of its own that hears Ctrl-C. What it prints is in `printed(folder)`."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (folder.parent / "printed").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=folder,
            env={**os.environ, "PATH": paths, "TOYCRYSTALS_DEVICE": "cpu", "PYTHONPATH": str(python_path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )


def printed(folder):
    return (folder.parent / "printed").read_text()


def wait_until(condition, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def wait_for_stage(folder, process, name):
    """Until dvc has started the stage."""

    def started():
        assert process.poll() is None, printed(folder)
        return f"Running stage '{name}'" in printed(folder) and stage_processes(folder)

    wait_until(started, partial(printed, folder))


def processes(folder):
    """Command lines of all processes that work in `folder` or below it, by process."""
    found = {}
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found[process] = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
    return found


def stage_processes(folder):
    return [process for process, line in processes(folder).items() if any(part.startswith("stages.") for part in line)]


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path):
    """A test that fails leaves no training behind that would take a core from the others."""
    yield
    for process in processes(tmp_path):
        process.kill()


def all_end(folder):
    """Nothing that was started there goes on for longer than its imports take."""
    wait_until(lambda: not processes(folder), lambda: processes(folder))


WAYS = {
    "Ctrl-C": lambda process, folder: os.killpg(process.pid, signal.SIGINT),
    "dvc killed": lambda process, folder: process.kill(),
    "all killed": lambda process, folder: os.killpg(process.pid, signal.SIGKILL),
    "dvc terminated": lambda process, folder: process.terminate(),
    "stage killed": lambda process, folder: stage_processes(folder)[0].kill(),
    "worker killed": lambda process, folder: workers(folder)[0].kill(),
}


def writes(folder, stage):
    return [*folder.glob(f"[dmp]*/**/.*.{stage.pid}.*")]


def workers(folder):
    return [process for process, line in processes(folder).items() if "multiprocessing.spawn" in " ".join(line)]


def has_workers(folder, stage):
    return workers(folder)


def imports(folder, stage):
    """For half a second of work, which is within the imports of torch."""
    return stage.cpu_times().user > 0.5


STATES = {"writes": writes, "has workers": has_workers, "imports": imports}
# What a stage says at the end, by what was done to it; it says nothing where it was killed itself.
SAID = {
    "Ctrl-C": "interrupted: ",
    "dvc killed": "interrupted: ",
    "dvc terminated": "interrupted: ",
    "worker killed": ": a worker was killed, perhaps for want of memory; ",
    "stage killed": "exited with -9",
    "all killed": "",
}


def at_a_write(folder, stage, target, action):
    """Make the stage take `action` when its output `target` is complete and not yet in its place; the python path for it."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(AT_A_WRITE.format(stage=stage, target=target, action=action))
    return folder


def forget(folder, names):
    """Remove the lock, every output, and what the run cache knows of the stages in `names`."""
    commands = {name: stage["cmd"] for name, stage in yaml.safe_load((folder / "dvc.lock").read_text())["stages"].items()}
    forgotten = {commands[name] for name in names}
    for run in list((folder / ".dvc/cache/runs").glob("*/*/*")):
        if yaml.safe_load(run.read_text())["cmd"] in forgotten:
            # With its folder: DVC stumbles over an empty one.
            shutil.rmtree(run.parent)
    (folder / "dvc.lock").unlink()
    for output in git(folder, "ls-files", "plots/*/*.*").split():
        if not output.endswith(".gitignore"):
            (folder / output).unlink()
    for path in [*folder.glob("data/**/*.safetensors"), *folder.glob("models/**/*.safetensors")]:
        path.unlink()


def locked(folder):
    return yaml.safe_load((folder / "dvc.lock").read_text())["stages"] if (folder / "dvc.lock").exists() else {}


def test_repro_goes_on_after_every_kill_and_ends_as_if_there_were_none(scratch, finished, tmp_path):
    forget(scratch, [name for name, *_ in KILLS])
    for name, state, way in KILLS:
        python_path = at_a_write(tmp_path / "site", name, "*", WAIT) if state == "writes" else ""
        process = begin(scratch, "repro", python_path=python_path)
        wait_for_stage(scratch, process, name)
        stage = stage_processes(scratch)[0]
        wait_until(partial(STATES[state], scratch, stage), partial(printed, scratch))
        WAYS[way](process, scratch)
        assert process.wait(DEADLINE) != 0, f"{name}, {way}: {printed(scratch)}"
        all_end(scratch)
        assert "Traceback" not in printed(scratch), f"{name}, {way}: {printed(scratch)}"
        assert SAID[way] in printed(scratch), f"{name}, {way}: {printed(scratch)}"
        assert name not in locked(scratch), f"{name}, {way}"
        assert bool(writes(scratch, stage)) == (state == "writes" and way == "all killed"), f"{name}, {way}"
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


@pytest.mark.parametrize("way", ["Ctrl-C", "dvc killed"])
def test_experiment_stopped_in_the_workspace_leaves_it_and_the_way_back_keeps_edits(scratch, finished, way):
    (scratch / "CHANGELOG.md").write_text("mine\n")
    process = begin(scratch, "exp", "run", *LONG)
    wait_for_stage(scratch, process, "train_vae")
    WAYS[way](process, scratch)
    assert process.wait(DEADLINE) != 0
    all_end(scratch)
    assert "epochs: 100000" in (scratch / "params.yaml").read_text()
    assert git(scratch, "branch", "--show-current") == ("main\n" if way == "Ctrl-C" else "")
    if way == "dvc killed":
        git(scratch, "switch", "--quiet", "main")
    git(scratch, "restore", "--staged", "--worktree", "params.yaml", "dvc.lock", "plots")
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
    dvc(scratch, "exp", "run", "--temp", "-n", "long", "-S", "mop.neighbours=4", "fit_prior@mop")
    assert "long" in dvc(scratch, "exp", "list").stdout


def test_queued_experiment_is_ended_or_taken_off_and_another_runs(scratch):
    """Ended by `dvc queue kill`; after its worker was killed, taken off by the same."""

    def status():
        return dvc(scratch, "queue", "status").stdout

    def run_long():
        dvc(scratch, "exp", "run", "--queue", *LONG)
        assert begin(scratch, "queue", "start").wait(DEADLINE) == 0
        wait_until(lambda: stage_processes(scratch), status)

    run_long()
    dvc(scratch, "queue", "kill", "long")
    wait_until(lambda: re.search(r"long .* Failed", status()) and not stage_processes(scratch), status)
    dvc(scratch, "queue", "remove", "--failed")
    dvc(scratch, "queue", "stop", "--kill")
    all_end(scratch)
    run_long()
    for process in processes(scratch):
        process.kill()
    all_end(scratch)
    assert re.search(r"long .* Running", status())
    dvc(scratch, "queue", "kill", "long")
    assert re.search(r"long .* Failed", status())
    dvc(scratch, "queue", "remove", "--failed")
    assert "No experiment tasks" in status()
    dvc(scratch, "exp", "run", "--queue", "-n", "short", "-S", "mop.neighbours=4", "fit_prior@mop")
    assert begin(scratch, "queue", "start").wait(DEADLINE) == 0
    wait_until(lambda: "Success" in status(), status)
    dvc(scratch, "queue", "stop", "--kill")
    all_end(scratch)
