"""Files on disk: each takes its place when it is whole, JSON comes back as it went, and MD5 is what DVC calls a file by."""

import errno
import hashlib
import json
import math
import os
import signal
from contextlib import nullcontext
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from small_files import needs_dev_full

from toycrystals.runtime import files
from toycrystals.runtime.errors import UserError, one_line_errors
from toycrystals.runtime.files import atomic, file_md5, require_file, write_json


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


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=30)
@given(content=json_trees)
def test_json_comes_back(folder, content):
    write_json(folder / "a.json", content)
    assert json.loads((folder / "a.json").read_text()) == content
    assert (folder / "a.json").read_bytes().endswith(b"\n")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_holds_no_nan_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"metrics": [1.0, value]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("name", "found"), [("none", "nothing"), (".", "a folder")])
def test_what_is_no_file_is_told_in_one_line(tmp_path, name, found):
    with pytest.raises(UserError) as info:
        require_file(tmp_path / name, "a table", "look elsewhere")
    assert str(info.value) == f"{tmp_path / name}: expected a table, found {found}; look elsewhere"
    (tmp_path / "file").touch()
    require_file(tmp_path / "file", "a table", "")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_permissions_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode


@needs_dev_full
def test_a_full_disk_is_an_os_error(monkeypatch):
    full = Path("/dev/full")
    monkeypatch.setattr(files, "atomic", lambda path: nullcontext(full))
    with pytest.raises(OSError, match="No space left") as info:
        write_json(full, list(range(1000)))
    assert info.value.errno == errno.ENOSPC


def test_file_md5_is_the_standard_one(tmp_path):
    for content in (b"", b"crystal", bytes(range(256)) * 5000):
        (tmp_path / "file").write_bytes(content)
        assert file_md5(tmp_path / "file") == hashlib.md5(content).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_md5(tmp_path / "nothing")
