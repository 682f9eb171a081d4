"""Conceptual Captions: TSV files `caption<TAB>url` with whatever could be downloaded, or img2dataset's output.

    Train_GCC-training.tsv              any *.tsv, or without one any *.csv; a header may stand above
    <crc32(url)>, <row>_<crc32(url)>    downloads, with any extension, anywhere below the folder
    00000.tar, 00000.parquet            img2dataset's shards, anywhere below the folder

Tables may be delimited otherwise or have other columns, as CC12M's (`caption_tables`). The rows are those of the
tables, or without one those of img2dataset. How a download is found for its url: `downloads`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from pipeline.artifacts.schema import Reason
from pipeline.sources import caption_tables, downloads, img2dataset
from pipeline.sources.caption_tables import Entry, Layout, Table
from pipeline.sources.entries import Find
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Caption, Corpus, Held, Image, Rejected, Row, SourceError

SOURCE = "conceptual_captions"
LICENCE = "as the page it is from"

_DOWNLOAD = re.compile(r"(?:\d+_)?\d{1,10}\.\w+")
_BEGINNING = 1 << 16
"""Bytes in which a table shows whether it has urls."""


def source_id(url: str) -> str:
    """`cc-` and 16 hex digits of the url's sha256."""
    return f"cc-{downloads.number_of(url):016x}"


def crc32(url: str) -> str:
    """The decimal CRC-32 by which the usual download script names its files."""
    return str(zlib.crc32(url.encode()))


def read(folder: Path, beside: Collection[str] = ()) -> Iterator[Row | Held]:
    """Every row of the tables, or of img2dataset's shards; rows of the same url are captions of one image.

    Args:
        beside: files in the folder that are no tables of captions.

    Raises:
        SourceError: there is neither.
    """
    likely = (sorted(folder.glob(f"[!.]*.{ending}")) for ending in ("tsv", "csv"))
    paths = next(filter(None, ([path for path in found if path.name not in beside] for found in likely)), [])
    tables = [caption_tables.find(path, _OWN) for path in paths]
    shards = img2dataset.shards(folder)
    if tables:
        find = yield from downloads.finder(folder, shards, partial(_urls, tables))
        for table in tables:
            yield from _table(table, find)
    elif shards:
        for shard in shards:
            yield from img2dataset.rows(folder, shard, source_id, LICENCE)
    else:
        raise SourceError(
            f"{SOURCE}: found no *.tsv or *.csv in {folder}, nor shards of img2dataset below it; expected rows of "
            "caption<TAB>url, or 00000.tar or 00000/ with 00000.parquet"
        )


def recognise(folder: Folder) -> Recognised | None:
    """Tables of captions and urls, with or without downloads."""
    tables = [name for name in folder.matching("*.tsv") or folder.matching("*.csv") if _has_url(folder.path / name)]
    if not tables:
        return None
    downloads = any(map(_DOWNLOAD.fullmatch, folder.names)) or folder.matching("*/*.*")
    shards = folder.matching("*.tar") or folder.matching("*.parquet")
    lacking = () if downloads or shards else ("the images: dclip fetch conceptual_captions says how to get them",)
    return Recognised(SOURCE, tuple(tables), lacking)


def _has_url(path: Path) -> bool:
    """Whether a url stands in one of the first rows of a file."""
    with path.open("rb") as stream:
        beginning = stream.read(_BEGINNING)
    return re.search(rb"(?:^|[\t,;|\"'])\s*https?://\S", beginning, re.IGNORECASE | re.MULTILINE) is not None


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


def _urls(tables: list[Table]) -> Iterator[tuple[str, int]]:
    for table in tables:
        for entry in table.read():
            if isinstance(entry, Entry) and entry.key:
                yield entry.key, entry.row


CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="Conceptual Captions",
    citation="Sharma et al., Conceptual Captions: A Cleaned, Hypernymed, Image Alt-text Dataset, ACL 2018",
    sees_beside=True,
    terms="captions for any purpose with acknowledgement of Google LLC; images belong to the pages they are from",
    identify=lambda name: source_id(name) if "://" in name else name,
)
