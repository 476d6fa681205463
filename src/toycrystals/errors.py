"""What a user did wrong, told in one line."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class UserError(Exception):
    """A mistake that the user can mend: what was expected, what came, where, what to do. Never shown with a traceback."""


_OUT_OF_MEMORY = "error: out of memory; a smaller batch, dataset or number of images needs less"
_ELSEWHERE = "choose another file or folder"
# What helps, by what is wrong with a file.
_FILE_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), f"free space, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), f"change its permissions, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG), _ELSEWHERE),
}


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn mistakes, interruption and a full disk into one line on stderr and an exit code that is not 0.

    Raises `SystemExit`: 1 for errors, 130 for Ctrl-C or SIGTERM. Programming errors keep their traceback.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except UserError as error:
        _exit(f"error: {error}", 1)
    except KeyboardInterrupt:
        _exit("interrupted: no half-written file is left", 130)
    except MemoryError:
        _exit(_OUT_OF_MEMORY, 1)
    except RuntimeError as error:
        # PyTorch has an exception of its own on a GPU, and none on the CPU.
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        _exit(_OUT_OF_MEMORY, 1)
    except OSError as error:
        if error.errno not in _FILE_ADVICE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _exit(f"error: {where}{os.strerror(error.errno).lower()}; {_FILE_ADVICE[error.errno]}", 1)


def _exit(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code) from None
