"""Where the image of a url was downloaded to: files that are named by its CRC-32, and img2dataset's shards.

    <crc32(url)>, <row>_<crc32(url)>    downloads, with any extension, anywhere below the folder
    00000.tar, 00000.parquet            img2dataset's shards, anywhere below the folder

Among millions of urls some thousand have another one's CRC-32: of those only a download with its row, counted from 0,
in its name is taken.
"""

from __future__ import annotations

import hashlib
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from pipeline.machine.progress import track
from pipeline.sources import folders, img2dataset
from pipeline.sources.compact_strings import Lookup
from pipeline.sources.entries import Find
from pipeline.sources.rows import File, Held, Rejected

_NO_IMAGES = (".tsv", ".csv", ".json", ".txt", ".tar", ".parquet")

Urls = Callable[[], Iterator[tuple[str, int]]]


def number_of(url: str) -> int:
    """The first 64 bits of its sha256."""
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:8])


def finder(folder: Path, shards: list[str], urls: Urls) -> Generator[Rejected | Held, None, Find]:
    """Yield what cannot be read of the shards, whose captions are not asked for.

    Args:
        shards: of img2dataset, below the folder.
        urls: gives every url that will be asked for, with its row, each time from the beginning.

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
                recorded.add(number_of(record.url), f"\0\0\0{record.note}")
            else:
                path = record.file.path.removeprefix(f"{folder}/")
                length = "" if record.file.length is None else record.file.length
                recorded.add(number_of(record.url), f"{path}\0{record.file.offset}\0{length}\0")

    shared = _rows_of_shared_crcs(urls) if len(named) else {}

    def find(url: str) -> tuple[File | None, str]:
        crc = zlib.crc32(url.encode())
        names, note = named.find(crc), f"no download is named {crc}"
        if rows := shared.get(number_of(url)):
            wanted = {f"{row}_{crc}" for row in rows}
            names = [name for name in names if _stem(name) in wanted]
            note = f"another url has this one's CRC-32, and no download is named {min(wanted)}"
        if names:
            return File(f"{folder}/{min(names)}"), ""
        for entry in recorded.find(number_of(url)):
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


def _rows_of_shared_crcs(urls: Urls) -> dict[int, list[int]]:
    """Of urls that have a CRC-32 in common with another one, by `number_of`: their rows, from 0, in any table."""
    crcs, numbers, rows = array("Q"), array("Q"), array("Q")
    for url, place in track(urls(), "read urls", unit="rows"):
        crcs.append(zlib.crc32(url.encode()))
        numbers.append(number_of(url))
        rows.append(place)
    if not rows:
        return {}
    crc, number, row = (np.frombuffer(column, np.uint64) for column in (crcs, numbers, rows))
    order = np.lexsort((number, crc))
    crc, number, row = crc[order], number[order], row[order]
    shared = np.isin(crc, crc[1:][(crc[1:] == crc[:-1]) & (number[1:] != number[:-1])])
    found: dict[int, list[int]] = {}
    for known, place in zip(number[shared].tolist(), row[shared].tolist(), strict=True):
        found.setdefault(known, []).append(place)
    return found
