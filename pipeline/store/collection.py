"""A collection: rows computed in one way, looked up by the content they were computed from."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.disk import files
from pipeline.disk.provenance import packages
from pipeline.errors import Damaged, InputError
from pipeline.machine.progress import track
from pipeline.store import segment
from pipeline.store.keys import Keys
from pipeline.store.segment import Segment

log = logging.getLogger(__name__)

DESCRIPTION = "collection.json"

SEGMENT_BYTES = 32 << 20
"""A segment is written when this much is waiting ..."""
SEGMENT_SECONDS = 60.0
"""... or the first row has waited this long: the most that a kill can lose."""

_BY_TIME = ContextVar("by time", default=True)

_MANY = 30
"""Segments, a gigabyte, whose checking takes long enough to be shown."""

Places = NDArray[np.int64]
"""[n, 2]: segment and row of it, -1 for a key that is not there."""


class StoreError(InputError):
    """The store cannot be written, or rows are gone that were there."""


@contextmanager
def by_size_alone() -> Iterator[None]:
    """Within it no segment is closed by the clock: rows that are computed again in their order give equal segments."""
    before = _BY_TIME.set(False)
    try:
        yield
    finally:
        _BY_TIME.reset(before)


class Collection:
    """Rows computed in one way: with these weights, this preprocessing, this dtype, this code.

    Args:
        root: the store's folder.
        name: what the rows are, such as `images`; letters and underscores.
        made_with: everything that a row's values depend on besides its content; JSON. Its fingerprint names the folder.
        values: columns of a row; nothing in them may be null.

    Raises:
        TypeError: `made_with` is not JSON.
    """

    def __init__(self, root: Path, name: str, made_with: Mapping[str, Any], values: pa.Schema) -> None:
        description = {"name": name, "made_with": dict(made_with), "values": segment.column_types(values)}
        self._described = described = json.loads(json.dumps(description))
        self.name, self.schema = name, values
        self.fingerprint = files.fingerprint(**described)
        self.folder = root / f"{name}-{self.fingerprint}"
        self.segments: list[Segment] = []
        self.refresh()

    def refresh(self) -> None:
        """Map every segment that is not mapped yet and whose bytes are right; the others are set aside and named.

        What has gone by the time it is opened may have been put into a larger one, so that it is looked again.
        """
        if not self.folder.is_dir():
            return
        done = {part.path for part in self.segments}
        gone = True
        while gone:
            gone = False
            paths = [path for path in segment.listed(self.folder) if path not in done]
            for path in track(paths, f"check {self.name}", unit="segments") if len(paths) > _MANY else paths:
                try:
                    segment.check(path)
                    self.segments.append(Segment(path, self.schema, self.fingerprint))
                except FileNotFoundError:
                    gone = True
                    continue
                except Damaged as error:
                    log.warning("%s; %s, and its rows are computed again", error, files.set_aside(path))
                done.add(path)
        self._used()

    def _used(self) -> None:
        """Tell gc of this use; a store of somebody else's is not told."""
        with suppress(OSError):
            os.utime(self.folder / DESCRIPTION)

    def __len__(self) -> int:
        """Rows, those that two writers computed at the same time counted twice."""
        return sum(map(len, self.segments))

    def locate(self, keys: Keys) -> Places:
        """Where each key's row is, int64 [n, 2]; negative for one that is not there."""
        places = np.full((len(keys), 2), -1, dtype=np.int64)
        order = np.argsort(keys[:, 0])  # neighbours in a segment are found in memory that is warm
        high, low = keys[order, 0], keys[order, 1]
        for number, part in enumerate(self.segments):
            rows = part.search(high, low)
            here = rows >= 0
            if here.any():
                places[order[here], 0] = number
                places[order[here], 1] = rows[here]
                order, high, low = order[~here], high[~here], low[~here]
        return places

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Which keys have no row, bool [n]."""
        lacking: NDArray[np.bool_] = self.locate(keys)[:, 0] < 0
        return lacking

    def take(self, keys: Keys) -> pa.Table:
        """The values of some keys, one row each, in their order.

        Raises:
            StoreError: a key has no row.
        """
        places = self._present(keys)
        groups = [(number, np.flatnonzero(places[:, 0] == number)) for number in np.unique(places[:, 0])]
        if not groups:
            return self.schema.empty_table()
        parts = [self.segments[number].values.take(pa.array(places[rows, 1])) for number, rows in groups]
        back = np.empty(len(places), dtype=np.int64)
        back[np.concatenate([rows for _, rows in groups])] = np.arange(len(places))
        return pa.concat_tables(parts).take(pa.array(back))

    def vectors(self, keys: Keys) -> NDArray[np.float16]:
        """The vectors of some keys, float16 [n, d], of a collection whose only column they are.

        Raises:
            StoreError: a key has no row.
        """
        return self.vectors_at(self._present(keys))

    def vectors_at(self, places: Places) -> NDArray[np.float16]:
        """The vectors at some places, float16 [n, d]."""
        if len(places) == 0:
            return np.empty((0, self.schema.field(0).type.list_size), dtype=np.float16)
        order = np.argsort(places[:, 0], kind="stable")
        segments, rows = places[order, 0], places[order, 1]
        sorted_rows = np.empty((len(places), self.schema.field(0).type.list_size), dtype=np.float16)
        starts = np.flatnonzero(np.diff(segments, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(places)], strict=True):
            part = slice(start, end)
            np.take(self.segments[segments[start]].vectors, rows[part], axis=0, out=sorted_rows[part], mode="clip")
        found = np.empty_like(sorted_rows)
        found[order] = sorted_rows
        return found

    def _present(self, keys: Keys) -> Places:
        places = self.locate(keys)
        if (lacking := int((places[:, 0] < 0).sum())) > 0:
            raise StoreError(f"{self.folder} lacks {lacking} of {len(keys)} rows that were there before; run it again")
        return places

    def lend(self, keys: Keys, values: pa.Table, folder: Path) -> None:
        """Have it know rows that are another's: they lie in `folder`, and are not written or sent with its own."""
        if len(keys):
            path = segment.write(folder, keys, values, {"fingerprint": self.fingerprint})
            self.segments.append(Segment(path, self.schema, self.fingerprint))

    def writing(self) -> Writer:
        """A context in which rows are added; they can be looked up when it ends."""
        return Writer(self)

    def _append(self, keys: Keys, values: pa.Table) -> None:
        try:
            if not described_as(self.folder / DESCRIPTION, self._described):
                files.write_json(self.folder / DESCRIPTION, self._described)
            path = segment.write(
                self.folder, keys, values, {"collection": self.name, "fingerprint": self.fingerprint, **packages()}
            )
        except OSError as error:
            raise StoreError(
                f"{len(keys)} new rows of {self.name} could not be written to {self.folder}: "
                f"{error.strerror or error}. {advice(error)} Whatever was written before is whole and stays; "
                "after that, run it again and only the rest is computed"
            ) from error
        self._used()
        self.segments.append(Segment(path, self.schema, self.fingerprint))


