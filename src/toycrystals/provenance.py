"""Where a file comes from: the params, data, inputs and versions that made it, for the metadata of models and samples.

Params and data pass on from file to file, so that a sample names the params of the prior and of the VAE that made it. Nothing
here changes from run to run on one machine: no times, paths or host names.
"""

import hashlib
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toycrystals import __version__

Meta = dict[str, Any]
KEY = "made"


class Origin:
    """What a step reads, under the names in `inputs`: hashed in the background while the step works."""

    def __init__(self, step: str, **inputs: Path) -> None:
        self._step = step
        pool = ThreadPoolExecutor(1)
        self._hashes = {name: pool.submit(file_md5, path) for name, path in inputs.items()}
        pool.shutdown(wait=False)

    def made(self, params: Mapping[str, Any], *upstream: Meta, data: Mapping[str, Any] | None = None) -> Meta:
        """`{"made": ...}`: the step, its inputs' MD5 (those of ``dvc.lock``), params, data, versions.

        `params` are those that the step used; those of the files whose metadata is `upstream` come before them. `data` says which
        data a model was trained on, or references were drawn from; if left out, it is what the upstream files say.
        """
        before = [meta.get(KEY, {}) for meta in upstream]
        merged: Meta = {}
        known: Mapping[str, Any] = {}
        for made in before:
            merged |= made.get("params", {})
            known = made.get("data", known)
        return {
            KEY: {
                "by": self._step,
                "params": merged | dict(params),
                "data": dict(known if data is None else data),
                "inputs": {name: future.result() for name, future in self._hashes.items()},
                "versions": versions(),
            }
        }

    def md5(self, name: str) -> str:
        """The hash of one input."""
        return self._hashes[name].result()


def versions() -> dict[str, str]:
    """What decides a result beside code, params and data."""
    return {
        "toycrystals": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        **{name: version(name) for name in ("numba", "scipy", "scikit-learn")},
    }


def file_md5(path: Path) -> str:
    """The MD5 that DVC knows a file by. Raises `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
