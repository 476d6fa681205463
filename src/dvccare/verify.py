"""Does the committed code give the committed results? Everything is made again in a fresh clone.

The clone has no data and an empty cache, and its dvc.lock is taken away: with it, DVC would find figures and metrics, which
git brings, as they should be, and would not run their stages.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from dvccare.repository import DVC, LockedStage, clean_environment, dvc, git, read_lock
from toycrystals.runtime.errors import UserError

_PATIENCE = 10  # seconds that a stage has to end in once it is told to


def verify(root: Path, targets: list[str], keep: Path | None = None) -> bool:
    """Make `targets` (every stage if none) of the last commit again, print what differs, and return whether nothing does.

    The clone stays in `keep` if that is given, and where it is if a stage fails. Raises `UserError` if there is no commit with a
    dvc.lock, `keep` is in use, or DVC cannot run the stages.
    """
    if not git(root, "ls-tree", "--name-only", "HEAD", "dvc.lock"):
        raise UserError(f"{root}: expected a dvc.lock in the last commit; run `dvc repro` and commit it")
    if changes := git(root, "status", "--porcelain", "--", ".").splitlines():
        print(f"warning: not committed, and so not verified: {changes[0][3:]}, 1 of {len(changes)}", file=sys.stderr)
    if keep and (keep.is_file() or (keep.is_dir() and any(keep.iterdir()))):
        raise UserError(f"--keep {keep}: expected a new or an empty folder; choose another")
    with ExitStack() as at_the_end:
        folder = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix="dvc-verify-"))
        for _ in range(0 if keep else 2):  # what was killed a moment ago may write once more meanwhile
            at_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        top, prefix = git(root, "rev-parse", "--show-toplevel", "--show-prefix").split("\n")[:2]
        git(root, "clone", "--quiet", "--no-hardlinks", top, str(folder))
        clone, commit = folder / prefix, git(folder, "rev-parse", "--short", "HEAD").strip()
        committed = read_lock(clone / "dvc.lock")
        (clone / "dvc.lock").unlink()
        if failed := _reproduce(clone, targets):
            at_the_end.pop_all()
            raise UserError(f"stage {failed} failed in a fresh clone, for the reason above; the clone is in {clone}")
        remade = read_lock(clone / "dvc.lock")
        found = compare_locks({name: stage for name, stage in committed.items() if name in remade or not targets}, remade)
        if not found:
            print(f"{commit} is reproduced: {len(remade)} stages give the dvc.lock of the commit")
            return True
        print(f"{commit} is not reproduced: {len(found)} of {len(remade)} stages differ from the dvc.lock of the commit")
        print(*(f"{stage}: {what}" for stage, what in found.items()), sep="\n")
        print(dvc(clone, "metrics", "diff").strip())
        return False


def compare_locks(committed: Mapping[str, LockedStage], remade: Mapping[str, LockedStage]) -> dict[str, str]:
    """What differs of each stage that does, and what that means, in the order in which stages were remade: the pipeline's."""
    made = {path for stage in (*committed.values(), *remade.values()) for path in stage.outs}
    found = {}
    for name in {**remade, **committed}:
        if name not in committed or name not in remade:
            found[name] = "no stage of dvc.yaml" if name in committed else "not in the committed lock"
            continue
        before, after = committed[name], remade[name]
        deps, outs = _differing(before.deps, after.deps), _differing(before.outs, after.outs)
        # The command, params and files that no stage makes; a folder may hold outputs, and an output what is read.
        inputs = [kind for kind in ("cmd", "params") if getattr(before, kind) != getattr(after, kind)]
        inputs += [path for path in deps if not any(_one_holds_the_other(path, out) for out in made)]
        if inputs:
            found[name] = f"the lock is that of another commit: {', '.join([*inputs, *outs])}"
        elif outs:
            found[name] = f"{'differs in consequence' if deps else 'first to differ, from the same inputs'}: {', '.join(outs)}"
    return found


def _one_holds_the_other(path: str, other: str) -> bool:
    return PurePosixPath(path).is_relative_to(other) or PurePosixPath(other).is_relative_to(path)


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _reproduce(clone: Path, targets: list[str]) -> str:
    """Run `dvc repro` in the clone, printing what it prints; the stage that failed. Raises `UserError` if DVC runs none."""
    # Wherever this user's other projects have their cache, and what DVC remembers of files, the clone has its own.
    dvc(clone, "cache", "dir", "--local", str(clone / ".dvc" / "cache"))
    own = {"DVC_SITE_CACHE_DIR": str(clone / ".dvc" / "tmp" / "site"), "PYTHONUNBUFFERED": "1"}
    command = (*DVC, "repro", "--no-run-cache", *targets)
    stage = ""
    with subprocess.Popen(
        command, cwd=clone, env=clean_environment() | own, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                if running := re.match("Running stage '(.+)':", line):
                    stage = running[1]
        except BaseException:
            _end(process)
            raise
    if process.returncode and not stage:
        raise UserError("DVC ran no stage of a fresh clone, for the reason above")
    return stage if process.returncode else ""


def _end(process: subprocess.Popen[str]) -> None:
    """End DVC and the stage that it runs, which would go on without it; interrupted again, do so at once."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(_PATIENCE)
