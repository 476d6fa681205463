"""A few tensors to be written, a disk that is full, and the one line in which a file is refused."""

from pathlib import Path

import pytest
import torch

from toycrystals.runtime.errors import UserError

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([1, -2]), "u": torch.tensor([[255]], dtype=torch.uint8)}
needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def refusal(function, path, *arguments):
    """The one line in which `function` refuses the file."""
    with pytest.raises(UserError) as info:
        function(path, *arguments)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message
