"""Arrow IPC tables on disk: written whole with their provenance, checked when read, mapped without a copy.

A file is uncompressed, so a vector column maps straight into numpy and torch. Its schema metadata says what made it:
kind, producer's fingerprint, the manifest it belongs to, model, weights hash, dimension, whether the vectors are unit
length, and the number of rows. `Table` compares them with what the reader expects and stops with both sides named.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifacts.catalog import maker
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.machine.batches import batches

_ROWS = 8192
"""Rows of a Parquet file that are in memory at a time."""

NORM_TOLERANCE = 2e-3
"""How far a float16 vector's length may be from 1."""


class ContractError(InputError):
    """An artefact is not what its reader needs: another schema, another origin, other rows."""


def _text(value: Any) -> str:
    """A metadata value: mappings and lists as JSON, anything else as it prints."""
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, Mapping | list | tuple) else str(value)


class _Spooled(ABC):
    """A table that is spooled to a file beside it, since its header states the number of rows.

    It appears under its name, written whole with its metadata, when the block ends well.
    """

    _stream: Any
    """What is written to the spool; opened by `_begin`."""

    def __init__(self, path: Path, schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
        self.path, self.schema, self.metadata = path, schema, metadata
        self.rows = 0

    @abstractmethod
    def _begin(self, spool: Path) -> None:
        """Open the spool."""

    @abstractmethod
    def _batches(self, spool: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
        """What was spooled, as it is to stand in the table."""

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._spool = self._open.enter_context(files.scratch(self.path))
        self._begin(self._spool)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._open:
            self._stream.close()
            if kind is None:
                stated = {**self.metadata, "rows": self.rows}
                schema = self.schema.with_metadata({name: _text(value) for name, value in stated.items()})
                with (
                    files.whole(self.path) as temporary,
                    pa.memory_map(str(self._spool)) as spool,
                    pa.ipc.new_file(str(temporary), schema) as writer,
                ):
                    for batch in self._batches(spool):
                        writer.write_batch(batch.replace_schema_metadata(schema.metadata))


class TableWriter(_Spooled):
    """Write an Arrow file batch by batch with flat memory; it appears under its name when the block ends well."""

    def _begin(self, spool: Path) -> None:
        self._stream = pa.ipc.new_file(str(spool), self.schema)

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows, given as one sequence a column."""
        batch = pa.record_batch([pa.array(columns[f.name], f.type) for f in self.schema], schema=self.schema)
        self.rows += batch.num_rows
        self._stream.write_batch(batch)

    def _batches(self, spool: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
        reader = pa.ipc.open_file(spool)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


class EmbeddingWriter(_Spooled):
    """Write a vector table as a single record batch, so that its whole vector column maps as one array.

    Vectors are spooled to disk as float16; only keys and index columns stay in memory.
    """

    def _begin(self, spool: Path) -> None:
        self.dimension = self.schema.field(-1).type.list_size
        self._columns: list[list[pa.Array]] = [[] for _ in self.schema.names[:-1]]
        self._stream = spool.open("wb")

    def write(self, *columns: Any) -> None:
        """Append rows: the key column, the index columns, then vectors [n, dimension] of any float type."""
        *index, rows = columns
        rows = np.ascontiguousarray(rows, dtype=np.float16)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise ContractError(f"{self.path}: got vectors of shape {rows.shape}, expected [n, {self.dimension}]")
        lengths = [len(values) for values in index]
        if lengths != [len(rows)] * len(self._columns):
            raise ContractError(f"{self.path}: got index columns of lengths {lengths} for {len(rows)} vectors")
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise ContractError(f"{self.path}: vector of {index[0][int(bad.argmax())]} is not finite in float16")
        for parts, field, values in zip(self._columns, self.schema, index, strict=False):
            parts.append(pa.array(values, field.type))
        self._stream.write(rows.view(np.uint8).data)
        self.rows += len(rows)

    def _batches(self, spool: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
        values = spool.read_buffer() if self.rows else None
        if values:  # read pages beforehand: written from unread ones, the file is cached in scattered pages
            np.frombuffer(values, np.uint8)[::4096].max()
        flat = pa.Array.from_buffers(pa.float16(), self.rows * self.dimension, [None, values])
        columns = zip(self._columns, self.schema, strict=False)
        index = [pa.concat_arrays(parts or [pa.array([], field.type)]) for parts, field in columns]
        column = pa.FixedSizeListArray.from_arrays(flat, self.dimension)
        yield pa.record_batch([*index, column], schema=self.schema)


class Table:
    """A memory-mapped Arrow file whose metadata has been checked.

    Args:
        path: the `.arrow` file.
        schema: the schema that is expected, without metadata; a vector column may have any dimension if None.
        **expected: metadata that must stand in the file, such as `manifest=` or `weights=`.

    Raises:
        ContractError: no such file, another schema, other metadata, or fewer rows than the header states.
    """

    def __init__(self, path: Path, schema: pa.Schema | None = None, **expected: Any) -> None:
        if not path.is_file():
            raise ContractError(f"{path} does not exist; run the stage that writes it: dvc repro {maker(path)}")
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ContractError(
                f"{path} is not a complete Arrow file ({error}); run its stage again: dvc repro -sf {maker(path)}"
            ) from error
        self.path = path
        self.metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        if schema is not None and not table.schema.remove_metadata().equals(schema):
            raise ContractError(f"{path}: found columns\n{table.schema.remove_metadata()}\nexpected\n{schema}")
        for name, value in {**expected, "rows": table.num_rows}.items():
            if self.metadata.get(name) != str(value):
                raise ContractError(
                    f"{path}: {name} is {self.metadata.get(name)!r}, expected {str(value)!r}; "
                    f"it was made from something else. Run: dvc repro {maker(path)}"
                )
        self.columns = table

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.columns.schema.names:
            raise ContractError(f"{self.path}: found columns {self.columns.schema.names}, expected one named {name}")
        return self.columns[name]

    def json(self, name: str) -> Any:
        """A metadata value that is a mapping or a list.

        Raises:
            ContractError: the file has none of that name.
        """
        try:
            return json.loads(self.metadata[name])
        except (KeyError, ValueError, RecursionError) as error:
            raise ContractError(
                f"{self.path} does not say its {name}: it was made by an older version; "
                f"run: dvc repro -sf {maker(self.path)}"
            ) from error

    def strings(self, name: str) -> list[str]:
        """A string column as a list."""
        values: list[str] = self._column(name).to_pylist()
        return values

    def integers(self, name: str) -> NDArray[np.int32]:
        """An integer column without nulls, int32 [rows]."""
        values: NDArray[np.int32] = self._column(name).to_numpy()
        return values

    def vectors(self, name: str = "vector") -> NDArray[np.float16]:
        """A vector column, float16 [rows, dimension]; read-only and not copied."""
        column = self._column(name)
        # combine_chunks copies even a single chunk
        chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        rows: NDArray[np.float16] = (
            chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(self), -1 if len(self) else column.type.list_size)
        )
        return rows

    def places(self, keys: Sequence[str]) -> slice:
        """The rows of a run of keys that follow each other in the manifest.

        Raises:
            ContractError: they do not stand together in this order.
        """
        wanted = set(keys)
        key_column = self.strings("key")
        inside = np.flatnonzero(np.fromiter((key in wanted for key in key_column), dtype=bool, count=len(key_column)))
        if len(inside) == 0:
            raise ContractError(f"{self.path} holds none of {len(keys)} keys; run: dvc repro {maker(self.path)}")
        rows = slice(int(inside[0]), int(inside[-1]) + 1)
        check_keys([key for key, _ in groupby(key_column[rows])], keys, str(self.path))
        return rows

    def rows_of(self, keys: Sequence[str], name: str = "vector") -> NDArray[Any]:
        """The vectors of such a run of keys; read-only and not copied."""
        return self.vectors(name)[self.places(keys)]

    def lookup(self, keys: Sequence[str], name: str = "vector") -> NDArray[Any]:
        """The vectors of some keys in any order, of a table with one row a key; a copy.

        Raises:
            ContractError: a key has no row.
        """
        row = {key: i for i, key in enumerate(self.strings("key"))}
        if (lacking := next((key for key in keys if key not in row), None)) is not None:
            raise ContractError(f"{self.path} has no row of {lacking!r}; run: dvc repro {maker(self.path)}")
        return self.vectors(name)[[row[key] for key in keys]]


def offsets(keys: Sequence[str], order: Sequence[str], what: str) -> NDArray[np.int64]:
    """Where each key's rows begin in a flat table in manifest order: int64 [len(order) + 1].

    Raises:
        ContractError: the table has rows of other keys, or is in another order. A key may have no row.
    """
    counts = np.zeros(len(order), dtype=np.int64)
    row = 0
    for i, key in enumerate(order):
        start = row
        while row < len(keys) and keys[row] == key:
            row += 1
        counts[i] = row - start
    if row != len(keys):
        raise ContractError(
            f"{what}: row {row} has key {keys[row]!r}, which does not follow the manifest's order of {len(order)} keys"
        )
    return np.concatenate([[0], np.cumsum(counts)])


def check_unit(table: Table, name: str = "vector") -> None:
    """Stop unless every vector of a table is finite and of unit length, naming the first that is not.

    Raises:
        ContractError: one is not.
    """
    embeddings = table.vectors(name)
    for start in range(0, len(embeddings), _ROWS):
        norms = np.linalg.norm(embeddings[start : start + _ROWS].astype(np.float32), axis=1)
        if (bad := ~(np.abs(norms - 1) <= NORM_TOLERANCE)).any():
            row = start + int(bad.argmax())
            key = f" ({table.strings('key')[row]})" if "key" in table.columns.schema.names else ""
            raise ContractError(
                f"{table.path}: row {row}{key} has length {norms[row - start]:.4g}, expected 1; "
                f"run: dvc repro -sf {maker(table.path)}"
            )


def check_keys(found: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Stop unless two sequences of keys are the same, naming the first difference."""
    if len(found) != len(expected):
        raise ContractError(f"{what}: {len(found)} keys, expected {len(expected)}")
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a != b:
            raise ContractError(f"{what}: row {i} has key {a!r}, expected {b!r}")


def check_index(table: Table, name: str, wanted: NDArray[np.int64]) -> None:
    """Stop unless an index column has these values, naming the first other one.

    Raises:
        ContractError: it has another.
    """
    found = table.integers(name)
    if len(found) != len(wanted):
        raise ContractError(
            f"{table.path}: {len(found)} rows, expected {len(wanted)}; run: dvc repro -sf {maker(table.path)}"
        )
    if (wrong := found != wanted).any():
        row = int(wrong.argmax())
        raise ContractError(
            f"{table.path}: row {row} ({table.strings('key')[row]}) has {name} {found[row]}, expected {wanted[row]}; "
            f"run: dvc repro -sf {maker(table.path)}"
        )


def write_parquet(
    path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, at_a_time: int = _ROWS, /, **metadata: Any
) -> None:
    """Write rows as a Parquet file, whole or not at all, `at_a_time` in memory."""
    schema = schema.with_metadata({k: str(v) for k, v in metadata.items()})
    with files.whole(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part in batches(rows, at_a_time):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
