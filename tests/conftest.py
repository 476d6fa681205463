"""One thread a process, nothing of the user's git and DVC, and one finished project at toy size for all tests that need one."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
# Whatever the user has set: which repository is meant, in which language git speaks, whether it signs, or runs hooks.
for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "DVC_ROOT", "DVC_STAGE"):
    os.environ.pop(name, None)
os.environ["LC_ALL"] = "C.UTF-8"
OVERRIDES = {"commit.gpgsign": "false", "tag.gpgsign": "false", "core.hooksPath": os.devnull, "core.autocrlf": "false"}
for number, (key, value) in enumerate(OVERRIDES.items(), int(os.environ.get("GIT_CONFIG_COUNT", "0"))):
    os.environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value, "GIT_CONFIG_COUNT": str(number + 1)}

import hashlib
import shutil
import signal
import sys

import pytest
import smoke
import torch
from browser import launched
from filelock import FileLock
from smoke import TOY, commit_all, copy_project, dvc, set_params
from stopping import processes
from warm import warm_python

# A background shell makes its children deaf to Ctrl-C, and they theirs; programs that are tested have to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Threads that wait for each other across processes crawl.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Begin with one file that needs the finished project and end with the others, lest a process wait while another makes it."""
    users = [item.path for item in items if "finished" in item.fixturenames]
    first, rest = users[:1], set(users)
    items.sort(key=lambda item: 0 if item.path in first else 2 if item.path in rest else 1)


@pytest.fixture(scope="session", autouse=True)
def quick_start():
    """Let dvc and its stages start without their imports."""
    with warm_python() as program:
        smoke.PYTHON = program
        yield


def fingerprint(folder):
    """Of every file in `folder` but git's, tests and documents, and of the interpreter."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        if path.parts[0] not in (".git", "tests", "docs") and path.suffix != ".md":
            digest.update(f"{path} {(folder / path).stat().st_size} ".encode() + (folder / path).read_bytes())
    return digest.hexdigest()


def copy_new(source, target):
    """Copy a file to where there is none."""
    if not os.path.lexists(target):
        shutil.copy2(source, target, follow_symlinks=False)


def make_finished(folder, kept):
    """Run the pipeline in `folder`, or take its results from the last run of the same code and params, kept in `kept`."""
    set_params(copy_project(folder), TOY)
    same = kept / fingerprint(folder)
    # Another session may be at the same.
    with FileLock(kept.with_suffix(".lock")):
        if same.exists():
            new = {"ignore": shutil.ignore_patterns(".git"), "copy_function": copy_new, "dirs_exist_ok": True}
            shutil.copytree(same, folder, symlinks=True, **new)
        else:
            dvc(folder, "repro")
            for old in kept.iterdir():
                shutil.rmtree(old)
            shutil.copytree(folder, kept / "unfinished", symlinks=True).rename(same)
    commit_all(folder, "results")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, pytestconfig):
    """A project whose `dvc repro` has run at toy size, lock and results committed to git; to be read, never changed.

    Made once for all worker processes: the first to ask makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, done = shared / "finished", shared / "finished.done"
    with FileLock(shared / "finished.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make_finished(folder, pytestconfig.cache.mkdir("finished"))
            done.touch()
    return folder


@pytest.fixture(scope="module")
def finished_copy(finished, tmp_path_factory):
    """The finished project again, for tests that put back what they change."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("finished") / "project", symlinks=True)


@pytest.fixture
def scratch(finished, tmp_path):
    """The finished project again, free to be changed and damaged."""
    folder = tmp_path / "scratch"
    shutil.copytree(finished, folder, symlinks=True)
    return folder


@pytest.fixture
def nothing_goes_on(tmp_path):
    """A test that fails leaves nothing behind that would take a core from the others."""
    yield
    for process in processes(tmp_path):
        process.kill()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; where there is none the test is skipped, in continuous integration it fails."""
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property, to which hypothesis gives no `tmp_path` of their own."""
    return tmp_path_factory.mktemp("examples")
