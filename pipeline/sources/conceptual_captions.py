"""Conceptual Captions: TSV files `caption<TAB>url` with whatever could be downloaded, or img2dataset's output.

    Train_GCC-training.tsv              any *.tsv, or without one any *.csv; a header may stand above
    <crc32(url)>, <row>_<crc32(url)>    downloads, with any extension, anywhere below the folder
    00000.tar, 00000.parquet            img2dataset's shards, anywhere below the folder

Tables may be delimited otherwise or have other columns, as CC12M's (`caption_tables`). The rows are those of the
tables, or without one those of img2dataset. Among millions of urls some thousand have
another one's CRC-32: of those only a download with its row, counted from 0, in its name is taken.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from pipeline.artifacts.schema import Reason
from pipeline.machine.progress import track
from pipeline.sources import caption_tables, folders, img2dataset
from pipeline.sources.caption_tables import Entry, Layout, Table
from pipeline.sources.compact_strings import Lookup
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError

SOURCE = "conceptual_captions"
LICENCE = "as the page it is from"

_NO_IMAGES = (".tsv", ".csv", ".json", ".txt", ".tar", ".parquet")

Find = Callable[[str], tuple[File | None, str]]
"""Takes a url to its file, or to why there is none."""


def source_id(url: str) -> str:
    """`cc-` and 16 hex digits of the url's sha256."""
    return f"cc-{_number(url):016x}"


def crc32(url: str) -> str:
    """The decimal CRC-32 by which the usual download script names its files."""
    return str(zlib.crc32(url.encode()))


def read(folder: Path) -> Iterator[Row | Held]:
    """Every row of the tables, or of img2dataset's shards; rows of the same url are captions of one image.

    Raises:
        SourceError: there is neither.
    """
    paths = sorted(folder.glob("[!.]*.tsv")) or sorted(folder.glob("[!.]*.csv"))
    tables = [caption_tables.find(path, _OWN) for path in paths]
    shards = img2dataset.shards(folder)
    if tables:
        find = yield from _finder(folder, shards, tables)
        for table in tables:
            yield from _table(table, find)
    elif shards:
        for shard in shards:
            yield from _shard(folder, shard)
    else:
        raise SourceError(
            f"{SOURCE}: found no *.tsv or *.csv in {folder}, nor shards of img2dataset below it; expected rows of "
            "caption<TAB>url, or 00000.tar or 00000/ with 00000.parquet"
        )


def _number(url: str) -> int:
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:8])


def _table(table: Table, find: Find) -> Iterator[Row | Held]:
    for entry in table.read():
        if isinstance(entry, Held):
            yield entry
            continue
        if not entry.key:
            yield Rejected("caption", "", entry.place, Reason.MALFORMED_ROW, f"expected {_OWN.expected}")
            continue
        identity = source_id(entry.key)
        file, note = find(entry.key)
        yield Image(identity, file, licence=LICENCE, url=entry.key, note=note)
        yield Caption(identity, entry.text, entry.place)


def _row(line: bytes) -> tuple[str, bytes] | None:
    """The url and the caption; None if there is no url, or there are more columns."""
    caption, _, address = line.partition(b"\t")
    try:
        url = address.decode().strip()
    except UnicodeDecodeError:
        return None
    return (url, caption) if url and "\t" not in url and "\r" not in url else None


_OWN = Layout(
    expected="caption<TAB>url",
    parse=_row,
    delimiter="\t",
    columns=("caption", "image"),
    key=re.compile(r"\s*([a-z][a-z0-9+.-]*://\S+)\s*", re.IGNORECASE),
    names=re.compile(
        r"(?:image|img|photo|picture)?[ _-]?(?:url|link|uri|src)s?|(?:image|img)[ _-]?(?:path)?", re.IGNORECASE
    ),
)


