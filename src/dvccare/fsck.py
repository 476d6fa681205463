"""DVC's cache read and judged: an object's name is the MD5 of its content. Damage is told in terms of the workspace.

DVC believes read-only objects: it checks a damaged one out, and calls the workspace up to date.
"""

import errno
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from re import fullmatch
from textwrap import shorten

from tqdm import tqdm

from dvccare.repository import dvc, exclusive, paths_in_git, read_lock
from toycrystals.runtime.files import atomic, file_md5

_READ_ONLY = 0o444  # as DVC keeps its objects
_IN_USE = 3600  # seconds: a younger temporary file may belong to an experiment that runs in a folder of its own


def fsck(root: Path, remove: bool = False) -> bool:
    """Check the cache of the project at `root`, print what is wrong with it, and return whether nothing is damaged.

    `remove` takes damage away, and stores again what the workspace still has. Raises `UserError` if DVC is at work meanwhile.
    """
    folder = Path(dvc(root, "cache", "dir").strip())
    with exclusive(root) if remove else nullcontext():
        objects, leftovers = list_cache(folder)
        size = sum(path.stat().st_size for path in objects.values()) / 1e6
        damaged = find_damage(objects)
        sound = {name: path for name, path in objects.items() if name not in damaged}
        uses = find_uses(root / "dvc.lock", sound)
        print(f"{os.path.relpath(folder, root)}: {len(objects)} objects, {size:.1f} MB, {len(damaged) or 'none'} damaged")
        for name, actual in damaged.items():
            paths = uses.get(name, [])
            expected = f"expected MD5 {name.removesuffix('.dir')}, found {actual}"
            print(f"damaged: {', '.join(paths) or 'no path of dvc.lock'}: {expected}, in {objects[name]}")
            if remove:
                done = [*remove_copies(name, actual, paths, root)]  # first, for they may be links to the object
                objects[name].unlink(missing_ok=True)
                print("  removed from the cache", *done, sep="\n  ")
        present = sound if remove else objects
        _check_missing(root, folder, {name: paths for name, paths in uses.items() if name not in present}, remove)
        removed = remove_leftovers(leftovers) if remove else 0
    if leftovers:
        print(f"temporary files of commands that were stopped: {len(leftovers)}, of which removed: {removed}")
    if damaged and remove:
        print("what was removed comes back with `dvc checkout`, `dvc pull` or `dvc repro`, in the commit or experiment it is of")
    elif damaged:
        print("`fsck --remove` takes damage out of the cache and the workspace, so that DVC makes or fetches it anew")
    return not damaged


def list_cache(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The objects in the cache at `folder` by name (MD5, and `.dir` for a directory's listing), and temporary files there.

    The run cache (`runs/`) is left out: a damaged entry names objects that do not exist, and DVC runs the stage.
    """
    top = folder / "files" / "md5"
    files = {path.relative_to(top).as_posix(): path for path in sorted(top.rglob("*")) if path.is_file()}
    names = [name for name in files if fullmatch(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?", name)]
    return {name.replace("/", ""): files[name] for name in names}, [path for path in files.values() if path.name.startswith(".")]


def find_damage(objects: Mapping[str, Path]) -> dict[str, str]:
    """What is found in place of each object that is not what it is called: the content's MD5, or why there is none."""
    with ThreadPoolExecutor() as pool:
        judged = zip(objects, pool.map(_damage, objects, objects.values()), strict=True)
        shown = tqdm(judged, "reading the cache", len(objects), unit="file", leave=False, disable=None)
        return {name: damage for name, damage in shown if damage}


def _damage(name: str, path: Path) -> str:
    actual, expected = _content(path), name.removesuffix(".dir")
    if actual != expected:
        return actual
    return "no directory listing" if name != expected and _listing(path) is None else ""


def _content(path: Path) -> str:
    """The MD5 of a file, or that the disk cannot give it; nothing if there is no file."""
    try:
        return file_md5(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return "unreadable"


def _listing(path: Path) -> dict[str, str] | None:
    """The MD5 of each file in a directory, by relative path; None if `path` holds no such list."""
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}
    except (ValueError, LookupError, TypeError):
        return None


def find_uses(lock: Path, objects: Mapping[str, Path]) -> dict[str, list[str]]:
    """The paths that have each object as their content, by what dvc.lock and the directories' listings among `objects` say."""
    uses = defaultdict(list)
    for stage in read_lock(lock).values():
        for out, name in stage.outs.items():
            uses[name].append(out)
            listing = _listing(objects[name]) if name.endswith(".dir") and name in objects else None
            for child, md5 in (listing or {}).items():
                uses[md5].append(f"{out}/{child}")
    return dict(uses)


def remove_copies(name: str, actual: str, paths: Iterable[str], root: Path) -> Iterator[str]:
    """Remove copies of damage among `paths` of the workspace, be they files or links; say what was done.

    A file with content of its own stays, as it may be work.
    """
    for path in paths:
        content = _content(root / path)
        if content == actual:
            (root / path).unlink(missing_ok=True)
            yield f"removed {path}"
        elif content not in ("", name):
            os.utime(root / path)  # while time and size are those that DVC remembers, it does not read a file
            yield f"left {path}, which has other content"


def _check_missing(root: Path, folder: Path, missing: Mapping[str, list[str]], store: bool) -> None:
    """Say what is not in the cache, or `store` it again where the workspace has it whole; what git tracks needs no object."""
    in_git = paths_in_git(root)
    gone, stored = [], []
    for name, paths in missing.items():
        needed = [path for path in paths if path not in in_git]
        whole = [path for path in needed if store and _content(root / path) == name]
        if whole:
            with atomic(folder / "files" / "md5" / name[:2] / name[2:]) as temporary:
                shutil.copyfile(root / whole[0], temporary)
                temporary.chmod(_READ_ONLY)
        stored += whole[:1]
        gone += [] if whole else needed
    if stored:
        print(f"stored in the cache again, from the workspace: {_some(stored)}")
    if gone:
        again = "" if store else "`fsck --remove` stores again what the workspace has whole, "
        print(f"not in the cache: {_some(gone)}; {again}`dvc pull` or `dvc repro` brings it")


def remove_leftovers(leftovers: Iterable[Path]) -> int:
    """Remove temporary files that nobody can be writing any more, and count them."""
    # A command of another project with the same cache may have moved one into its place meanwhile.
    old = [path for path in leftovers if path.exists() and time.time() - path.stat().st_mtime > _IN_USE]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _some(names: Iterable[str]) -> str:
    return shorten(", ".join(names), 300, placeholder=" and more")
