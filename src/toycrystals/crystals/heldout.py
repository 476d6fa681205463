"""The one list of held-out conditions that everything is measured on: equally many of each type, evenly spread in angle."""

import numpy as np
from numpy.typing import NDArray

from toycrystals.crystals.lattice import TYPES
from toycrystals.runtime.errors import UserError

# Of the list, every condition of this step is asked for again: for several codes each, and for codes under another condition.
EVERY = 4


def stratified_rows(
    types: NDArray[np.int64], theta: NDArray[np.floating], n: int, n_types: int, source: object
) -> NDArray[np.int64]:
    """Rows [n], ascending, of a split with `types` [N] and `theta` [N].

    Each of the `n_types` types has n / n_types of them (the first ones have one more where that is no whole number), taken at
    even steps through its angles in ascending order. Raises `UserError`, naming `source`, if the split has too few of a type.
    """
    rows = []
    for k in range(n_types):
        wanted = n // n_types + (k < n % n_types)
        available = np.flatnonzero(types == k)
        if len(available) < wanted:
            raise UserError(
                f"{source}: expected {wanted} samples of type {TYPES[k]} for data.n_heldout = {n}, found {len(available)}; "
                "lower data.n_heldout or raise data.n_test"
            )
        ordered = available[np.argsort(theta[available], kind="stable")]
        # The middle of `wanted` equal parts of the ranks.
        ranks = (2 * np.arange(wanted) + 1) * len(ordered) // (2 * max(wanted, 1))
        rows.append(ordered[ranks])
    return np.sort(np.concatenate(rows))
