"""Tables as CSV files; apart from other artifacts, so that stages without a table start without pandas."""

from pathlib import Path

import pandas as pd

from toycrystals.runtime.errors import UserError
from toycrystals.runtime.files import atomic, require_file


def write_csv(path: Path, table: pd.DataFrame, *, exact: bool = False) -> None:
    """Write `table` without its index, six significant digits a float, or all where other numbers are computed from it."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format=None if exact else "%.6g", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """The table in a CSV file. Raises `UserError` if it is missing or no CSV."""
    require_file(path, "a CSV file", "run `dvc repro` first")
    try:
        return pd.read_csv(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: expected CSV, {str(error).strip()}; delete it and run `dvc repro`") from None
