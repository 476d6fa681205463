"""A few tensors to be written, and the one line in which a file is refused."""

import pytest
import torch

from toycrystals.errors import UserError

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([1, -2]), "u": torch.tensor([[255]], dtype=torch.uint8)}


def refusal(function, path, *arguments):
    """The one line in which `function` refuses the file."""
    with pytest.raises(UserError) as info:
        function(path, *arguments)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message
