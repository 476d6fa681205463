"""The cache's check: exactly what is damaged is named; what is removed comes back; what is sound or somebody's work stays."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smoke import dvc, git

from dvccare.fsck import find_damage, fsck, list_cache, remove_copies, remove_leftovers
from dvccare.repository import exclusive, read_lock
from toycrystals.runtime.errors import UserError

UP_TO_DATE = "Data and pipelines are up to date.\n"


def locked(project, path):
    """The MD5 that dvc.lock, or the listing of a directory in the cache, has of a path."""
    outs = {out: md5 for stage in read_lock(project / "dvc.lock").values() for out, md5 in stage.outs.items()}
    if path in outs:
        return outs[path]
    listing = json.loads(stored(project, "data/folder").read_text())
    return next(entry["md5"] for entry in listing if f"data/folder/{entry['relpath']}" == path)


def stored(project, path):
    """The object of a path."""
    name = locked(project, path)
    return project / ".dvc/cache/files/md5" / name[:2] / name[2:]


def flip(file):
    """Change one bit; size, time and permissions stay."""
    before = file.stat()
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(file):
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])
    file.chmod(0o444)


def check_out(project):
    """Let DVC check everything out anew, damage included."""
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "models")
    dvc(project, "checkout")


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def workspace(project):
    """The content of every output, by path."""
    files = [path for top in ("data", "models") for path in (project / top).rglob("*") if path.is_file()]
    return {path.relative_to(project): path.read_bytes() for path in files}


def test_a_sound_cache_is_called_sound_and_left_as_it_is(project, capsys):
    before = contents(project)
    assert fsck(project, remove=True)
    assert "6 objects" in capsys.readouterr().out
    after = contents(project)
    # The lock is held meanwhile.
    for files in (before, after):
        del files[project / ".dvc/tmp/lock"]
    assert after == before


@pytest.mark.parametrize(
    ("path", "damage"), [("data/one.bin", flip), ("data/folder/sub/second.txt", truncate), ("results/metrics.json", flip)]
)
def test_a_damaged_object_is_named_with_its_paths_and_hashes(project, capsys, path, damage):
    damage(stored(project, path))
    before = contents(project)
    assert not fsck(project)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged: ")]
    assert path in line
    assert f"expected MD5 {locked(project, path)}" in line
    assert f"found {hashlib.md5(stored(project, path).read_bytes()).hexdigest()}" in line
    if path == "data/one.bin":
        assert "models/copy.bin" in line
    assert contents(project) == before


def test_a_sound_copy_in_the_workspace_restores_its_object(project, capsys):
    flip(stored(project, "data/one.bin"))
    assert not fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "stored in the cache again, from the workspace: data/one.bin\n" in out
    assert "removed data/one.bin" not in out
    assert stored(project, "data/one.bin").read_bytes() == (project / "data/one.bin").read_bytes()
    assert stored(project, "data/one.bin").stat().st_mode & 0o777 == 0o444
    assert fsck(project)
    assert dvc(project, "status").stdout == UP_TO_DATE


def test_an_object_that_is_gone_is_stored_again_from_the_workspace(project, capsys):
    gone = stored(project, "data/one.bin")
    content = gone.read_bytes()
    gone.unlink()
    assert fsck(project)
    out = capsys.readouterr().out
    assert "not in the cache: data/one.bin, models/copy.bin; `fsck --remove` stores again" in out
    assert not gone.exists()
    (project / "data/one.bin").write_bytes(b"work")
    assert fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "stored in the cache again, from the workspace: models/copy.bin\n" in out
    assert "not in the cache" not in out
    assert (gone.read_bytes(), gone.stat().st_mode & 0o777) == (content, 0o444)
    assert (project / "data/one.bin").read_bytes() == b"work"
    gone.unlink()
    (project / "models/copy.bin").unlink()
    assert fsck(project, remove=True)
    assert "not in the cache: data/one.bin, models/copy.bin; `dvc pull`" in capsys.readouterr().out


def test_copies_of_damage_come_back_from_the_object_that_another_copy_restored(project, capsys):
    damaged = stored(project, "data/one.bin")
    flip(damaged)
    shutil.copyfile(damaged, project / "data/one.bin")
    assert not fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "  removed from the cache\n  removed data/one.bin\n" in out
    assert "stored in the cache again, from the workspace: models/copy.bin\n" in out
    assert "comes back with `dvc checkout`" in out
    dvc(project, "checkout")
    assert dvc(project, "status").stdout == UP_TO_DATE


FILE, CHILD = "data/one.bin", "data/folder/sub/second.txt"


@pytest.mark.parametrize(
    ("path", "link", "recovery"), [(FILE, "copy", "repro"), (CHILD, "hardlink", "repro"), (FILE, "symlink", "pull")]
)
def test_damage_that_was_checked_out_is_removed_and_comes_back_sound(project, capsys, path, link, recovery):
    sound = workspace(project)
    dvc(project, "config", "cache.type", link)
    flip(stored(project, path))
    check_out(project)
    assert workspace(project) != sound
    assert dvc(project, "status").stdout == UP_TO_DATE, "DVC sees damage by itself: this command is no longer needed"

    capsys.readouterr()
    assert not fsck(project, remove=True)
    assert "what was removed comes back" in capsys.readouterr().out
    assert not os.path.lexists(project / path)
    assert dvc(project, "status").stdout != UP_TO_DATE
    dvc(project, recovery)
    assert workspace(project) == sound
    assert dvc(project, "status").stdout == UP_TO_DATE
    assert fsck(project)
    assert git(project, "status", "--porcelain", "dvc.lock") == ""


def test_a_damaged_listing_is_removed_and_comes_back_sound(project, capsys):
    sound = workspace(project)
    listing = stored(project, "data/folder")
    truncate(listing)
    assert not fsck(project, remove=True)
    assert "damaged: data/folder: " in capsys.readouterr().out
    assert not listing.exists()
    dvc(project, "repro")
    assert listing.exists()
    assert workspace(project) == sound
    assert fsck(project)


def test_a_listing_whose_name_is_right_and_content_is_none_is_damaged(project, capsys):
    content = b"no list"
    name = hashlib.md5(content).hexdigest()
    path = project / ".dvc/cache/files/md5" / name[:2] / f"{name[2:]}.dir"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert not fsck(project, remove=True)
    assert f"damaged: no path of dvc.lock: expected MD5 {name}, found no directory listing" in capsys.readouterr().out
    assert not path.exists()


def test_a_file_with_content_of_its_own_stays_and_dvc_looks_at_it_again(project, capsys):
    dvc(project, "status")
    flip(stored(project, "data/folder/first.txt"))
    file = project / "data/folder/first.txt"
    flip(file)
    truncate(stored(project, "data/folder/first.txt"))
    own = file.read_bytes()
    assert not fsck(project, remove=True)
    assert "left data/folder/first.txt, which has other content" in capsys.readouterr().out
    assert file.read_bytes() == own
    assert "data/folder" in dvc(project, "status").stdout


def test_what_is_missing_is_no_damage_and_what_git_tracks_is_not_missing(project, capsys):
    for path in ("data/folder/first.txt", "results/metrics.json"):
        stored(project, path).unlink()
    assert fsck(project)
    out = capsys.readouterr().out
    assert "not in the cache: data/folder/first.txt;" in out
    assert "metrics.json" not in out


def test_an_empty_cache_is_sound(project):
    shutil.rmtree(project / ".dvc/cache")
    assert fsck(project, remove=True)


def test_a_cache_elsewhere_is_found(project, tmp_path, capsys):
    shutil.move(project / ".dvc/cache", tmp_path / "elsewhere")
    dvc(project, "cache", "dir", "--local", str(tmp_path / "elsewhere"))
    flip(next((tmp_path / "elsewhere/files/md5").glob("*/*.dir")))
    assert not fsck(project)
    assert "1 damaged" in capsys.readouterr().out


def test_leftovers_are_counted_and_removed_once_nobody_can_be_writing_them(project, capsys):
    folder = stored(project, "data/one.bin").parent
    old, new, other = folder / ".abc.tmp", folder / ".def.tmp", folder / "README"
    for file in (old, new, other):
        file.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert fsck(project)
    assert "stopped: 2, of which removed: 0" in capsys.readouterr().out
    assert fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "stopped: 2, of which removed: 1" in out
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_nothing_is_removed_while_dvc_is_at_work(project):
    flip(stored(project, "data/one.bin"))
    before = stored(project, "data/one.bin").read_bytes()
    with exclusive(project), pytest.raises(UserError, match="another DVC command is at work"):
        fsck(project, remove=True)
    assert stored(project, "data/one.bin").read_bytes() == before
    assert not fsck(project, remove=True)


def test_what_vanishes_meanwhile_is_passed_over(tmp_path):
    assert remove_leftovers([tmp_path / ".abc.tmp"]) == 0
    assert find_damage({"0" * 32: tmp_path / "object"}) == {}
    (tmp_path / "copy").write_bytes(b"damaged")
    actual = hashlib.md5(b"damaged").hexdigest()
    assert [*remove_copies("0" * 32, actual, ["gone", "copy"], tmp_path)] == ["removed copy"]
    assert not (tmp_path / "copy").exists()


def test_what_the_disk_cannot_give_is_damaged_and_other_mistakes_are_not(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(number, "")

    monkeypatch.setattr("dvccare.fsck.file_md5", fail)
    number = errno.EIO
    assert find_damage({"0" * 32: tmp_path / "object"}) == {"0" * 32: "unreadable"}
    number = errno.EACCES
    with pytest.raises(PermissionError):
        find_damage({"0" * 32: tmp_path / "object"})


@given(
    objects=st.lists(st.binary(max_size=200), unique=True, max_size=12),
    damaged=st.sets(st.integers(0, 11)),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_exactly_the_damaged_objects_are_found(objects, damaged, data):
    with tempfile.TemporaryDirectory() as folder:
        expected = set()
        for i, content in enumerate(objects):
            name = hashlib.md5(content).hexdigest()
            written = data.draw(st.binary(max_size=200).filter(lambda x, y=content: x != y)) if i in damaged else content
            if written != content:
                expected.add(name)
            path = Path(folder, "files/md5", name[:2], name[2:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written)
        found, _ = list_cache(Path(folder))
        assert set(find_damage(found)) == expected
        assert len(found) == len(objects)
