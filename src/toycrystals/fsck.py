"""``toycrystals fsck``: DVC's cache read and judged, damage told in terms of the workspace and, on request, taken away."""

import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from toycrystals.cache import (
    Cache,
    Damage,
    Uses,
    distrust,
    find_damage,
    find_uses,
    find_whole,
    list_cache,
    object_path,
    remove_leftovers,
    repair,
    size_of,
    store,
)
from toycrystals.repository import dvc, exclusive, paths_in_git, read_lock

_NAMED = 5  # of many files, so many are named
_ADVICE = {
    False: "`toycrystals fsck --remove` takes damage out of the cache and the workspace, so that DVC makes or fetches it anew",
    True: "what is missing now comes back with `dvc pull` from a remote, or with `dvc repro`; what no path of dvc.lock names "
    "belongs to another commit or an experiment, and comes back so when that is checked out",
}
_COPIES = "copies that were removed come back with `dvc checkout`"


def fsck(root: Path, remove: bool = False, workspace: bool = False) -> bool:
    """Check the cache of the project at `root`, print what is wrong with it, and return whether nothing is damaged.

    `workspace` reads the workspace's files, too; `remove` takes damage away, and stores again what the workspace still has.
    Raises `UserError` if DVC is at work meanwhile.
    """
    folder = Path(dvc(root, "cache", "dir").strip())
    lock = root / "dvc.lock"
    with exclusive(root) if remove else nullcontext():
        cache = list_cache(folder)
        damages = _read({path: name for name, path in cache.objects.items()}, "reading the cache")
        damaged = {damage.name for damage in damages}
        uses = find_uses(read_lock(lock).values() if lock.exists() else (), cache, damaged, paths_in_git(root))
        for damage in damages:
            print(_describe(damage, uses))
            if remove:
                print(*(f"  {done}" for done in repair(damage, uses.paths.get(damage.name, ()), root)), sep="\n")
        changed = _changed(root, uses, damaged) if workspace else []
        for damage in changed:
            print(f"not as in dvc.lock: {damage.path.relative_to(root)}: {_expected_and_found(damage, uses)}")
            if remove:
                distrust(damage.path)
        missing = _missing(uses, cache)
        whole = find_whole({name: [root / path for path in paths] for name, paths in missing.items()})
        for name, path in whole.items() if remove else ():
            store(path, object_path(folder, name))
        removed = remove_leftovers(cache.leftovers) if remove else []
    _print_missing([path for name, paths in missing.items() if name not in whole for path in paths])
    _print_whole([str(path.relative_to(root)) for path in whole.values()], remove)
    _print_others(cache, removed)
    n, size = len(cache.objects), sum(map(size_of, cache.objects.values()))
    where = folder.relative_to(root) if folder.is_relative_to(root) else folder
    print(f"{where}: {n} objects, {size / 1e6:.1f} MB, {len(damages) or 'none'} damaged")
    # What was restored is no longer missing.
    if any(not remove or not damage.path.exists() for damage in damages):
        print(_ADVICE[remove])
    elif any(not (root / path).exists() for damage in damages for path in uses.paths.get(damage.name, ())):
        print(_COPIES)
    return not damages and not changed


def _read(contents: Mapping[Path, str], title: str) -> list[Damage]:
    total = sum(map(size_of, contents))
    with tqdm(total=total, desc=title, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()) as bar:
        return find_damage(contents, bar.update)


def _changed(root: Path, uses: Uses, damaged: set[str]) -> list[Damage]:
    """Files of the workspace that are not what dvc.lock says; those of damaged objects have been told of."""
    contents = {root / path: name for name in set(uses.paths) - damaged for path in uses.paths[name]}
    return _read({path: name for path, name in contents.items() if path.is_file()}, "reading the workspace")


def _describe(damage: Damage, uses: Uses) -> str:
    where = ", ".join(uses.paths.get(damage.name, ("no path of dvc.lock",)))
    return f"damaged: {where}: {_expected_and_found(damage, uses)}, in {damage.path}"


def _expected_and_found(damage: Damage, uses: Uses) -> str:
    # Of a directory, DVC notes the size of all its files, not of their list.
    known = damage.name in uses.sizes and not damage.name.endswith(".dir")
    size = f" of {uses.sizes[damage.name]} bytes" if known else ""
    return f"expected MD5 {damage.name.removesuffix('.dir')}{size}, found {damage.actual} of {damage.size} bytes"


def _missing(uses: Uses, cache: Cache) -> dict[str, list[str]]:
    """The paths of each object that is not in the cache and should be."""
    paths = {name: [path for path in where if path in uses.missing] for name, where in uses.paths.items()}
    return {name: where for name, where in paths.items() if where and name not in cache.objects}


def _print_missing(paths: list[str]) -> None:
    if paths:
        print(f"no damage, but not in the cache: {_some(paths)}; `dvc pull` or `dvc repro` brings them")


def _print_whole(paths: list[str], stored: bool) -> None:
    if paths and stored:
        print(f"stored in the cache again, from the workspace: {_some(paths)}")
    elif paths:
        print(f"not in the cache, but whole in the workspace: {_some(paths)}; `toycrystals fsck --remove` stores them again")


def _print_others(cache: Cache, removed: list[Path]) -> None:
    if cache.leftovers:
        print(f"temporary files of commands that were stopped: {len(cache.leftovers)}, of which removed: {len(removed)}")
    if cache.others:
        print(f"no objects, left alone: {_some([str(path) for path in cache.others])}")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
