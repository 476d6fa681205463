"""A function as a stage: paths and names from the command line, params from params.yaml, errors in one line, guarded."""

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toycrystals.runtime.config import load_params
from toycrystals.runtime.errors import UserError, one_line_errors
from toycrystals.runtime.guard import Guard
from toycrystals.runtime.process import end_with_parent

# Annotations of arguments that come from the command line.
_OPTIONS = (Path, str)


def run(stage: Callable[..., None], guard: Guard) -> None:
    """Call `stage`: a path or a name is a required option, anything else the value or section of params.yaml of that name.

    An argument `section` is the section of the prior that the option `prior` names. Ends with an error if the code is not that
    of this project, or if code or params were changed meanwhile; then DVC records nothing. Under DVC a stage ends with the
    process that started it, and its inputs may not change either.
    """
    with one_line_errors():
        options = _parse(stage)
        under_dvc = "DVC_STAGE" in os.environ
        if under_dvc:
            end_with_parent()
        # DVC removes a stage's outputs before it runs: what exists is an input, but for the folder that outputs are written to.
        inputs = [path for name, path in options.items() if isinstance(path, Path) and name != "out" and under_dvc]
        keys = {name: options["prior"] if name == "section" else name for name in param_names(stage)}
        if wrong := guard.start(inputs, keys.values()):
            raise UserError(f"{stage.__name__}: {wrong}")
        params = load_params()
        if missing := [key for key in keys.values() if not hasattr(params, key)]:
            raise UserError(f"params.yaml: {missing[0]}: missing; add it")
        stage(**options, **{name: getattr(params, key) for name, key in keys.items()})
        if changed := guard.changes():
            raise UserError(
                f"{stage.__name__}: {', '.join(changed)} changed while the stage ran, so that its result belongs to no version; "
                "nothing is recorded, run `dvc repro` again"
            )


def param_names(stage: Callable[..., None]) -> list[str]:
    """The arguments of `stage` that come from params.yaml."""
    return [name for name, parameter in inspect.signature(stage).parameters.items() if parameter.annotation not in _OPTIONS]


def _parse(stage: Callable[..., None]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=stage.__doc__)
    for name, parameter in inspect.signature(stage).parameters.items():
        if parameter.annotation in _OPTIONS:
            parser.add_argument(f"--{name.replace('_', '-')}", type=parameter.annotation, required=True)
    return vars(parser.parse_args())