def described_as(path: Path, described: Any) -> bool:
    """Whether a collection's description is there and whole; it is for people, segments carry the fingerprint."""
    try:
        return bool(files.read_json(path) == described)
    except (InputError, FileNotFoundError):
        return False


def advice(error: OSError) -> str:
    """What to do where the store cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Make room (dclip cache stats, dclip cache gc) or move the store with DCLIP_HOME."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Ask for write permission there, or set DCLIP_HOME to a folder of your own."
    return "Check the disk."


class Writer:
    """Adds rows to a collection, a segment at a time."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.rows = 0
        self._clear()

    def _clear(self) -> None:
        self._keys: list[Keys] = []
        self._values: list[pa.Table] = []
        self._bytes, self._since = 0, 0.0

    def __enter__(self) -> Writer:
        return self

    def add(self, keys: Keys, *columns: Any) -> None:
        """Add rows: keys uint64 [n, 2], and a sequence of n values for every column (vectors as an array [n, d]).

        Raises:
            StoreError: the disk is full or may not be written to.
            ValueError: a value is null or not finite, or lengths differ.
        """
        fields = self.collection.schema
        values = pa.table([_column(c, f) for c, f in zip(columns, fields, strict=True)], schema=fields)
        if len(values) != len(keys):
            raise ValueError(f"{len(keys)} keys of {self.collection.name} for {len(values)} rows")
        if len(keys) == 0:
            return
        self._since = self._since or time.monotonic()
        self._keys.append(keys.copy())
        self._values.append(values)
        self._bytes += values.nbytes + keys.nbytes
        self.rows += len(keys)
        late = _BY_TIME.get() and time.monotonic() - self._since >= SEGMENT_SECONDS
        if late or self._bytes >= SEGMENT_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._keys:
            return
        self.collection._append(np.concatenate(self._keys), pa.concat_tables(self._values))
        self._clear()  # only now: Ctrl-C while a segment is written loses nothing

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if not isinstance(error, StoreError):  # rows that were computed are kept whatever stopped the rest
            self._flush()


def _column(values: Any, field: pa.Field) -> pa.Array:
    """An Arrow array of a column's values, a copy; vectors are given as a float array [n, d]."""
    if pa.types.is_fixed_size_list(field.type) and isinstance(values, np.ndarray):
        rows = np.array(values, dtype=field.type.value_type.to_pandas_dtype(), order="C")
        if rows.ndim != 2 or rows.shape[1] != field.type.list_size:
            raise ValueError(f"{field.name}: got shape {rows.shape}, expected [n, {field.type.list_size}]")
        if not np.isfinite(rows).all():
            raise ValueError(f"{field.name}: row {int((~np.isfinite(rows)).any(axis=1).argmax())} is not finite")
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), field.type.list_size)
    else:
        column = values if isinstance(values, pa.Array) else pa.array(values, field.type)
    segment.check_values(column, field.name)
    return column
