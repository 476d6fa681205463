"""How the process of a stage ends when it is interrupted, or when the process that started it is gone."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

import psutil

_SHELLS = ("sh", "dash", "ash", "bash", "zsh", "ksh", "csh", "tcsh", "fish")
_INTERVAL = 0.5  # seconds


def _find_starter() -> psutil.Process | None:
    """The process that started this one, also where its shell did not make way for the command; None if it is gone already.

    It is of the same process group. Whatever takes over orphans (init, a login shell) is of another.
    """
    # It may end between these questions.
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        parent = psutil.Process().parent()
        starter = parent.parent() if parent is not None and parent.name() in _SHELLS else parent
        if starter is not None and os.getpgid(starter.pid) == os.getpgrp():
            return starter
    return None


# Now, for it may be gone when the imports of a stage have taken their seconds.
_STARTER = _find_starter()


def begin_process() -> None:
    """Make interruption quiet while modules are imported, which takes seconds.

    To be called before any module is imported that takes long; a no-op in programs that are no stage.
    """
    if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("stages."):
        for number in (signal.SIGINT, signal.SIGTERM):
            # A background shell makes its children deaf to Ctrl-C; they stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _quit)


def end_with_parent() -> None:
    """Interrupt this process, as Ctrl-C would, once the one that started it is gone: killing dvc does not reach a stage."""

    def watch() -> None:
        with suppress(psutil.NoSuchProcess):
            while _STARTER is not None and _STARTER.is_running() and _STARTER.status() != psutil.STATUS_ZOMBIE:
                time.sleep(_INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _quit(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted: nothing was written\n")
    os._exit(130)
