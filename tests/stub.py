"""A stage that does no work: it checks the params and copies its outputs from a finished project.

With it, tests of what dvc does with the pipeline take seconds where the stages would take minutes. Only the headline differs
from that of the finished project, so that experiments can be told apart: a method's numbers follow the params that it depends on.
"""

import json
import shutil
import sys
import zlib
from pathlib import Path

import yaml

from toycrystals.runtime.config import load_params
from toycrystals.runtime.errors import one_line_errors

CALL = "python -m stages.stub"
HEADLINE = "plots/evaluate/headline.json"
# What the results of all methods depend on; a prior's depend on the section of its name too.
SHARED = ["seed", "training_seed", "data", "vae"]


def stub_pipeline(folder: Path, finished: Path) -> None:
    """Put this script in the place of every stage of the project in `folder`; inputs, params and outputs stay as they are.

    Code, which decides nothing here, is no dependency, and dvc.lock begins anew. `evaluate` depends on the params that its
    headline follows, for what the other stubs write does not change with them.
    """
    shutil.copy(__file__, folder / "stages/stub.py")
    (folder / "dvc.lock").unlink()
    path = folder / "dvc.yaml"
    pipeline = yaml.safe_load(path.read_text())
    for stage in pipeline["stages"].values():
        entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
        outputs = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
        stage["cmd"] = " ".join([CALL, str(finished), *outputs])
        stage["deps"] = [dep for dep in stage.get("deps", []) if not dep.startswith(("src/", "stages/"))]
        if HEADLINE in outputs:
            stage["params"] = sorted({*stage.get("params", []), *SHARED, "diffusion", "local", "mop"})
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False))


def write_headline(source: Path, target: Path) -> None:
    """Copy the headline with each method's numbers shifted by less than 1, by its params."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    headline = json.loads(source.read_text())
    for values in headline.values():
        for method in values:
            decisive = json.dumps([*(params[name] for name in SHARED), params.get(method)])
            values[method] = round(values[method] + zlib.crc32(decisive.encode()) % 1000 / 1000, 4)
    target.write_text(json.dumps(headline))


def main() -> None:
    """``python -m stages.stub FINISHED OUTPUT ...``, in the root of a project."""
    with one_line_errors():
        load_params()
    for name in sys.argv[2:]:
        source, target = Path(sys.argv[1], name), Path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif name == HEADLINE:
            write_headline(source, target)
        else:
            shutil.copy(source, target)


if __name__ == "__main__":
    main()
