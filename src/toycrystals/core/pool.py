"""Work on many items at once: much of measuring is of one thread, in code that lets others run meanwhile."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(label: str, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """`work` done on each of `items`, in order, in as many threads as PyTorch has, of which each takes no more for itself.

    Raises what `work` raises, when what has begun has ended.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as executor:
            try:
                results = executor.map(work, items)
                yield from tqdm(results, label, len(items), unit="set", disable=not sys.stderr.isatty(), leave=False)
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
