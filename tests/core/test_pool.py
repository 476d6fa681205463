"""Work in other processes: results in order, and what goes wrong there is told here."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from toycrystals.core import pool
from toycrystals.core.pool import in_processes
from toycrystals.runtime.errors import UserError


def double(number):
    """For a worker; 13 is bad luck, and what is larger takes long."""
    if number == 13:
        raise UserError("thirteen")
    time.sleep(100 if number > 13 else 0)
    return 2 * number, os.getpid()


def test_results_come_in_order_from_other_processes_and_an_error_is_passed_on(capfd):
    results = in_processes("double", double, [3, 1, 2, 13, *range(14, 30)])
    found = [next(results) for _ in range(3)]
    assert [number for number, _ in found] == [6, 2, 4]
    assert os.getpid() not in {process for _, process in found}
    with pytest.raises(UserError, match=r"^thirteen$"):
        next(results)
    # What is left undone ends at once, without a word.
    assert capfd.readouterr().err == ""


class Broken(ProcessPoolExecutor):
    """One whose worker was killed."""

    def submit(self, *_):
        raise BrokenProcessPool


def test_a_killed_worker_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(pool, "ProcessPoolExecutor", Broken)
    with pytest.raises(UserError, match=r"^double: a worker was killed, perhaps for want of memory; .*again$"):
        list(in_processes("double", double, [1]))
