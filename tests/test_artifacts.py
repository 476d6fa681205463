"""Files on disk: each takes its place when it is whole, with any new file's permissions, and a full disk is told as one."""

import errno
import os
import signal
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from small_files import TENSORS

from toycrystals import artifacts
from toycrystals.artifacts import TensorWriter, atomic, save_pt, save_tensors, write_json
from toycrystals.errors import one_line_errors

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_who_reads_the_old_file_while_a_new_one_takes_its_place_reads_it_to_the_end(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        with atomic(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_an_error_of_the_block_names_the_file(tmp_path):
    path, other = tmp_path / "file.txt", str(tmp_path / "other.txt")
    for named, expected in ((None, str(path)), (other, other)):
        with pytest.raises(OSError, match="No space left") as info, atomic(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), named)
        assert info.value.filename == expected
    with pytest.raises(FileNotFoundError) as info, atomic(path) as temporary:
        temporary.read_text()
    assert info.value.filename == str(path)


def write_half(path, ending):
    with one_line_errors(), atomic(path) as temporary:
        temporary.write_text("half")
        ending()


def fail():
    raise ValueError("defect")


def be_killed():
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def be_interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize(("ending", "error"), [(fail, ValueError), (be_killed, SystemExit), (be_interrupted, SystemExit)])
def test_an_end_half_way_leaves_the_old_file_and_nothing_else(tmp_path, ending, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    previous = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(error):
            write_half(path, ending)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_before_anything_was_written_is_the_one_told(tmp_path):
    with pytest.raises(ValueError, match="defect"), atomic(tmp_path / "file.txt"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {})
        write_json(tmp_path / "a.json", {})
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
        lambda path: write_json(path, list(range(1000))),
        lambda path: save_pt(path, {"a": torch.zeros(100_000)}),
    ],
    ids=["pieces", "json", "pt"],
)
def test_a_full_disk_is_an_os_error(monkeypatch, write):
    full = Path("/dev/full")
    monkeypatch.setattr(artifacts, "atomic", lambda path: nullcontext(full))
    with pytest.raises(OSError, match="No space left") as info:
        write(full)
    assert info.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("words", "expected"),
    [("I/O error: No space left on device (os error 28)", OSError), ("invalid tensor", SafetensorError)],
)
def test_a_full_disk_told_by_the_library_is_an_os_error(tmp_path, monkeypatch, words, expected):
    def run_full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise SafetensorError(words)

    monkeypatch.setattr(artifacts, "save_file", run_full)
    with pytest.raises(expected) as info:
        save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {})
    assert getattr(info.value, "errno", errno.ENOSPC) == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
