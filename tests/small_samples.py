"""Specs of small datasets, and samples compared field by field."""

from dataclasses import fields

import numpy as np

from toycrystals.crystals.dataset import DatasetSpec

FULL = DatasetSpec("full", 4, 64, 0)
SMALL = DatasetSpec("full", 4, 16, 0)


def arrays(samples):
    return {field.name: getattr(samples, field.name) for field in fields(samples)}


def assert_same(one, other):
    for name, array in arrays(one).items():
        np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)
        assert array.dtype == getattr(other, name).dtype
