"""The whole pipeline at toy size, in a copy of the working tree: ``python -m tests.smoke [FOLDER]``.

The copy holds the same dvc.yaml, stages and package; only numbers in params.yaml are smaller, so nothing is described twice.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.executable)  # what dvc and the stages run with
TOY = {
    "data": {"image_size": 32, "n_train": 1500, "n_val": 128, "n_test": 256, "n_heldout": 128},
    "vae": {"harmonics": 8, "latent_dim": 8, "width": 128, "epochs": 2, "batch_size": 64},
    "diffusion": {"harmonics": 8, "width": 32, "blocks": 1, "epochs": 2, "batch_size": 64},
    "sample": {"draws": 4, "steps": 5, "curve": [1, 5]},
    "metrics": {"theta_step": 2.0, "aspect_step": 0.05, "components": 16},
    "floor": {"draws": 12},
    "evaluate": {"bootstrap": 100},
}


def copy_project(folder: Path) -> Path:
    """Copy what git tracks or would track, without lock and results, into a new git repository in `folder`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file() and not name.startswith("plots/") and name != "dvc.lock":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    # For the experiments that dvc commits there.
    git(folder, "config", "user.name", "smoke")
    git(folder, "config", "user.email", "smoke@localhost")
    commit_all(folder, "copy")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`; what it prints."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit_all(folder: Path, message: str) -> None:
    """Commit everything in `folder` that git does not ignore."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def set_params(folder: Path, changes: dict[str, dict[str, object]]) -> None:
    """Change values in the copy's params.yaml."""
    yaml, path = YAML(), folder / "params.yaml"
    params = yaml.load(path)
    for section, values in changes.items():
        params[section].update(values)
    yaml.dump(params, path)


def dvc(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run dvc in `folder` with this interpreter's environment, and keep what it prints."""
    paths = os.pathsep.join([str(PYTHON.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": paths, "TOYCRYSTALS_DEVICE": "cpu"}
    done = subprocess.run([PYTHON, "-m", "dvc", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"dvc {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def main() -> None:
    """Run every stage once, and say where."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="toycrystals-smoke-"))
    copy_project(folder)
    set_params(folder, TOY)
    print(dvc(folder, "repro").stdout)
    print(f"every stage ran; the results are in {folder}")


if __name__ == "__main__":
    main()
