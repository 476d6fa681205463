"""A function of paths and names as a command line, with one-line errors, guarded against changes while it runs."""

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path

from stages import GUARD
from stages.process import end_with_parent
from toycrystals.errors import UserError, one_line_errors


def run(stage: Callable[..., None]) -> None:
    """Call `stage` with its parameters read from required options of the same names, converted by their annotations.

    Ends with an error if the code is not that of this project, or if code or params were changed meanwhile; then DVC records
    nothing. Under DVC a stage ends with the process that started it, and its inputs may not change either.
    """
    parser = argparse.ArgumentParser(description=stage.__doc__)
    for name, parameter in inspect.signature(stage).parameters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=parameter.annotation, required=True)
    with one_line_errors():
        arguments = vars(parser.parse_args())
        under_dvc = "DVC_STAGE" in os.environ
        if under_dvc:
            end_with_parent()
        # DVC removes a stage's outputs before it runs: what exists is an input, but for the folder that outputs are written to.
        inputs = [path for name, path in arguments.items() if isinstance(path, Path) and name != "out" and under_dvc]
        if wrong := GUARD.start(inputs):
            raise UserError(f"{stage.__name__}: {wrong}")
        stage(**arguments)
        if changed := GUARD.changes():
            raise UserError(
                f"{stage.__name__}: {', '.join(changed)} changed while the stage ran, so that its result belongs to no version; "
                "nothing is recorded, run `dvc repro` again"
            )
