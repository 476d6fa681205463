"""Is a sample new, or a training sample again?

With dense data everything lies near some training sample, so plain distances tell nothing. Copying shows in what a condition
leaves open: among the training samples with nearly the same condition, is one far closer than held-out samples ever have one?
Codes are compared in units of the training posteriors' own deviations, images by principal components.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.crystals.conditions import Conditions, nearest_conditions
from toycrystals.crystals.dataset import Samples
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import is_determined

Floats = NDArray[np.float64]
# A sample is close when it is closer than all but this share of the held-out samples of its type.
CLOSE = 0.05
_CHUNK = 256


def conditions_of(samples: Samples) -> Conditions:
    """What a model may be told of samples."""
    return Conditions(torch.from_numpy(samples.type), torch.from_numpy(samples.labels))


def same_condition(asked: Conditions, training: Conditions, variant: str, candidates: int) -> Tensor | None:
    """For each of N conditions, the `candidates` training samples of its type with the nearest visible labels: rows [N, K].

    A type with fewer training samples repeats its last one. None where the variant shows no label but the type: then no
    training sample is nearer in condition than another. Raises `UserError` if a type has no training sample at all.
    """
    near = torch.zeros((len(asked), candidates), dtype=torch.long)
    for rows, found in nearest_conditions(asked, training, variant, candidates):
        if found.ndim == 1:
            return None
        near[rows] = torch.cat([found, found[:, -1:].expand(-1, candidates - found.shape[1])], dim=1)
    return near


def nearest_distance(x: Tensor, training: Tensor, near: Tensor | None, deviation: Tensor | None = None) -> Floats:
    """Distance of x [N, D] to the nearest of the training samples [M, D] in `near` [N, K], or of all of them: [N].

    `deviation` [M, D] divides the differences. NaN where x is not finite.
    """
    deviation = torch.ones_like(training) if deviation is None else deviation
    weight, t = deviation.double() ** -2, training.double()
    parts = []
    for rows in torch.tensor_split(torch.arange(len(x)), len(x) // _CHUNK + 1):
        if near is not None:
            squared = ((x[rows, None] - training[near[rows]]) / deviation[near[rows]]).double().square().sum(dim=2)
        else:
            # (x - t)^2 w = x^2 w - 2 x t w + t^2 w: products of matrices instead of an array [n, M, D].
            z = x[rows].double().nan_to_num()
            squared = z.square() @ weight.T - 2.0 * z @ (t * weight).T + (t.square() * weight).sum(dim=1)
        parts.append(squared.min(dim=1).values.clamp_min(0.0).sqrt())
    distance: Floats = torch.cat(parts).numpy()
    distance[~torch.isfinite(x).all(dim=1).numpy()] = np.nan
    return distance


def open_types(variant: str) -> NDArray[np.bool_]:
    """Of each lattice type, whether its images differ where their labels do not: only then can one be a copy and another not."""
    return np.array([lattice.has_aspect or not is_determined(variant) for lattice in LATTICES])


def close(
    distances: Floats, held_out: Floats, types: NDArray[np.int64] | None, variant: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the distances [N] are below the `CLOSE` quantile of the held-out ones [N] of the same type, and which can be: [N].

    Without `types` [N], of all of them.

    Of samples that owe nothing to the training samples but the distribution, a share `CLOSE` is: more are copies, fewer are far
    from the data. Where the condition leaves nothing open, no copy can be told.
    """
    below, testable = np.zeros((2, len(distances)), dtype=np.bool_)
    kinds = np.zeros(len(distances), dtype=np.int64) if types is None else types
    telling = np.ones(1, dtype=np.bool_) if types is None else open_types(variant)
    for kind in np.unique(kinds):
        rows = kinds == kind
        threshold = np.quantile(held_out[rows], CLOSE, method="higher")
        # A strict comparison, so that samples equal to held-out ones count like those.
        below[rows], testable[rows] = distances[rows] < threshold, telling[kind] and threshold > 0.0
    return below, testable
