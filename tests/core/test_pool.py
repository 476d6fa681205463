"""Work in several threads: results in order, and what goes wrong there is told here."""

import threading
import time

import pytest
import torch

from toycrystals.core.pool import in_threads
from toycrystals.runtime.errors import UserError


def double(number):
    """13 is bad luck."""
    if number == 13:
        raise UserError("thirteen")
    return 2 * number, threading.get_ident()


def test_results_come_in_order_from_other_threads_and_an_error_is_passed_on():
    results = in_threads("double", double, [3, 1, 2, 13, 5])
    found = [next(results) for _ in range(3)]
    assert [number for number, _ in found] == [6, 2, 4]
    assert threading.get_ident() not in {thread for _, thread in found}
    with pytest.raises(UserError, match=r"^thirteen$"):
        next(results)


@pytest.mark.parametrize("items", [[1, 2], [13]])
def test_each_thread_takes_one_and_the_number_is_put_back(items):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(UserError) if 13 in items else torch.no_grad():
            used = list(in_threads("threads", lambda number: (double(number), torch.get_num_threads())[1], items))
            assert used == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_has_not_begun_when_one_fails_is_not_done():
    before, done = torch.get_num_threads(), []

    def slowly(number):
        time.sleep(0.001)
        done.append(number)
        return double(number)

    torch.set_num_threads(1)
    try:
        with pytest.raises(UserError):
            list(
                in_threads(
                    "stop", lambda number: time.sleep(0.001) or done.append(number) or double(number), [13, *range(14, 2000)]
                )
            )
        assert len(done) < 1000
    finally:
        torch.set_num_threads(before)
