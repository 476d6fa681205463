"""The cache's check: exactly what is damaged is named; what is removed comes back; what is sound or somebody's work stays."""

import hashlib
import json
import os
import shutil
import sys
import time

import pytest
from smoke import dvc, git
from tiny import finish_project

from toycrystals.cli import main
from toycrystals.errors import UserError
from toycrystals.fsck import fsck
from toycrystals.repository import exclusive, read_lock

UP_TO_DATE = "Data and pipelines are up to date.\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A finished project whose cache has also been pushed to a remote."""
    folder = tmp_path_factory.mktemp("tiny")
    project = finish_project(folder / "project")
    dvc(project, "remote", "add", "--default", "store", str(folder / "store"))
    dvc(project, "push")
    git(project, "commit", "--all", "--quiet", "--message", "remote")
    return project


@pytest.fixture
def project(tiny, tmp_path):
    """The finished project again, free to be damaged."""
    return shutil.copytree(tiny, tmp_path / "project", symlinks=True)


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
    assert fsck(project, remove=True, workspace=True)
    assert "6 objects" in capsys.readouterr().out
    after = contents(project)
    # The lock is held meanwhile.
    for files in (before, after):
        del files[project / ".dvc/tmp/lock"]
    assert after == before


@pytest.mark.parametrize("damage", [flip, truncate])
@pytest.mark.parametrize("path", ["data/one.bin", "data/folder/sub/second.txt", "plots/compare/metrics.json"])
def test_a_damaged_object_is_named_with_its_paths_and_hashes(project, capsys, damage, path):
    damage(stored(project, path))
    before = contents(project)
    assert not fsck(project)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged: ")]
    assert path in line
    assert f"expected MD5 {locked(project, path)}" in line
    assert f"found {hashlib.md5(stored(project, path).read_bytes()).hexdigest()}" in line
    if path == "data/one.bin":
        assert "models/copy.bin" in line
        assert " of 10240 bytes, found" in line
    assert contents(project) == before


def test_a_sound_copy_in_the_workspace_restores_its_object(project, capsys):
    flip(stored(project, "data/one.bin"))
    assert not fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "restored from data/one.bin" in out
    assert "missing" not in out
    assert stored(project, "data/one.bin").read_bytes() == (project / "data/one.bin").read_bytes()
    assert stored(project, "data/one.bin").stat().st_mode & 0o777 == 0o444
    assert fsck(project, workspace=True)
    assert dvc(project, "status").stdout == UP_TO_DATE


def test_an_object_that_is_gone_is_stored_again_from_the_workspace(project, capsys):
    gone = stored(project, "data/one.bin")
    content = gone.read_bytes()
    gone.unlink()
    assert fsck(project)
    assert "not in the cache, but whole in the workspace: data/one.bin; `toycrystals fsck --remove`" in capsys.readouterr().out
    assert not gone.exists()
    (project / "data/one.bin").write_bytes(b"work")
    assert fsck(project, remove=True)
    assert "stored in the cache again, from the workspace: models/copy.bin\n" in capsys.readouterr().out
    assert (gone.read_bytes(), gone.stat().st_mode & 0o777) == (content, 0o444)
    assert (project / "data/one.bin").read_bytes() == b"work"
    gone.unlink()
    (project / "models/copy.bin").unlink()
    assert fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "no damage, but not in the cache: data/one.bin, models/copy.bin; `dvc pull`" in out
    assert "whole" not in out


def test_copies_of_damage_come_back_from_the_object_that_another_copy_restored(project, capsys):
    damaged = stored(project, "data/one.bin")
    flip(damaged)
    shutil.copyfile(damaged, project / "data/one.bin")
    assert not fsck(project, remove=True)
    out = capsys.readouterr().out
    assert "  restored from models/copy.bin\n  removed data/one.bin\n" in out
    assert "come back with `dvc checkout`" in out
    dvc(project, "checkout")
    assert dvc(project, "status").stdout == UP_TO_DATE


FILE, CHILD = "data/one.bin", "data/folder/sub/second.txt"


@pytest.mark.parametrize(
    ("path", "link", "recovery"),
    [(FILE, "copy", "repro"), (CHILD, "hardlink", "repro"), (CHILD, "copy", "pull"), (FILE, "symlink", "pull")],
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
    assert "what is missing now comes back" in capsys.readouterr().out
    assert not os.path.lexists(project / path)
    assert dvc(project, "status").stdout != UP_TO_DATE
    dvc(project, recovery)
    assert workspace(project) == sound
    assert dvc(project, "status").stdout == UP_TO_DATE
    assert fsck(project, workspace=True)
    assert git(project, "status", "--porcelain", "dvc.lock") == ""


@pytest.mark.parametrize(("damage", "recovery"), [(flip, "repro"), (truncate, "pull")])
def test_a_damaged_listing_is_removed_and_comes_back_sound(project, capsys, damage, recovery):
    sound = workspace(project)
    listing = stored(project, "data/folder")
    damage(listing)
    assert not fsck(project, remove=True)
    assert "damaged: data/folder: " in capsys.readouterr().out
    assert not listing.exists()
    assert dvc(project, "status").stdout != UP_TO_DATE
    dvc(project, recovery)
    assert listing.exists()
    assert workspace(project) == sound
    assert fsck(project, workspace=True)


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


def test_a_workspace_file_that_dvc_believes_in_is_read_on_request(project, capsys):
    dvc(project, "status")
    flip(project / "models/copy.bin")
    assert dvc(project, "status").stdout == UP_TO_DATE
    assert fsck(project)
    assert not fsck(project, workspace=True)
    assert "not as in dvc.lock: models/copy.bin: expected MD5" in capsys.readouterr().out
    assert dvc(project, "status").stdout == UP_TO_DATE
    assert not fsck(project, workspace=True, remove=True)
    assert "modified:           models/copy.bin" in dvc(project, "status").stdout
    dvc(project, "repro")
    assert fsck(project, workspace=True)


def test_what_is_missing_is_no_damage_and_what_git_tracks_is_not_missing(project, capsys):
    for path in ("data/folder/first.txt", "plots/compare/metrics.json"):
        stored(project, path).unlink()
    assert fsck(project)
    out = capsys.readouterr().out
    assert "not in the cache, but whole in the workspace: data/folder/first.txt;" in out
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
    assert f"no objects, left alone: {other}" in out
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_nothing_is_removed_while_dvc_is_at_work(project):
    flip(stored(project, "data/one.bin"))
    before = stored(project, "data/one.bin").read_bytes()
    with exclusive(project), pytest.raises(UserError, match="another DVC command is at work"):
        fsck(project, remove=True)
    assert stored(project, "data/one.bin").read_bytes() == before
    assert not fsck(project, remove=True)


@pytest.mark.parametrize("remove", [[], ["--remove"]], ids=["check", "remove"])
def test_the_exit_code_says_whether_there_was_damage(project, monkeypatch, remove):
    monkeypatch.chdir(project / "data")
    monkeypatch.setattr(sys, "argv", ["toycrystals", "fsck", *remove])
    for damage, code in ((lambda _: None, 0), (flip, 1)):
        damage(stored(project, "data/one.bin"))
        with pytest.raises(SystemExit) as ending:
            main()
        assert (ending.value.code or 0) == code
