"""What img2dataset writes: shards of some 10,000 rows, with images in tars or in folders.

00000.tar, of output_format=webdataset, holds KEY.jpg (or png, webp), KEY.txt (the caption) and KEY.json (the row);
00000/, of output_format=files, holds the same as files. 00000.parquet beside it holds every row, downloaded or not:
url, caption, key, status, error_message and more, and of output_format=parquet the images too, in a column jpg (or png,
webp). Without it the rows are those of the KEY.json, and what failed to download is not known. Tars and parquets are
not unpacked: an image is a part of its tar, or a cell of its parquet. A caption may be a list of captions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pipeline import tars
from pipeline.schema import Reason
from pipeline.sources import folders
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.rows import File, Held, Rejected, leaves

IMAGES = ("jpg", "jpeg", "png", "webp")
COLUMNS = ("key", "url", "caption", "txt", "status", "error_message")

_ROWS = 1000
"""Of a parquet that are in memory at a time."""
_AGAIN = "\0again"
"""Behind the key of a sample whose key another one has."""

Members = dict[str, dict[str, File]]
"""What a shard holds, by its path without extension (two folders of a tar may use one key) and by extension."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row: a url, and what came of it."""

    url: str
    caption: Any
    """A text, a list of texts, where a text lies (`File`), None if it is not known, or whatever else stands there."""
    file: File | None
    note: str
    """Why there is no file."""
    place: str


class _Damaged(Exception):
    """A parquet cannot be read any further."""


def shards(folder: Path) -> list[str]:
    """Every shard below a folder: its path relative to it, without .tar or .parquet.

    Tars may have any name; a folder, or a parquet that lies alone, is a shard if its name is a number.
    """
    found = set()
    for name in folders.below(folder):
        path = PurePosixPath(name)
        if path.suffix == ".tar" or (path.suffix == ".parquet" and path.stem.isdecimal()):
            found.add(str(path.with_suffix("")))
        elif path.suffix in (".json", ".txt") and path.parent.name.isdecimal() and not path.stem.endswith("_stats"):
            found.add(str(path.parent))
    return sorted(found)


def read(folder: Path, shard: str) -> Iterator[Record | Rejected | Held]:
    """Every row of a shard's parquet, then whatever else the shard holds, and how many captions each of them has.

    Of a damaged tar or parquet all that can be read is used. What cannot is named: by the rows of the parquet if they
    can be read and have the captions, else by one `Rejected` for every gap.
    """
    name = PurePosixPath(shard).name
    members, gaps = _members(folder / shard)
    path = folder / f"{shard}.parquet"
    complete = False
    elsewhere = _by_name(members)
    if path.is_file():
        try:
            with _Parquet(path) as table:
                if table.pictures and not members:
                    gaps = []
                for number, row in enumerate(table.rows()):
                    key = _key(row["key"])
                    own = key if key in members else elsewhere.get(key, "") or elsewhere.get(_unpadded(key), "")
                    place = f"{shard}.parquet#{key}" if key else f"{shard}.parquet:{number + 1}"
                    parts = members.pop(own, {})
                    if table.pictures and row.get("status") in (None, "success"):
                        parts = {table.pictures: File(f"{path}/{table.pictures}", number)} | parts
                    yield from _record(row, parts, place, gaps[0] if gaps else f"{name} holds no image {key}")
                complete = "caption" in table.columns or "txt" in table.columns
        except _Damaged as error:
            yield Rejected("image", "", f"{shard}.parquet", Reason.MALFORMED_ROW, str(error))
    for gap in () if complete else gaps:
        yield Rejected("image", "", f"{shard}.tar", Reason.MALFORMED_ROW, gap)
    for key, parts in members.items():
        key = key.partition(_AGAIN)[0]
        place = f"{shard}#{key}"
        try:
            row = json.loads(parts["json"].read())
        except (KeyError, OSError, ValueError, RecursionError) as error:
            reason = f"{key}.json: {error}" if "json" in parts else f"there is no {key}.json"
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, f"{reason}, so its url is not known")
            if "txt" in parts:
                yield Held(1, place)
                yield Rejected("caption", "", place, Reason.MALFORMED_ROW, f"{reason}, so its image is not known")
            continue
        yield from _record(row, parts, place, f"{name} holds no image {key}")


def captions(record: Record) -> list[tuple[str, Any]]:
    """Place and text of every caption of a row; none if it is not known."""
    return [] if record.caption is None or record.caption == [] else list(leaves(record.caption, record.place))


