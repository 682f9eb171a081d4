"""Figures that stages leave as CSV for people, DVC and the report: written, and read with every check."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.disk import files, sums
from pipeline.errors import Damaged


def read(folder: Path, name: str, *needed: str) -> list[dict[str, str]]:
    """The rows of a CSV file in a stage's folder.

    It must have the columns that are `needed`; a history without a row has none but its first, `epoch`.

    Raises:
        Damaged: it is missing, changed, no CSV file in UTF-8, or lacks a column.
    """
    sums.check(folder, name)
    path = folder / name
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            header, *rows = list(csv.reader(stream, strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"it is no CSV file ({error})") from error
    if not header or len(set(header)) != len(header) or not all(header) or "\0" in "".join(header):
        raise _damaged(path, f"its first line is {header}, expected names of columns")
    if (bad := next((i for i, row in enumerate(rows) if len(row) != len(header)), None)) is not None:
        raise _damaged(path, f"row {bad} has {len(rows[bad])} values, expected {len(header)}")
    lacking = [column for column in needed if column not in header]
    if lacking and (rows or header != ["epoch"]):
        raise _damaged(path, f"it has no column {', '.join(lacking)}; it has {', '.join(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def columns(folder: Path, name: str, *needed: str) -> dict[str, list[float]]:
    """Columns of numbers that have a value in some row; missing values are NaN.

    Raises:
        Damaged: as `read`, or a value is no number.
    """
    rows = read(folder, name, *needed)
    found = {
        column: [number(folder / name, row, column) if row[column] else math.nan for row in rows]
        for column in (rows or [{}])[0]
    }
    return {column: values for column, values in found.items() if not all(map(math.isnan, values))}


def number(path: Path, row: dict[str, str], column: str) -> float:
    """One value of a row as a finite number."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _damaged(path, f"{column} is {row[column]!r}, expected a number")
    return value


def write_history(path: Path, history: Sequence[Mapping[str, float | str]], *known: str) -> None:
    """A training history as CSV, one row an epoch; only a header if there is none.

    Args:
        known: columns that there are in any case, the first ones.
    """
    columns = list(dict.fromkeys([*known, *(name for row in history for name in row)])) or ["epoch"]
    with files.whole(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)


def _damaged(path: Path, fault: str) -> Damaged:
    return Damaged(f"{path}: {fault}; run: dvc repro -sf {path.parent.name}")
