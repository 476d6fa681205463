"""Is DVC's cache what it says it is? An object's name is the MD5 of its content, so every object can be read and judged.

DVC believes read-only objects: it checks a damaged one out, and calls the workspace up to date.
"""

import errno
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from re import fullmatch

from toycrystals.artifacts import atomic
from toycrystals.provenance import file_md5
from toycrystals.repository import LockedStage

_READ_ONLY = 0o444  # as DVC keeps its objects
_IN_USE = 3600  # seconds: a younger temporary file may belong to an experiment that runs in a folder of its own


@dataclass(frozen=True)
class Cache:
    """What lies in a cache: objects by name (MD5, and `.dir` for a directory's listing), and files that are none."""

    objects: Mapping[str, Path]
    leftovers: tuple[Path, ...]  # temporary files of commands that were killed
    others: tuple[Path, ...]


@dataclass(frozen=True)
class Damage:
    """An object whose content is not what its name says; `actual` is the content's MD5, or why there is none."""

    name: str
    path: Path
    actual: str
    size: int  # bytes


@dataclass(frozen=True)
class Uses:
    """What dvc.lock makes of objects: the paths that have each one as content, the size of some (bytes), and what is missing."""

    paths: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    missing: tuple[str, ...]


def list_cache(folder: Path) -> Cache:
    """Sort the files of the cache at `folder` (as `dvc cache dir` names it); one that does not exist is empty.

    The run cache (`runs/`) is left out: a damaged entry names objects that do not exist, and DVC runs the stage.
    """
    objects: dict[str, Path] = {}
    leftovers, others = [], []
    top = folder / "files" / "md5"
    for path in sorted(path for path in top.rglob("*") if path.is_file()):
        prefix, *rest = path.relative_to(top).parts
        name = prefix + "".join(rest)
        if path.name.startswith("."):
            leftovers.append(path)
        elif len(rest) == 1 and len(prefix) == 2 and fullmatch(r"[0-9a-f]{32}(\.dir)?", name):
            objects[name] = path
        else:
            others.append(path)
    return Cache(objects, tuple(leftovers), tuple(others))


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 of one that has vanished."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def find_damage(contents: Mapping[Path, str], progress: Callable[[int], object] = lambda _: None) -> list[Damage]:
    """Read files in as many threads as there are cores; return those that are not what `contents` names, in order of names.

    `progress` is told the size of each file in bytes when it has been read. A file that vanishes meanwhile is passed over.
    """
    sizes = {path: size_of(path) for path in contents}
    pool = ThreadPoolExecutor(os.cpu_count())
    found = []
    try:
        # The large ones first, so that no thread is left alone with one at the end.
        pending = {pool.submit(_judge, path, contents[path]): path for path in sorted(contents, key=lambda path: -sizes[path])}
        for future in as_completed(pending):
            path = pending[future]
            if actual := future.result():
                found.append(Damage(contents[path], path, actual, sizes[path]))
            progress(sizes[path])
    finally:
        pool.shutdown(cancel_futures=True)
    return sorted(found, key=lambda damage: (damage.name, damage.path))


def _judge(path: Path, name: str) -> str | None:
    """What is wrong with the content, or nothing."""
    try:
        actual = _content(path)
    except FileNotFoundError:
        return None
    if actual != name.removesuffix(".dir"):
        return actual
    return "no directory listing" if name.endswith(".dir") and _listing(path) is None else None


def _content(path: Path) -> str:
    """The MD5 of a file, or that the disk cannot give it."""
    try:
        return file_md5(path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return "unreadable"


def _listing(path: Path) -> dict[str, str] | None:
    """The MD5 of each file in a directory, by relative path; nothing if `path` holds no such list."""
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}
    except (ValueError, LookupError, TypeError):
        return None


def find_uses(stages: Iterable[LockedStage], cache: Cache, damaged: set[str], in_git: set[str]) -> Uses:
    """Trace objects to the paths of dvc.lock. Listings in `damaged` are not read; what git tracks needs no object."""
    paths: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    missing = []
    for stage in stages:
        sizes |= stage.sizes
        for out, name in stage.outs.items():
            files = {out: name}
            if name.endswith(".dir") and name in cache.objects and name not in damaged:
                files |= {f"{out}/{child}": md5 for child, md5 in (_listing(cache.objects[name]) or {}).items()}
            for path, md5 in files.items():
                paths[md5].append(path)
                if md5 not in cache.objects and out not in in_git:
                    missing.append(path)
    return Uses({name: tuple(where) for name, where in paths.items()}, sizes, tuple(missing))


def repair(damage: Damage, paths: Iterable[str], root: Path) -> list[str]:
    """Restore the object from a sound copy among `paths` of the workspace, or remove it; say what was done.

    Copies of the damaged content are removed, be they files or links. One with content of its own stays, as it may be work.
    """
    sound: list[Path] = []
    bad: list[Path] = []
    other: list[Path] = []
    for copy in (root / path for path in paths if (root / path).is_file()):
        content = damage.actual if damage.path.exists() and copy.samefile(damage.path) else _content(copy)
        (sound if content == damage.name else bad if content == damage.actual else other).append(copy)
    if sound:
        store(sound[0], damage.path)
    else:
        damage.path.unlink(missing_ok=True)
    for copy in bad:
        copy.unlink(missing_ok=True)
    for copy in other:
        distrust(copy)
    return [
        f"restored from {sound[0].relative_to(root)}" if sound else "removed from the cache",
        *(f"removed {copy.relative_to(root)}" for copy in bad),
        *(f"left {copy.relative_to(root)}, which has other content" for copy in other),
    ]


def find_whole(contents: Mapping[str, Iterable[Path]]) -> dict[str, Path]:
    """Of objects by name, a file with the content of each, where any of its paths is one."""
    return {
        name: whole[0] for name, paths in contents.items() if (whole := [p for p in paths if p.is_file() and _content(p) == name])
    }


def object_path(folder: Path, name: str) -> Path:
    """Where the cache at `folder` keeps an object."""
    return folder / "files" / "md5" / name[:2] / name[2:]


def store(source: Path, target: Path) -> None:
    """Copy a file to be the object at `target`."""
    with atomic(target) as temporary:
        shutil.copyfile(source, temporary)
        temporary.chmod(_READ_ONLY)


def distrust(path: Path) -> None:
    """Set a file's time to now, so that DVC reads it, which it does not while time and size are those that it remembers."""
    os.utime(path)


def remove_leftovers(leftovers: Iterable[Path]) -> list[Path]:
    """Remove temporary files that nobody can be writing any more, and return them."""
    removed = []
    for path in leftovers:
        # A command of another project with the same cache may have moved it into its place meanwhile.
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _IN_USE:
                path.unlink()
                removed.append(path)
    return removed
