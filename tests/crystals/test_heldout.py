"""The list of held-out conditions: equally many of each type, evenly spread in angle, and the same list every time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toycrystals.crystals.heldout import stratified_rows
from toycrystals.crystals.lattice import TYPES
from toycrystals.runtime.errors import UserError


def split(n=2000, n_types=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(n_types, size=n), rng.uniform(0.0, math.pi / 3, n).astype(np.float32)


def ranks(types, theta, rows, kind):
    """Where the chosen rows of a type stand among all of its angles."""
    available = np.flatnonzero(types == kind)
    place = {row: rank for rank, row in enumerate(available[np.argsort(theta[available], kind="stable")])}
    return np.sort([place[row] for row in rows if types[row] == kind]), len(available)


@given(n=st.integers(0, 300), n_types=st.integers(1, 4), seed=st.integers(0, 100))
@settings(deadline=None)
def test_rows_are_unique_ascending_and_equally_many_of_each_type(n, n_types, seed):
    types, theta = split(n_types=n_types, seed=seed)
    rows = stratified_rows(types, theta, n, n_types, "test")
    assert rows.dtype == np.int64
    assert len(rows) == n
    assert (np.diff(rows) > 0).all()
    counts = np.bincount(types[rows], minlength=n_types)
    # The first types have one more where n is no whole multiple of them.
    assert counts.tolist() == [n // n_types + (k < n % n_types) for k in range(n_types)]


@given(n=st.integers(4, 400), seed=st.integers(0, 100))
@settings(deadline=None)
def test_angles_of_each_type_are_evenly_spread(n, seed):
    """In ranks: steps differ by no more than rounding, and the ends are half a step from the first and the last rank."""
    types, theta = split(seed=seed)
    rows = stratified_rows(types, theta, n, 4, "test")
    for kind in range(4):
        place, available = ranks(types, theta, rows, kind)
        step = available / len(place)
        assert np.abs(np.diff(place) - step).max(initial=0.0) < 1.0
        assert abs(place[0] - step / 2) < 1.0
        assert abs(available - place[-1] - step / 2) <= 1.0


def test_angles_reach_over_the_whole_range():
    types, theta = split(8000)
    chosen = stratified_rows(types, theta, 400, 4, "test")
    for kind in range(4):
        angles = np.sort(theta[chosen][types[chosen] == kind])
        gaps = np.diff(angles, prepend=0.0, append=math.pi / 3)
        # 100 angles at equal steps of rank, where the first 100 of 2,000 would leave gaps of five steps and more.
        assert gaps.max() < 2.0 * math.pi / 3 / 100


def test_the_list_does_not_depend_on_the_order_of_the_split():
    """The same crystals are chosen, wherever they stand."""
    types, theta = split()
    order = np.random.default_rng(1).permutation(len(types))
    straight = stratified_rows(types, theta, 200, 4, "test")
    shuffled = stratified_rows(types[order], theta[order], 200, 4, "test")
    np.testing.assert_array_equal(np.sort(order[shuffled]), straight)
    np.testing.assert_array_equal(stratified_rows(types, theta, 200, 4, "test"), straight)


def test_all_rows_can_be_asked_for():
    types, theta = np.arange(40) % 4, np.random.default_rng(0).random(40)
    assert stratified_rows(types, theta, 40, 4, "test").tolist() == list(range(40))


def test_equal_angles_are_taken_at_even_steps_of_their_rows():
    """In `simple` no crystal is turned."""
    types = np.zeros(100, dtype=np.int64)
    assert stratified_rows(types, np.zeros(100), 5, 1, "test").tolist() == [10, 30, 50, 70, 90]


@pytest.mark.parametrize(("n", "expected"), [(0, []), (1, [0]), (3, [0, 1, 2]), (6, [0, 0, 1, 1, 2, 3])])
def test_few_rows_are_of_the_first_types(n, expected):
    types, theta = split()
    assert sorted(types[stratified_rows(types, theta, n, 4, "test")]) == expected


def test_types_that_are_not_asked_for_are_not_taken():
    types, theta = split()
    assert set(types[stratified_rows(types, theta, 100, 2, "test")]) == {0, 1}


@pytest.mark.parametrize("kind", range(4))
def test_too_few_of_a_type_is_refused_in_one_line_that_says_what_to_do(kind):
    types, theta = split()
    kept = np.flatnonzero(types != kind)[:400].tolist() + np.flatnonzero(types == kind)[:24].tolist()
    with pytest.raises(UserError) as info:
        stratified_rows(types[kept], theta[kept], 100, 4, "data/test")
    assert str(info.value) == (
        f"data/test: expected 25 samples of type {TYPES[kind]} for data.n_heldout = 100, found 24; "
        "lower data.n_heldout or raise data.n_test"
    )
    assert len(stratified_rows(types[kept], theta[kept], 96, 4, "data/test")) == 96
