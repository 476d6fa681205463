"""A function of paths and names as a command line, with one-line errors."""

import argparse
import inspect
from collections.abc import Callable

from toycrystals.errors import one_line_errors


def run(stage: Callable[..., None]) -> None:
    """Call `stage` with its parameters read from required options of the same names, converted by their annotations."""
    parser = argparse.ArgumentParser(description=stage.__doc__)
    for name, parameter in inspect.signature(stage).parameters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=parameter.annotation, required=True)
    with one_line_errors():
        stage(**vars(parser.parse_args()))
