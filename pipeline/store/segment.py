"""A segment: some rows of a collection as one immutable Arrow file, named by the sha256 of its bytes.

The file is an uncompressed Arrow IPC file with one record batch: `high` and `low` (uint64, the key's two halves), then
the collection's value columns, sorted by key. A row is found by binary search in the memory map, so that lookups need
no memory of their own; 16 bytes a row is all that a key costs.

A name says that bytes are as they were written, not that a writer of this project wrote them: files come from remotes.
So whatever a segment promises is looked at when it is opened, and what would take more memory than the file has bytes
is refused before it is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.disk import files
from pipeline.errors import Damaged
from pipeline.store import ipc
from pipeline.store.keys import Keys

SUFFIX = ".arrow"
REPLACES = "replaces"
"""What a segment's metadata calls the names of those whose rows it holds as well (`compaction`)."""
KEY = (("high", pa.uint64()), ("low", pa.uint64()))

_EXPONENT = np.uint16(0x7C00)
_PART = 1 << 18
"""Numbers that stay in a processor's cache."""


def schema(values: pa.Schema) -> pa.Schema:
    """Columns of a segment whose rows hold these values."""
    return pa.schema([*(pa.field(name, kind) for name, kind in KEY), *values])


def column_types(values: pa.Schema) -> list[str]:
    """Columns as a collection's description tells them."""
    return [f"{field.name}: {field.type}" for field in values]


def write(folder: Path, keys: Keys, values: pa.Table, metadata: Mapping[str, Any]) -> Path:
    """Write rows as a segment; it appears under its name, flushed to the disk, or not at all.

    Args:
        folder: of the collection.
        keys: uint64 [n, 2]; of equal keys the first row is kept.
        values: n rows.
        metadata: of the file: `collection`, its fingerprint, and who made it.

    Raises:
        OSError: the disk is full or may not be written to.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    keys = keys[order]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    keys, order = keys[first], order[first]
    columns_and_metadata = schema(values.schema).with_metadata(
        {k: _text(v) for k, v in {**metadata, "rows": len(keys)}.items()}
    )
    columns = [pa.array(keys[:, 0]), pa.array(keys[:, 1])]
    columns += [column.combine_chunks().take(pa.array(order)) for column in values.columns]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, columns_and_metadata) as writer:
        writer.write_batch(pa.record_batch(columns, schema=columns_and_metadata))
    content = sink.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()}{SUFFIX}"
    with files.whole(path) as temporary, temporary.open("wb", buffering=0) as stream:
        view = memoryview(content)
        while view:
            view = view[stream.write(view) :]
    return path


def listed(folder: Path) -> list[Path]:
    """The segments of a folder by name, none missed whose rows another one takes over meanwhile (`compaction`).

    One look may miss both: the old one gone before the look came to it, the new one written where it had been. So it
    is looked again until nothing of the look before has gone.
    """
    seen = _look(folder)
    while seen - (newer := _look(folder)):
        seen = newer
    return sorted(newer)


def _look(folder: Path) -> set[Path]:
    return {path for path in folder.glob(f"*{SUFFIX}") if path.is_file()}


def metadata(path: Path) -> dict[str, str]:
    """What a segment says of itself; nothing if it is no Arrow file, or is gone."""
    try:
        found = pa.ipc.open_file(pa.memory_map(str(path))).schema.metadata or {}
        return {name.decode(): value.decode() for name, value in found.items()}
    except (pa.ArrowException, OSError, ValueError):
        return {}


def replaced(said: Mapping[str, str]) -> set[str]:
    """Names, without suffix, of the segments that one replaces, by its metadata."""
    return set(re.findall(r"[0-9a-f]{64}", said.get(REPLACES, "")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def check(path: Path, name: str | None = None) -> None:
    """Stop unless the file's bytes are those that its name, or the name it is to have, stands for.

    Raises:
        Damaged: they are not.
    """
    expected = name or path.stem
    found = files.sha256(path)
    if found != expected:
        raise Damaged(f"{path.parent / expected}{SUFFIX} is damaged: its sha256 is {found}, expected its name")


def read(path: Path, fingerprint: str) -> pa.RecordBatch:
    """The rows of a segment, memory-mapped.

    Raises:
        Damaged: no Arrow file of one uncompressed batch, without the columns of a key, of another collection than this
            fingerprint's, without rows, or with a key, null or number that no writer writes.
        FileNotFoundError: it is gone.
    """
    rows = ipc.read(path)
    found = (rows.schema.metadata or {}).get(b"fingerprint", b"").decode()
    if found != fingerprint or tuple((f.name, f.type) for f in rows.schema)[:2] != KEY:
        raise Damaged(
            f"{path} belongs to another collection: it has the fingerprint {found} and the "
            f"columns {rows.schema.names}, expected {fingerprint} and a key's"
        )
    try:
        _check_rows(rows)
    except ValueError as error:
        raise Damaged(f"{path} was written by something else: {error}") from error
    return rows


def _check_rows(rows: pa.RecordBatch) -> None:
    if len(rows) == 0:
        raise ValueError("it has no row")
    for field, column in zip(rows.schema, rows.columns, strict=True):
        check_values(column, field.name)
    high, low = (column.to_numpy() for column in rows.columns[:2])
    if not ((high[:-1] < high[1:]) | ((high[:-1] == high[1:]) & (low[:-1] < low[1:]))).all():
        raise ValueError("its keys are not in order, or not distinct")


def check_values(column: pa.Array, name: str) -> None:
    """Stop at a null or a number that is not finite, at any depth of lists.

    Raises:
        ValueError: there is one.
    """
    if column.null_count:
        raise ValueError(f"{name}: a value is null")
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        check_values(column.flatten(), name)
    elif pa.types.is_float16(column.type):
        if not _finite(column.to_numpy(zero_copy_only=True).view(np.uint16)):
            raise ValueError(f"{name}: a value is not finite")
    elif pa.types.is_floating(column.type) and not np.isfinite(column.to_numpy(zero_copy_only=False)).all():
        raise ValueError(f"{name}: a value is not finite")


def _finite(bits: NDArray[np.uint16]) -> bool:
    """Whether no float16 is NaN or infinite, by their bits: several times as fast as numpy's isfinite."""
    return not any((bits[i : i + _PART] & _EXPONENT == _EXPONENT).any() for i in range(0, len(bits), _PART))


