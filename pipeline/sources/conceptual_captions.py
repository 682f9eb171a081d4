"""Conceptual Captions: TSV files `caption<TAB>url` with whatever could be downloaded, or img2dataset's output.

    Train_GCC-training.tsv              any *.tsv; `caption<TAB>url` may stand above as a header
    <crc32(url)>, <row>_<crc32(url)>    downloads, with any extension, anywhere below the folder
    00000.tar, 00000.parquet            img2dataset's shards, anywhere below the folder

The rows are those of the TSV files, or without one those of img2dataset. Among millions of urls some thousand have
another one's CRC-32: of those only a download with its row, counted from 0, in its name is taken.
"""

from __future__ import annotations

import hashlib
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from pipeline.progress import track
from pipeline.schema import Reason
from pipeline.sources import folders, img2dataset
from pipeline.sources.lines import lines
from pipeline.sources.lookup import Lookup
from pipeline.sources.rows import Caption, Corpus, File, Image, Rejected, Row, SourceError

SOURCE = "conceptual_captions"
LICENCE = "as the page it is from"

_HEADER = b"caption\turl"
_NO_IMAGES = (".tsv", ".json", ".txt", ".tar", ".parquet")

Find = Callable[[str], tuple[File | None, str]]
"""Takes a url to its file, or to why there is none."""


def source_id(url: str) -> str:
    """`cc-` and 16 hex digits of the url's sha256."""
    return f"cc-{_number(url):016x}"


def crc32(url: str) -> str:
    """The decimal CRC-32 by which the usual download script names its files."""
    return str(zlib.crc32(url.encode()))


def read(folder: Path) -> Iterator[Row]:
    """Every row of the TSV files, or of img2dataset's shards; rows of the same url are captions of one image.

    Raises:
        SourceError: there is neither.
    """
    tables = sorted(folder.glob("[!.]*.tsv"))
    shards = img2dataset.shards(folder)
    if tables:
        find = yield from _finder(folder, shards, tables)
        for path in tables:
            yield from _table(path, find)
    elif shards:
        for shard in shards:
            yield from _shard(folder, shard)
    else:
        raise SourceError(
            f"{SOURCE}: found no *.tsv in {folder}, nor shards of img2dataset below it; expected rows of "
            "caption<TAB>url, or 00000.tar or 00000/ with 00000.parquet"
        )


def _number(url: str) -> int:
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:8])


def _table(path: Path, find: Find) -> Iterator[Row]:
    for number, line in lines(path):
        if number == 1 and line == _HEADER:
            continue
        place = f"{path.name}:{number}"
        text, _, address = line.partition(b"\t")
        url = _url(address)
        if not url:
            yield Rejected("caption", "", place, Reason.MALFORMED_ROW, "expected caption<TAB>url")
            continue
        identity = source_id(url)
        file, note = find(url)
        yield Image(identity, file, licence=LICENCE, url=url, note=note)
        yield Caption(identity, text, place)


def _url(address: bytes) -> str:
    """The second column of a row; empty if there is none, or more columns."""
    try:
        url = address.decode().strip()
    except UnicodeDecodeError:
        return ""
    return "" if "\t" in url else url


def _rows_of_shared_crcs(tables: list[Path]) -> dict[int, list[int]]:
    """Of urls that have a CRC-32 in common with another one, by `_number`: their rows, from 0, in any table."""
    crcs, numbers, rows = array("Q"), array("Q"), array("Q")
    for path in tables:
        for line_number, line in track(lines(path), "read urls", unit="rows"):
            if url := _url(line.partition(b"\t")[2]):
                crcs.append(zlib.crc32(url.encode()))
                numbers.append(_number(url))
                rows.append(line_number - 1)
    if not rows:
        return {}
    crc, number, row = (np.frombuffer(own, np.uint64) for own in (crcs, numbers, rows))
    order = np.lexsort((number, crc))
    crc, number, row = crc[order], number[order], row[order]
    shared = np.isin(crc, crc[1:][(crc[1:] == crc[:-1]) & (number[1:] != number[:-1])])
    found: dict[int, list[int]] = {}
    for own, place in zip(number[shared].tolist(), row[shared].tolist(), strict=True):
        found.setdefault(own, []).append(place)
    return found


def _shard(folder: Path, shard: str) -> Iterator[Row]:
    for record in img2dataset.read(folder, shard):
        if isinstance(record, Rejected):
            yield record
            continue
        identity = source_id(record.url)
        yield Image(identity, record.file, licence=LICENCE, url=record.url, note=record.note)
        try:
            text = record.caption.read() if isinstance(record.caption, File) else record.caption
        except OSError as error:
            yield Rejected("caption", identity, record.place, Reason.MALFORMED_ROW, str(error))
        else:
            if text is not None:
                yield Caption(identity, text, record.place)


def _finder(folder: Path, shards: list[str], tables: list[Path]) -> Generator[Rejected, None, Find]:
    """Yield what cannot be read of the shards; return a `Find`, which asks downloads by name before the shards."""
    named, recorded = Lookup(), Lookup()
    for name in folders.below(folder):
        crc = _crc_of(name)
        if crc is not None:
            named.add(crc, name)
    for shard in shards:
        for record in img2dataset.read(folder, shard):
            if isinstance(record, Rejected):
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
            own = {f"{row}_{crc}" for row in rows}
            names = [name for name in names if _stem(name) in own]
            note = f"another url has this one's CRC-32, and no download is named {min(own)}"
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
)
