"""A stage that does no work: it checks the params and copies its outputs from a finished project.

With it, tests of what dvc does with the pipeline take seconds where the stages would take minutes.
"""

import shutil
import sys
from pathlib import Path

import yaml

from toycrystals.config import load_params
from toycrystals.errors import one_line_errors

CALL = "PYTHONPATH=src python stub.py"


def stub_pipeline(folder: Path, finished: Path) -> None:
    """Put this script in the place of every stage of the project in `folder`; deps, params and outputs stay as they are."""
    shutil.copy(__file__, folder / "stub.py")
    path = folder / "dvc.yaml"
    pipeline = yaml.safe_load(path.read_text())
    for stage in pipeline["stages"].values():
        entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
        outputs = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
        stage["cmd"] = " ".join([CALL, str(finished), *outputs])
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False))


def main() -> None:
    """``PYTHONPATH=src python stub.py FINISHED OUTPUT ...``, in the root of a project."""
    with one_line_errors():
        load_params()
    for name in sys.argv[2:]:
        source, target = Path(sys.argv[1], name), Path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)


if __name__ == "__main__":
    main()
