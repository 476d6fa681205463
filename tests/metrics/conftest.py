"""The recovery of lattices with one spacing, and with any."""

import pytest
from crystals import SIZE

from toycrystals.metrics.recovery import LatticeRecovery


@pytest.fixture(scope="module")
def recover():
    return LatticeRecovery("rot_only", 4, SIZE, theta_step=2.0, aspect_step=0.05)


@pytest.fixture(scope="module")
def recover_full():
    return LatticeRecovery("full", 4, SIZE, theta_step=2.0, aspect_step=0.05)
