"""Tables in Parquet and Arrow files, some rows in memory at a time; images in them stay where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.cells import holds_bytes
from pipeline.sources.entries import Entry, Missing
from pipeline.sources.rows import File, SourceError

_ROWS = 1000
"""Rows that are in memory at a time."""
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""With which every stream of Arrow ends that was written to its end."""
_ERRORS = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class _ColumnFile(ABC):
    """A file of columns, of which `binary` hold bytes."""

    form: ClassVar[str]
    path: Path
    name: str
    names: list[str]
    binary: tuple[str, ...]

    @classmethod
    def opened(cls, path: Path, name: str) -> Self:
        """Read what columns it has.

        Raises:
            SourceError: it is damaged, or none.
        """
        try:
            schema = cls.schema(path)
            names, binary = schema.names, tuple(field.name for field in schema if holds_bytes(field.type))
        except _ERRORS as error:
            raise SourceError(f"{path} cannot be read as {cls.form}: {_said(error)}") from error
        return cls(path, name, names, binary)

    @staticmethod
    @abstractmethod
    def schema(path: Path) -> pa.Schema:
        """The columns of a file."""


@dataclass(frozen=True, slots=True)
class ParquetTable(_ColumnFile):
    """A Parquet file."""

    form: ClassVar[str] = "Parquet"

    @staticmethod
    def schema(path: Path) -> pa.Schema:
        """The columns of a file."""
        return pq.read_schema(path, memory_map=False)

    def entries(self, wanted: Sequence[str]) -> Iterator[Entry]:
        """Every row, of its cells those of `wanted`; of a damaged row group every row is named."""
        images = [name for name in wanted if name in self.binary]
        plain = [name for name in wanted if name not in self.binary]
        with pq.ParquetFile(self.path, memory_map=False) as table:
            first = 0
            for group in range(table.num_row_groups):
                metadata = table.metadata.row_group(group)
                there = {image: _holds(metadata, image) for image in images}
                done, end = first, first + metadata.num_rows
                try:
                    for size, cells in _batches(table, group, plain):
                        for row in range(size):
                            found = {column: values[row] for column, values in cells.items()}
                            for image in images:
                                cell = File(f"{self.path}/{image}", done)
                                found[image] = cell if there[image] else None
                            yield Entry(found, f"{self.name}:{done + 1}")
                            done += 1
                except _ERRORS as error:
                    fault = f"row group {group} of the Parquet file is damaged: {_said(error)}"
                    for row in range(done, end):
                        yield Entry({}, f"{self.name}:{row + 1}", fault)
                first = end


@dataclass(frozen=True, slots=True)
class ArrowTable(_ColumnFile):
    """An Arrow file, or a stream of Arrow in a file, as Hugging Face's datasets writes them."""

    form: ClassVar[str] = "Arrow"

    @staticmethod
    def schema(path: Path) -> pa.Schema:
        """The columns of a file."""
        with pa.memory_map(str(path)) as mapped:
            return _reader(mapped).schema

    def entries(self, wanted: Sequence[str]) -> Iterator[Entry]:
        """Every row, of its cells those of `wanted`; of an image nothing but where it stands is looked at."""
        done = 0
        with pa.memory_map(str(self.path)) as mapped:
            size = mapped.size()
            base = mapped.read_buffer(size).address if size else 0
            mapped.seek(0)
            try:
                reader = _reader(mapped)
                for batch in _record_batches(reader):
                    for part, fault in _sound(batch.select(list(wanted))):
                        cells = {} if fault else {column: self._cells(part, column, base, size) for column in wanted}
                        for row in range(part.num_rows):
                            found = {column: values[row] for column, values in cells.items()}
                            yield Entry(found, f"{self.name}:{done + 1}", fault)
                            done += 1
                if isinstance(reader, pa.RecordBatchStreamReader) and not (
                    mapped.tell() == size and _is_ended(self.path)
                ):
                    yield Entry({}, self.name, f"the file ends after row {done}, and not as it should: it was cut off")
            except _ERRORS as error:
                yield Entry({}, self.name, f"the file is damaged after row {done}: {_said(error)}")

    def _cells(self, part: Any, name: str, base: int, size: int) -> list[Any]:
        """The cells of a column; of one of images where the bytes of each row stand, or the path in their stead."""
        column = part.column(name)
        if name not in self.binary:
            return _values(column)
        paths: list[Any] = [None] * len(column)
        if pa.types.is_struct(column.type):
            inner = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
            column, paths = inner["bytes"], _values(inner["path"]) if "path" in inner else paths
        places = _places(column, base, size)
        found: list[Any] = []
        for valid, place, path in zip(column.is_valid().to_pylist(), places, paths, strict=True):
            if not valid:
                found.append(path)
            elif place is None:
                found.append(Missing(f"{self.name} is compressed, or its images are no plain binary; write it anew"))
            else:
                found.append(File(str(self.path), *place))
        return found


