"""Arrow IPC files from anyone: one uncompressed batch, mapped, and nothing unpacked before it is known to be that."""

from __future__ import annotations

import struct
from itertools import islice
from pathlib import Path

import pyarrow as pa

from pipeline.errors import Damaged

_MAGIC = b"ARROW1\0\0"

_HEADER_TYPE, _HEADER = 1, 2
"""Fields of the flatbuffers table Message (Arrow's format/Message.fbs)."""
_RECORD_BATCH = 3
"""Its number in the union MessageHeader."""
_COMPRESSION = 3
"""The number of that field in the table RecordBatch."""


def read(path: Path) -> pa.RecordBatch:
    """The only batch of an Arrow IPC file; its columns map the file.

    A file states twice where its batches are: they follow each other from the front, and the footer names them. Both
    have to say the same; the first is what is read, so that what is looked at is what is read.

    Raises:
        Damaged: it is no complete Arrow file, has no batch or several, or a compressed one.
        FileNotFoundError: it is gone.
    """
    try:
        with pa.memory_map(str(path)) as mapped:
            content = mapped.read_buffer()
        if len(content) < len(_MAGIC) or content.slice(0, len(_MAGIC)).to_pybytes() != _MAGIC:
            raise Damaged(f"{path} is no Arrow file")
        reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(content.slice(len(_MAGIC))))
        messages = list(islice(reader, 3))
        if [message.type for message in messages] != ["schema", "record batch"]:
            raise Damaged(f"{path} holds {', '.join(m.type for m in messages)}, expected a schema and one batch")
        if _is_compressed(messages[1].metadata.to_pybytes()):
            raise Damaged(f"{path} is compressed; expected an uncompressed batch")
        by_footer = pa.ipc.open_file(pa.BufferReader(content))
        batch = pa.ipc.read_record_batch(messages[1], pa.ipc.read_schema(messages[0]))
        if by_footer.num_record_batches != 1 or not by_footer.schema.equals(batch.schema, check_metadata=True):
            raise Damaged(f"{path}: its footer tells of other batches or columns than it holds")
        for text in (part for pair in (batch.schema.metadata or {}).items() for part in pair):
            text.decode()
        batch.validate(full=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
        raise Damaged(f"{path} is no complete Arrow file: {error}") from error
    return batch


def _is_compressed(message: bytes) -> bool:
    """Whether a message is something else than an uncompressed batch; pyarrow does not tell.

    Raises:
        struct.error: it is no flatbuffers table.
    """
    table = struct.unpack_from("<I", message, 0)[0]
    kind, header = _field(message, table, _HEADER_TYPE), _field(message, table, _HEADER)
    if not kind or not header or struct.unpack_from("<B", message, kind)[0] != _RECORD_BATCH:
        return True
    return _field(message, header + struct.unpack_from("<I", message, header)[0], _COMPRESSION) != 0


def _field(message: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffers table stands; 0 if it has none."""
    fields = table - struct.unpack_from("<i", message, table)[0]
    if fields < 0:
        raise struct.error("a table without fields")
    size, entry = struct.unpack_from("<H", message, fields)[0], 4 + 2 * number
    offset = struct.unpack_from("<H", message, fields + entry)[0] if entry + 2 <= size else 0
    return table + offset if offset else 0
