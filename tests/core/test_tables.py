"""Tables on disk: rounded, without an index, and errors that say what to do."""

import errno
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from toycrystals.core import tables
from toycrystals.core.tables import read_csv, write_csv
from toycrystals.runtime.errors import UserError


def test_csv_keeps_six_significant_digits_and_no_index(tmp_path):
    table = pd.DataFrame({"epoch": [1, 2], "total": [0.123456789, 1.23456789e-7], "name": ["a", "b, c"]})
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes() == b'epoch,total,name\n1,0.123457,a\n2,1.23457e-07,"b, c"\n'
    found = read_csv(tmp_path / "a.csv")
    assert found.columns.tolist() == ["epoch", "total", "name"]
    np.testing.assert_allclose(found["total"], table["total"], rtol=5e-6)


def test_exact_numbers_come_back_to_the_last_bit(tmp_path):
    table = pd.DataFrame({"value": np.random.default_rng(0).normal(size=200) ** 7, "n": range(200)})
    write_csv(tmp_path / "a.csv", table, exact=True)
    found = read_csv(tmp_path / "a.csv")
    # Read as pandas does by default, which may miss the last bit; the text itself says every one.
    np.testing.assert_allclose(found["value"], table["value"], rtol=1e-15)
    written = [float(line.split(",")[0]) for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    np.testing.assert_array_equal(written, table["value"])


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n1,2,3\n", b'a\n"x', b"\xff\xfe"])
def test_what_is_no_csv_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv: expected CSV, .+; delete it and run `dvc repro`$"):
        read_csv(tmp_path / "a.csv")


def test_a_missing_table_is_said_to_be_missing(tmp_path):
    for path, found in ((tmp_path / "a.csv", "nothing"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=f"expected a CSV file, found {found}; run `dvc repro` first"):
            read_csv(path)


def test_a_full_disk_is_an_os_error(monkeypatch):
    monkeypatch.setattr(tables, "atomic", lambda path: nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left") as info:
        write_csv(Path("a.csv"), pd.DataFrame({"a": range(1000)}))
    assert info.value.errno == errno.ENOSPC