def _places(column: Any, base: int, size: int) -> Iterator[tuple[int, int] | None]:
    """Offset and length in the file of the bytes of each row; None if they are nowhere in it.

    Args:
        base: address of the mapped file, of `size` bytes.
    """
    width = {pa.binary(): np.int32, pa.large_binary(): np.int64}.get(column.type)
    _, offsets, data = column.buffers() if width else (None, None, None)
    start = data.address - base if data is not None else 0
    if width is None or offsets is None or data is None or not 0 <= start <= size - data.size:
        is_empty = width is not None and (data is None or data.size == 0)  # no row has a byte
        yield from ((0, 0) if is_empty else None for _ in range(len(column)))
        return
    ends = np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1]
    for first, last in pairwise(ends.tolist()):
        yield (start + first, last - first) if 0 <= first <= last <= data.size else None


def _reader(mapped: pa.MemoryMappedFile) -> Any:
    head = mapped.read(6)
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if head == b"ARROW1" else pa.ipc.open_stream(mapped)


def _record_batches(reader: Any) -> Iterator[Any]:
    if isinstance(reader, pa.RecordBatchStreamReader):
        yield from reader
    else:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _sound(batch: Any) -> Iterator[tuple[Any, str]]:
    """Some rows of a batch at a time, and why they cannot be read: Arrow trusts the lengths that a file states."""
    for start in range(0, batch.num_rows, _ROWS):
        part = batch.slice(start, _ROWS)
        if not _fault(part):
            yield part, ""
        else:
            for row in range(part.num_rows):
                yield part.slice(row, 1), _fault(part.slice(row, 1))


def _fault(part: Any) -> str:
    return next(filter(None, map(_column_fault, part.columns)), "")


def _column_fault(column: Any) -> str:
    """What of a column lies outside of what there is; part by part, since text that is no UTF-8 ends the search."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            return f"the row is damaged: {_said(error)}"
        if pa.types.is_struct(column.type):
            return next(filter(None, map(_column_fault, column.flatten())), "")
    return ""


def _is_ended(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-min(len(_END), path.stat().st_size), 2)
        return stream.read() == _END


def _holds(metadata: Any, column: str) -> bool:
    """Whether a column of a row group has any bytes, as far as is known."""
    for number in range(metadata.num_columns):
        chunk = metadata.column(number)
        if chunk.path_in_schema in (column, f"{column}.bytes"):
            statistics = chunk.statistics
            return statistics is None or not statistics.has_null_count or statistics.null_count < metadata.num_rows
    return True


def _batches(table: pq.ParquetFile, group: int, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    """Rows of a row group, some at a time: how many, and their cells by column."""
    if not columns:
        yield table.metadata.row_group(group).num_rows, {}
        return
    for batch in table.iter_batches(_ROWS, row_groups=[group], columns=list(columns), use_threads=False):
        yield batch.num_rows, {name: _values(batch.column(name)) for name in columns}


def _values(column: Any) -> list[Any]:
    """The cells of a column; text that is no UTF-8 is bytes, and what Python cannot hold the error that says so."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(cell) for cell in column]


def _value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError) as error:
        if hasattr(cell, "as_buffer"):
            return cell.as_buffer().to_pybytes()
        values = getattr(cell, "values", None)
        return [_value(each) for each in values] if isinstance(values, pa.Array) else error


def _said(error: BaseException) -> str:
    return str(error).partition("\n")[0][:150]