class Segment:
    """The rows of a segment, memory-mapped.

    Args:
        path: of the file, whose bytes have been checked.
        values: the value columns that it must have.
        fingerprint: of the collection that it must belong to.

    Attributes:
        values: n rows, in the order of their keys.

    Raises:
        Damaged: as `read`, or with other columns.
    """

    def __init__(self, path: Path, values: pa.Schema, fingerprint: str) -> None:
        self.path = path
        rows = read(path, fingerprint)
        if not rows.schema.remove_metadata().equals(schema(values)):
            raise Damaged(
                f"{path} belongs to another collection: it has the columns\n{rows.schema.remove_metadata()}\n"
                f"expected\n{schema(values)}"
            )
        self._high: NDArray[np.uint64] = rows["high"].to_numpy()
        self._low: NDArray[np.uint64] = rows["low"].to_numpy()
        self.values = pa.Table.from_batches([rows.select(values.names)])

    def __len__(self) -> int:
        return len(self._high)

    @property
    def keys(self) -> Keys:
        """uint64 [n, 2], ascending."""
        return np.stack([self._high, self._low], axis=1)

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """The row of each key, int64 [m]; -1 for one that is not here."""
        return self.search(np.ascontiguousarray(keys[:, 0]), keys[:, 1])

    def search(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        """`find`, of keys given by their halves."""
        rows = np.full(len(high), -1, dtype=np.int64)
        candidates = np.searchsorted(self._high, high)
        candidates[candidates == len(self)] = 0  # beyond the last key: row 0 is another one
        alike = np.flatnonzero(self._high[candidates] == high)
        while len(alike):
            right = self._low[candidates[alike]] == low[alike]
            rows[alike[right]] = candidates[alike[right]]
            alike = alike[~right]  # another key with the same first half: practically never
            candidates[alike] += 1
            alike = alike[candidates[alike] < len(self)]
            alike = alike[self._high[candidates[alike]] == high[alike]]
        return rows

    @cached_property
    def vectors(self) -> NDArray[np.float16]:
        """The only column of a collection of vectors, float16 [n, d]; mapped, not copied."""
        rows: NDArray[np.float16] = self.values.column(0).chunk(0).flatten().to_numpy(zero_copy_only=True)
        return rows.reshape(len(self), -1)
