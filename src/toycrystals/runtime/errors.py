"""What a user did wrong, told in one line."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that the user can mend: what was expected, what came, where, what to do. Never shown with a traceback."""


# What helps beside another file or folder.
_FILE_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space, or "),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions, or "),
}


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn mistakes, interruption and a full disk into one line on stderr and an exit code that is not 0.

    Raises `SystemExit`: 1 for errors, 130 for Ctrl-C, SIGTERM or a closed terminal. Programming errors keep their traceback.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A background shell or nohup makes its children deaf to some; they stay so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    except BaseException as error:
        if not (line := _one_line(error)):
            raise
        print(line, file=sys.stderr, flush=True)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None


def _one_line(error: BaseException) -> str:
    """What is said of a mistake; nothing of a programming error."""
    match error:
        case UserError():
            return f"error: {error}"
        case KeyboardInterrupt():
            return "interrupted: no half-written file is left"
        case OSError(errno=int(number), filename=name) if name or number in _FILE_ADVICE:
            where, advice = f"{name}: " if name else "", _FILE_ADVICE.get(number, "")
            return f"error: {where}{os.strerror(number).lower()}; {advice}choose another file or folder"
    # PyTorch has an exception of its own on a GPU, and none on the CPU.
    short = isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    if short or isinstance(error, MemoryError):
        return "error: out of memory; a smaller batch, dataset or number of images needs less"
    return ""
