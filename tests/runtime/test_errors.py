import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_files import needs_dev_full

from toycrystals.runtime.errors import UserError, one_line_errors

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def _own_sigterm():
    previous = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, previous)


def end_of(error, capsys):
    """Exit code and stderr of a program that raises `error`."""
    with pytest.raises(SystemExit) as info, one_line_errors():
        raise error
    captured = capsys.readouterr()
    assert captured.out == ""
    return info.value.code, captured.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("vae.beta = -1: must not be negative"), 1, ["error: vae.beta = -1: must not be negative"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (MemoryError(), 1, ["error:", "out of memory"]),
        (OSError(errno.ENOSPC, "x", "/disk/file"), 1, ["error:", "no space left", "/disk/file", "free space"]),
        (OSError(errno.ENOSPC, "x"), 1, ["error:", "no space left"]),
        (OSError(errno.EDQUOT, "x", "/disk/file"), 1, ["error:", "quota", "/disk/file"]),
        (PermissionError(errno.EACCES, "x", "/file"), 1, ["error: /file: permission denied; change its permissions, or "]),
        (OSError(errno.EROFS, "x", "/file"), 1, ["error: /file: read-only file system; choose another file or folder"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_user_can_mend_is_one_line_and_a_code(error, code, words, capsys):
    exit_code, stderr = end_of(error, capsys)
    assert exit_code == code
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    assert all(word in stderr for word in words)
    assert "None" not in stderr


@pytest.mark.parametrize(
    "error",
    [ValueError("shape"), KeyError("name"), RuntimeError("boom"), OSError(errno.EIO, "i/o")],
    ids=repr,
)
def test_programming_errors_pass_unchanged(error, capsys):
    with pytest.raises(type(error)) as info, one_line_errors():
        raise error
    assert info.value is error
    assert capsys.readouterr().err == ""


def test_an_exit_code_of_ones_own_is_kept(capsys):
    with pytest.raises(SystemExit) as info, one_line_errors():
        raise SystemExit(7)
    assert info.value.code == 7
    assert capsys.readouterr().err == ""


def test_nothing_is_said_where_all_goes_well(capsys):
    with one_line_errors():
        pass
    assert capsys.readouterr() == ("", "")


def run_program(body):
    imports = "import os, signal\nfrom toycrystals.runtime.errors import UserError, one_line_errors"
    program = f"{imports}\nwith one_line_errors():\n    {body}\n"
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("raise UserError('a: got 1, expected 2')", 1, "error: a: got 1, expected 2\n"),
        ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", 130, "interrupted: no half-written file is left\n"),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 130, "interrupted: no half-written file is left\n"),
        pytest.param(
            "open('/dev/full', 'wb', buffering=0).write(b'x')",
            1,
            "error: no space left on device; free space, or choose another file or folder\n",
            marks=needs_dev_full,
        ),
    ],
    ids=["mistake", "ctrl-c", "sigterm", "full disk"],
)
def test_a_program_ends_without_a_traceback(body, code, stderr):
    done = run_program(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", stderr)


def test_a_program_with_a_defect_shows_where_it_is():
    done = run_program("raise ValueError('defect')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: defect\n")
