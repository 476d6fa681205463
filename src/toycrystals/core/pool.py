"""Work on many items in processes of one thread each: much of measuring is of one thread, so that two cores gain nearly half."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TypeVar

import torch
from tqdm import tqdm

from toycrystals.runtime.errors import UserError
from toycrystals.runtime.process import end_with_stage

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# A worker holds about a gigabyte.
_MOST_WORKERS = 8


def in_processes(label: str, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """`work` done on each of `items`, in order, in as many processes as this one may have threads; raises what it raises."""
    workers = min(torch.get_num_threads(), _MOST_WORKERS, len(items))
    # Before they start, so that no library takes more: a fork would inherit locks of threads that it has not.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as executor:
        try:
            # Started with Ctrl-C blocked, workers never hear it: it is for the stage, for which it waits until they have started.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                # Not by `map`, which cancels what is left when one fails; told that a worker has ended, it would trip over that.
                futures = [executor.submit(work, item) for item in items]
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            for future in tqdm(futures, label, unit="set", disable=None, leave=False):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(f"{label}: a worker was killed, perhaps for want of memory; free some and run it again") from None
        except BaseException:
            # What the workers have begun is for nothing; leaving the block waits for them.
            for process in active_children():
                process.terminate()
            raise


def _begin() -> None:
    end_with_stage()
    torch.set_num_threads(1)