def _rows_of_shared_crcs(tables: list[Table]) -> dict[int, list[int]]:
    """Of urls that have a CRC-32 in common with another one, by `_number`: their rows, from 0, in any table."""
    crcs, numbers, rows = array("Q"), array("Q"), array("Q")
    for table in tables:
        for entry in track(table.read(), "read urls", unit="rows"):
            if isinstance(entry, Entry) and entry.key:
                crcs.append(zlib.crc32(entry.key.encode()))
                numbers.append(_number(entry.key))
                rows.append(entry.row)
    if not rows:
        return {}
    crc, number, row = (np.frombuffer(column, np.uint64) for column in (crcs, numbers, rows))
    order = np.lexsort((number, crc))
    crc, number, row = crc[order], number[order], row[order]
    shared = np.isin(crc, crc[1:][(crc[1:] == crc[:-1]) & (number[1:] != number[:-1])])
    found: dict[int, list[int]] = {}
    for url_number, place in zip(number[shared].tolist(), row[shared].tolist(), strict=True):
        found.setdefault(url_number, []).append(place)
    return found


def _shard(folder: Path, shard: str) -> Iterator[Row | Held]:
    for record in img2dataset.read(folder, shard):
        if isinstance(record, Rejected | Held):
            yield record
            continue
        identity = source_id(record.url)
        yield Image(identity, record.file, licence=LICENCE, url=record.url, note=record.note)
        for place, caption in img2dataset.captions(record):
            try:
                text = caption.read() if isinstance(caption, File) else caption
            except OSError as error:
                yield Rejected("caption", identity, place, Reason.MALFORMED_ROW, str(error))
                continue
            if isinstance(text, str | bytes):
                yield Caption(identity, text, place)
            else:
                reason = f"expected text, found {text!r:.200}"
                yield Rejected("caption", identity, place, Reason.MALFORMED_ROW, reason)


def _finder(folder: Path, shards: list[str], tables: list[Table]) -> Generator[Rejected | Held, None, Find]:
    """Yield what cannot be read of the shards, whose captions are not asked for.

    Returns:
        a `Find`, which asks downloads by name before the shards.
    """
    named, recorded = Lookup(), Lookup()
    for name in folders.below(folder):
        crc = _crc_of(name)
        if crc is not None:
            named.add(crc, name)
    for shard in shards:
        for record in img2dataset.read(folder, shard):
            if isinstance(record, Held):
                continue
            if isinstance(record, Rejected):
                yield Held(int(record.kind == "caption"), record.place)
                yield record
            elif record.file is None:
                recorded.add(_number(record.url), f"\0\0\0{record.note}")
            else:
                path = record.file.path.removeprefix(f"{folder}/")
                length = "" if record.file.length is None else record.file.length
                recorded.add(_number(record.url), f"{path}\0{record.file.offset}\0{length}\0")

    shared = _rows_of_shared_crcs(tables) if len(named) else {}

    def find(url: str) -> tuple[File | None, str]:
        crc = zlib.crc32(url.encode())
        names, note = named.find(crc), f"no download is named {crc}"
        if rows := shared.get(_number(url)):
            wanted = {f"{row}_{crc}" for row in rows}
            names = [name for name in names if _stem(name) in wanted]
            note = f"another url has this one's CRC-32, and no download is named {min(wanted)}"
        if names:
            return File(f"{folder}/{min(names)}"), ""
        for entry in recorded.find(_number(url)):
            path, offset, length, why = entry.split("\0", maxsplit=3)
            if path:
                return File(f"{folder}/{path}", int(offset), int(length) if length else None), ""
            note = why
        return None, note

    return find


def _crc_of(name: str) -> int | None:
    """The CRC-32 in a download's name, if it is one."""
    digits = _stem(name).rpartition("_")[2]
    if not (digits.isascii() and digits.isdecimal()) or name.endswith(_NO_IMAGES):
        return None
    crc = int(digits) if len(digits) <= 10 else -1
    # A number with leading zeros is no CRC but a KEY of img2dataset.
    return crc if str(crc) == digits and crc < 2**32 else None


def _stem(name: str) -> str:
    """A file's name without folder and extension."""
    stem, dot, rest = name.rpartition("/")[2].rpartition(".")
    return stem if dot else rest


CORPUS = Corpus(
    read=read,
    title="Conceptual Captions",
    citation="Sharma et al., Conceptual Captions: A Cleaned, Hypernymed, Image Alt-text Dataset, ACL 2018",
    terms="captions for any purpose with acknowledgement of Google LLC; images belong to the pages they are from",
    identify=lambda name: source_id(name) if "://" in name else name,
)