def _record(row: Any, parts: dict[str, File], place: str, missing: str) -> Iterator[Record | Rejected | Held]:
    """A row of the parquet, or a KEY.json; `missing` is why there is no image of a download that succeeded."""
    url, status = field(row, "url"), printable(field(row, "status"))
    if status not in ("", "success"):
        error = printable(field(row, "error_message"))
        missing = f"{status}: {error}" if error else status
    file = next((parts[extension] for extension in IMAGES if extension in parts), None)
    texts = (field(row, "caption"), parts.get("txt"), field(row, "txt"))
    caption = next((text for text in texts if text is not None), None)
    if caption is None and "json" in parts:
        with suppress(OSError, ValueError, RecursionError):  # it is but another copy of the row
            caption = field(json.loads(parts["json"].read()), "caption")
    record = Record(url="", caption=caption, file=file, note="" if file else missing, place=place)
    if isinstance(url, str) and url.strip() and printable(url) == url:
        yield Held(len(captions(record)), place)
        yield replace(record, url=url.strip())
        return
    found = captions(record) or [(place, None)]  # without any the row itself is told
    yield Held(len(found), place)
    for own, _ in found:
        yield Rejected("caption", "", own, Reason.MALFORMED_ROW, f"expected a url, found {url!r:.100}")


def _key(value: Any) -> str:
    """A key as text; it may be a number, and one that was a text may have become a number with a point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str) or type(value) is int else ""


def _unpadded(key: str) -> str:
    """A number without the zeros in front of it, which it loses where it is a number; no other key looks so."""
    return f"\0{key.lstrip('0')}" if key.isascii() and key.isdecimal() else ""


def _by_name(members: Members) -> dict[str, str]:
    """Where a parquet's key stands in the tar: at its top, or in the one folder that has it, perhaps without zeros."""
    own = {member: member.rpartition("/")[2] for member in members}
    called = [(name, member) for member, full in own.items() for name in (full, _unpadded(full)) if name]
    names = Counter(name for name, _ in called)
    return {name: member for name, member in called if names[name] == 1}


class _Parquet:
    """A parquet of img2dataset, a few rows in memory at a time; a context manager.

    Attributes:
        columns: their names.
        pictures: the column that holds pictures; empty if there is none.

    Raises:
        _Damaged: it cannot be read, or is none of img2dataset's.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._errors = (pa.ArrowException, OSError, ValueError)
        self._done = 0
        with self._told():
            self._table = pq.ParquetFile(path, memory_map=False)
            schema = self._table.schema_arrow
        self.columns = schema.names
        if "key" not in self.columns or "url" not in self.columns:
            raise _Damaged(f"not img2dataset's: expected columns key and url, found {', '.join(self.columns)}"[:200])
        binary = {name for name, type_ in zip(schema.names, schema.types, strict=True)
                  if pa.types.is_binary(type_) or pa.types.is_large_binary(type_)}  # fmt: skip
        self.pictures = next((name for name in IMAGES if name in binary), "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            reason = str(error).partition("\n")[0][:150]
            lost = "rows that failed to download are not known"
            raise _Damaged(f"damaged after row {self._done} ({reason}); {lost}") from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row, of its columns those of COLUMNS."""
        wanted = [name for name in COLUMNS if name in self.columns]
        with self._told():
            for batch in self._table.iter_batches(_ROWS, columns=wanted):
                yield from batch.to_pylist()
                self._done += batch.num_rows


def _members(shard: Path) -> tuple[Members, list[str]]:
    """What a shard's tar and folder hold, and what of them cannot be read."""
    members: Members = {}
    tar = shard.with_name(f"{shard.name}.tar")
    gaps: list[str] = []
    if tar.is_file():
        latest: dict[str, str] = {}
        for found in tars.members(tar):
            if isinstance(found, tars.Gap):
                gaps.append(f"{tar.name} is {found}")
            else:
                _add(members, found.name, File(str(tar), found.offset, found.size), latest)
    elif not shard.is_dir():
        gaps.append(f"there is neither {tar.name} nor a folder {shard.name}")
    for name in sorted(folders.names(shard)):
        _add(members, name, File(f"{shard}/{name}"), {})
    return members, gaps


def _add(members: Members, name: str, file: File, latest: dict[str, str]) -> None:
    """Add a file; one that is there already, as in joined tars, begins another sample of the same key."""
    folder, slash, own = name.removeprefix("./").rpartition("/")
    key, _, extension = own.partition(".")
    if (extension := extension.lower()) not in (*IMAGES, "txt", "json"):
        return
    key = f"{folder}{slash}{key}"
    sample = latest.get(key, key)
    if extension in members.get(sample, ()):
        sample = latest[key] = f"{sample}{_AGAIN}"
    members.setdefault(sample, {})[extension] = file
