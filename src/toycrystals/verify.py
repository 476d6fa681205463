"""``toycrystals verify``: does the committed code give the committed results? Everything is made again in a fresh clone.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from toycrystals.errors import UserError
from toycrystals.lockdiff import Metrics, compare_locks, compare_metrics, describe_locks, describe_metrics, read_metrics
from toycrystals.repository import DVC, LockedStage, clean_environment, dvc, git, read_lock

_METRICS, _TABLE = "plots/compare/metrics.json", "plots/compare/table.csv"
_PATIENCE = 10  # seconds that a stage has to end in once it is told to


class _StageError(UserError):
    """A stage failed in the clone, which shows why."""


def verify(root: Path, targets: list[str], keep: Path | None = None) -> bool:
    """Make `targets` (every stage if none) of the last commit again, print what differs, and return whether nothing does.

    The clone stays in `keep` if that is given, and where it is if a stage fails. Raises `UserError` if there is no commit with
    a dvc.lock, `keep` is in use, or DVC cannot run the stages.
    """
    if not git(root, "ls-tree", "--name-only", "HEAD", "dvc.lock"):
        raise UserError(f"{root}: expected a dvc.lock in the last commit; run `dvc repro` and commit it")
    _warn_of_changes(root)
    with _hangup_interrupts(), _folder(keep) as folder:
        top, prefix = git(root, "rev-parse", "--show-toplevel", "--show-prefix").split("\n")[:2]
        git(root, "clone", "--quiet", "--no-hardlinks", top, str(folder))
        clone, commit = folder / prefix, git(folder, "rev-parse", "--short", "HEAD").strip()
        committed, before = read_lock(clone / "dvc.lock"), _metrics(clone)
        (clone / "dvc.lock").unlink()
        _reproduce(clone, targets)
        remade, after = read_lock(clone / "dvc.lock"), _metrics(clone)
    if targets:
        committed = {name: stage for name, stage in committed.items() if name in remade}
    return _judge(commit, (committed, before), (remade, after))


_Run = tuple[Mapping[str, LockedStage], Metrics | None]


def _judge(commit: str, original: _Run, again: _Run) -> bool:
    (committed, before), (remade, after) = original, again
    differences = compare_locks(committed, remade)
    if not differences:
        print(f"{commit} is reproduced: {len(remade)} stages give the dvc.lock of the commit")
        return True
    print(f"{commit} is not reproduced: {len(differences)} of {len(remade)} stages differ from the dvc.lock of the commit")
    print(*describe_locks(differences, remade), sep="\n")
    if before and after and any(_METRICS in stage.outs for stage in remade.values()):
        print(*describe_metrics(before, compare_metrics(before, after)), sep="\n")
    return False


def _warn_of_changes(root: Path) -> None:
    changes = [line[3:] for line in git(root, "status", "--porcelain", "--", ".").splitlines()]
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        print(f"warning: not committed, and so not verified: {changes[0]}{more}", file=sys.stderr)


def _metrics(project: Path) -> Metrics | None:
    values, table = project / _METRICS, project / _TABLE
    return read_metrics(values, table) if values.is_file() and table.is_file() else None


@contextmanager
def _hangup_interrupts() -> Iterator[None]:
    """Let a closed terminal end the block like Ctrl-C; without this, DVC, in a session of its own, would go on."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        # The shell sends it, too, and must not stop the clean-up.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGHUP)
    if before is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """An empty folder for the clone; a temporary one vanishes with the block, unless a stage failed there."""
    if keep and (keep.is_file() or (keep.is_dir() and any(keep.iterdir()))):
        raise UserError(f"--keep {keep}: expected a new or an empty folder; choose another")
    folder = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix="toycrystals-verify-"))
    stays = bool(keep)
    try:
        yield folder
    except _StageError:
        stays = True
        raise
    finally:
        if not stays:
            # What was killed a moment ago may write once more meanwhile.
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                shutil.rmtree(folder)


def _reproduce(clone: Path, targets: list[str]) -> None:
    """Run `dvc repro` in the clone; what it prints goes to the terminal. Raises `UserError` if it fails."""
    # Wherever this user's other projects have their cache, and what DVC remembers of files, the clone has its own.
    dvc(clone, "cache", "dir", "--local", str(clone / ".dvc" / "cache"))
    own = {"DVC_SITE_CACHE_DIR": str(clone / ".dvc" / "tmp" / "site"), "PYTHONUNBUFFERED": "1"}
    command = (*DVC, "repro", "--no-run-cache", *targets)
    stage = None
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
    if process.returncode and stage:
        raise _StageError(f"stage {stage} failed in a fresh clone, for the reason above; the clone is in {clone}")
    if process.returncode:
        raise UserError("DVC ran no stage of a fresh clone, for the reason above")


def _end(process: subprocess.Popen[str]) -> None:
    """End DVC and the stage that it runs, which would go on without it; interrupted again, do so at once."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(_PATIENCE)
