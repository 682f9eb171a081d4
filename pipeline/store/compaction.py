"""Many small segments put together into few large ones, while others read and write the collection.

    small segments a, b, c  ->  one with all their rows, whose metadata say "replaces a b c"; then a, b, c set aside

At every moment each row is in a segment: the large one is written, flushed and read again before a small one goes, and
whoever opens a collection looks again when something has gone meanwhile (`segment.listed`). What goes is renamed, not
removed: a process that has it mapped keeps its rows, on a network disk too, until `dclip cache gc`. What a segment
replaces is neither sent nor fetched any more (`remote`), and is set aside when it comes back by other ways.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.disk import files
from pipeline.errors import Damaged
from pipeline.machine.progress import track
from pipeline.store import segment
from pipeline.store.collection import StoreError, advice
from pipeline.store.inventory import REPLACED, Held
from pipeline.store.keys import Keys
from pipeline.store.segment import KEY, REPLACES, Segment

log = logging.getLogger(__name__)

SEGMENT_BYTES = 128 << 20
"""Segments are put together up to so many bytes, those of at least half as many left alone: 10 million vectors of 512
numbers make 80 of them, and a damaged byte costs the rows of one. A few times as much memory is needed."""


@dataclass(frozen=True)
class Compacted:
    """What has become of a collection's segments: how many there were and are, and the bytes of those set aside."""

    before: int
    after: int
    bytes: int


def compact(held: Held) -> Compacted:
    """Put the small segments of a collection together; the same segments give the same bytes.

    Of rows with equal keys the one is kept that a stage would read, that of the first segment by name. Only segments
    that were made with the same package versions come together. A damaged one is left to the next stage that opens it.

    Raises:
        StoreError: the disk is full or may not be written to.
    """
    try:
        with files.alone(held.folder):
            before, size = segment.listed(held.folder), 0
            for path in before:
                size += _set_replaced_aside(path, held)
            tried: set[Path] = set()
            while parts := list(_parts(held.folder, tried)):
                for part in track(parts, f"compact {held.name}", unit="segments"):
                    tried.update(part)
                    if large := _together(part, held):
                        size += _set_replaced_aside(large, held)
            return Compacted(len(before), len(segment.listed(held.folder)), size)
    except FileNotFoundError:
        return Compacted(0, 0, 0)  # gc has just removed the collection
    except OSError as error:
        raise StoreError(
            f"{held.folder} could not be compacted: {error.strerror or error}. {advice(error)} Every row is still "
            "there; after that, run it again"
        ) from error


def _parts(folder: Path, tried: set[Path]) -> Iterator[list[Path]]:
    """Which segments come together, by name: those of one provenance, up to `SEGMENT_BYTES`."""
    small: list[tuple[list[tuple[str, str]], Path, int]] = []
    for path in segment.listed(folder):
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            if size < SEGMENT_BYTES // 2 and path not in tried:
                small.append((_provenance(path), path, size))
    for _, alike in groupby(sorted(small), key=lambda one: one[0]):
        part: list[Path] = []
        left = SEGMENT_BYTES
        for _, path, size in alike:
            if size > left:
                yield from [part] if len(part) > 1 else []
                part, left = [], SEGMENT_BYTES
            part.append(path)
            left -= size
        yield from [part] if len(part) > 1 else []


def _provenance(path: Path) -> list[tuple[str, str]]:
    """What a segment was made with, without what its rows alone decide."""
    return sorted(item for item in segment.metadata(path).items() if item[0] not in ("rows", REPLACES))


def _together(part: list[Path], held: Held) -> Path | None:
    """Write the rows of some segments as one; None if fewer than two can be read."""
    read: dict[Path, pa.RecordBatch] = {}
    for path in part:
        try:
            segment.check(path)
            read[path] = segment.read(path, _fingerprint(held))
        except (Damaged, FileNotFoundError) as error:
            log.warning("not compacted: %s", error)
    if len(read) < 2:
        return None
    keys = np.concatenate([_keys(rows) for rows in read.values()])
    values = pa.concat_tables([pa.Table.from_batches([rows.select(_columns(rows))]) for rows in read.values()])
    names = {path.stem for path in read}.union(*(segment.replaced(segment.metadata(path)) for path in read))
    metadata = {**dict(_provenance(part[0])), REPLACES: " ".join(sorted(names))}
    return segment.write(held.folder, keys, values.replace_schema_metadata(), metadata)


def _set_replaced_aside(large: Path, held: Held) -> int:
    """Set aside whatever is here of the segments that a large one replaces, and has all rows of; returns their bytes.

    A segment may have come from anywhere, and what it says be wrong: its own bytes and every key are looked at first.
    """
    named = (large.with_name(f"{name}{segment.SUFFIX}") for name in sorted(segment.replaced(segment.metadata(large))))
    here = [path for path in named if path.is_file()]
    size = 0
    try:
        if here:
            segment.check(large)
            rows = segment.read(large, _fingerprint(held))
            holds = Segment(large, pa.schema([rows.schema.field(name) for name in _columns(rows)]), _fingerprint(held))
            for path in here:
                if (holds.find(_keys(segment.read(path, _fingerprint(held)))) >= 0).all():
                    size += path.stat().st_size
                    os.replace(path, path.with_suffix(REPLACED))
    except (Damaged, FileNotFoundError) as error:
        log.warning("not compacted: %s", error)
    return size


def _fingerprint(held: Held) -> str:
    return held.folder.name.rpartition("-")[2]


def _columns(rows: pa.RecordBatch) -> list[str]:
    """Names of the value columns."""
    return list(rows.schema.names[len(KEY) :])


def _keys(rows: pa.RecordBatch) -> Keys:
    return np.stack([rows[name].to_numpy() for name, _ in KEY], axis=1)
