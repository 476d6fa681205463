"""Tables as CSV files; apart from other artifacts, so that stages without a table start without pandas."""

from pathlib import Path

import pandas as pd

from toycrystals.artifacts import atomic
from toycrystals.errors import UserError


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` without its index, six significant digits a float."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """The table in a CSV file. Raises `UserError` if it is missing or no CSV."""
    try:
        return pd.read_csv(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: expected a CSV file, found nothing; run `dvc repro` first") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: expected CSV, {str(error).strip()}; delete it and run `dvc repro`") from None
