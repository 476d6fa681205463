"""What a file says of itself, whichever of this project's formats it has."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from toycrystals.artifacts import load_meta, load_pt
from toycrystals.errors import UserError
from toycrystals.provenance import KEY


def read_about(path: Path) -> dict[str, Any]:
    """The metadata of a tensor file (.safetensors), or what made the samples in a .pt dictionary or a .png grid.

    Raises `UserError` if the file is missing, damaged or of another kind, or says nothing.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UserError(f"{path}: expected a model, samples or a dataset, found {found}; check the path")
    match path.suffix:
        case ".png":
            text = _description(path)
        case ".pt":
            text = load_pt(path).get(KEY, "")
        case ".safetensors":
            return load_meta(path)
        case _:
            raise UserError(f"{path}: expected a file name that ends in .safetensors, .pt or .png")
    try:
        content = json.loads(text)
        return {KEY: content.get(KEY, content)}
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{path}: expected a file of `toycrystals sample`, found one that does not say what made it") from None


def _description(path: Path) -> Any:
    try:
        with Image.open(path) as image:
            return image.info.get("Description", "")
    except (OSError, SyntaxError) as error:
        # What PIL says of a damaged file has no number, what the system says of one that cannot be read has.
        if getattr(error, "errno", None):
            raise
        raise UserError(f"{path}: expected an image, found a file that is damaged or of another kind") from None
