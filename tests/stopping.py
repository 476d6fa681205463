"""What tests of stopped runs share: dvc as a terminal starts it, what it started, and ways of stopping either."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import yaml

DEADLINE = 300  # seconds, after which something hangs; on a busy machine dvc may take one minute to start
LONG = ["-n", "long", "-S", "vae.epochs=100000"]
# A stage that does something else where a complete output would take its place.
AT_A_WRITE = """
import os, pathlib, signal, time
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


def hear_hangup():
    """In a child process: hear a closed terminal, to which nohup makes its children deaf."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def begin(folder, *arguments, python_path="", shell="/bin/sh"):
    """Start dvc as a terminal would: a process group of its own that hears Ctrl-C. What it prints is in `printed(folder)`.

    dvc starts stages through `shell`, which may stay between the two.
    """
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": paths, "SHELL": shell, "TOYCRYSTALS_DEVICE": "cpu", "PYTHONPATH": str(python_path)}
    with (folder.parent / "printed").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=folder,
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=hear_hangup,
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


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_end(folder):
    """Nothing that was started there goes on for longer than its imports take."""
    wait_until(lambda: not processes(folder), lambda: processes(folder))


WAYS = {
    "Ctrl-C": lambda process, folder: os.killpg(process.pid, signal.SIGINT),
    "dvc killed": lambda process, folder: process.kill(),
    "all killed": lambda process, folder: os.killpg(process.pid, signal.SIGKILL),
    "terminal closed": lambda process, folder: os.killpg(process.pid, signal.SIGHUP),
    "dvc terminated": lambda process, folder: process.terminate(),
    "stage killed": lambda process, folder: stage_processes(folder)[0].kill(),
}


def at_a_write(folder, stage, target, action):
    """Make the stage take `action` when its output `target` is complete and not yet in its place; the python path for it."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(AT_A_WRITE.format(stage=stage, target=target, action=action))
    return folder


def forget(folder, name):
    """Remove a stage from dvc.lock, its outputs, and what the run cache knows of it."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    stage = lock["stages"].pop(name)
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    for run in list((folder / ".dvc/cache/runs").glob("*/*/*")):
        if yaml.safe_load(run.read_text())["cmd"] == stage["cmd"]:
            # With its folder: DVC stumbles over an empty one.
            shutil.rmtree(run.parent)
    for output in (folder / entry["path"] for entry in stage["outs"]):
        shutil.rmtree(output) if output.is_dir() else output.unlink()


def locked(folder):
    return yaml.safe_load((folder / "dvc.lock").read_text())["stages"] if (folder / "dvc.lock").exists() else {}
