"""Where a file comes from: the params, data, inputs and versions that made it, for the metadata of models and samples.

Params and data pass on from file to file, so that a sample names the params of the prior and of the VAE that made it. Nothing
here changes from run to run on one machine: no times, paths or host names.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from toycrystals import __version__
from toycrystals.core.artifacts import Meta
from toycrystals.runtime.files import file_md5

KEY = "made"


class Origin:
    """What a step reads, under the names in `inputs`."""

    def __init__(self, step: str, **inputs: Path) -> None:
        self._step = step
        self._hashes = {name: file_md5(path) for name, path in inputs.items()}

    def made(self, params: Mapping[str, Any], *upstream: Meta, data: Mapping[str, Any] | None = None) -> Meta:
        """`{"made": ...}`: the step, its inputs' MD5 (those of ``dvc.lock``), params, data, versions.

        `params` are those that the step used; those of the files whose metadata is `upstream` come before them. `data` says which
        data a model was trained on, or references were drawn from; if left out, it is what the upstream files say.
        """
        made: Meta = {"by": self._step, "params": {}, "data": {}, "inputs": self._hashes, "versions": versions()}
        for meta in upstream:
            before = meta.get(KEY, {})
            made["params"] |= before.get("params", {})
            made["data"] = before.get("data", made["data"])
        made["params"] |= params
        if data is not None:
            made["data"] = dict(data)
        return {KEY: made}

    def md5(self, name: str) -> str:
        """The hash of one input."""
        return self._hashes[name]


def versions() -> dict[str, str]:
    """What decides a result beside code, params and data."""
    return {
        "toycrystals": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        **{name: version(name) for name in ("numpy", "numba", "scipy", "scikit-learn")},
    }
