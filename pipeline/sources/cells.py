"""Bytes in a column of a parquet, which is how img2dataset's output_format=parquet holds images."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.rows import TooManyBytes

_ROWS = 32
"""Read at a time: what is before a row in its row group has to be unpacked too."""


def holds_bytes(column: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, as they are or as Hugging Face has images: {bytes, path}."""
    if pa.types.is_struct(column):
        index = column.get_field_index("bytes")
        return index >= 0 and not pa.types.is_struct(column.field(index).type) and holds_bytes(column.field(index).type)
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(kind(column) for kind in kinds)


def read_cell(path: str, column: str, row: int, most: int) -> bytes:
    """The bytes in a row of a column; no more than `most` and a few neighbours are in memory.

    Raises:
        TooManyBytes: there are more than `most`.
        FileNotFoundError: the row has none.
        OSError: the parquet is damaged, or has no such row or column.
    """
    try:
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False) as table:
            if column not in table.schema_arrow.names:
                raise OSError(f"the parquet has no column {column}")
            first = 0
            for group in range(table.num_row_groups):
                rows = table.metadata.row_group(group).num_rows
                if first <= row < first + rows:
                    return _within(table, group, column, row - first, most)
                first += rows
    except pa.ArrowMemoryError as error:
        raise TooManyBytes(f"{str(error)[:150]}, at most {most:,}") from error
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise OSError(f"the parquet is damaged ({str(error).partition(chr(10))[0][:150]})") from error
    raise OSError(f"the parquet has {first:,} rows")


def _within(table: pq.ParquetFile, group: int, column: str, row: int, most: int) -> bytes:
    for batch in table.iter_batches(_ROWS, row_groups=[group], columns=[column], use_threads=False):
        if row < batch.num_rows:
            cell = batch.column(0)[row]
            if cell.is_valid and holds_bytes(cell.type) and isinstance(cell, pa.StructScalar):
                cell = cell["bytes"]
            if not cell.is_valid:
                raise FileNotFoundError("the row has no image")
            if not isinstance(cell, pa.BinaryScalar):
                raise OSError(f"column {column} holds {cell.type}, expected binary")
            found = cell.as_buffer()
            if found.size > most:
                raise TooManyBytes(f"{found.size:,} bytes, at most {most:,}")
            return bytes(found)
        row -= batch.num_rows
    raise OSError("the parquet ends before its row")
