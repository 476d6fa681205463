"""Tensors and .pt files as files: any new file's permissions, and a full disk is told as one."""

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from small_files import TENSORS, needs_dev_full

from toycrystals.core import artifacts
from toycrystals.core.artifacts import TensorWriter, save_pt, save_tensors


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {})
        save_pt(tmp_path / "a.pt", TENSORS)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def write_pieces(path):
    with TensorWriter(path, "dataset", {"a": ("float32", (100_000,))}, {}) as writer:
        writer.append("a", np.zeros(100_000, np.float32))


@needs_dev_full
@pytest.mark.parametrize(
    "write",
    [
        write_pieces,
        lambda path: save_tensors(path, "VAE", {"a": torch.zeros(100_000)}, {}),
        lambda path: save_pt(path, {"a": torch.zeros(100_000)}),
    ],
    ids=["pieces", "tensors", "pt"],
)
def test_a_full_disk_is_an_os_error(monkeypatch, write):
    full = Path("/dev/full")
    monkeypatch.setattr(artifacts, "atomic", lambda path: nullcontext(full))
    with pytest.raises(OSError, match="No space left") as info:
        write(full)
    assert info.value.errno == errno.ENOSPC
