"""Conceptual Captions: TSV files `caption<TAB>url` and a folder of whatever could be downloaded."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.schema import Reason, make_key
from pipeline.sources.rows import Caption, Rejected, Row, Sample, SourceError

SOURCE = "conceptual_captions"
LICENCE = "as the page it is from"


def source_id(url: str) -> str:
    """`cc-` and 16 hex digits of the url's sha256."""
    return "cc-" + hashlib.sha256(url.encode()).hexdigest()[:16]


def crc32(url: str) -> str:
    """The decimal CRC-32 by which the usual download script names its files."""
    return str(zlib.crc32(url.encode()) & 0xFFFFFFFF)


def read(folder: Path) -> Iterator[Row]:
    """Every url of all *.tsv files; rows of the same url are captions of one image.

    An image is found as `<crc32(url)>` or `<row>_<crc32(url)>`, with any extension, anywhere below the folder.
    """
    tables = sorted(folder.glob("*.tsv"))
    if not tables:
        raise SourceError(f"{SOURCE}: no *.tsv in {folder}; expected rows of caption<TAB>url")
    downloads: dict[str, Path] = {}
    for found in sorted(folder.rglob("*")):
        if found.suffix not in (".tsv", ".json", ".txt") and found.is_file():
            downloads.setdefault(found.stem.rpartition("_")[2], found)
    captions: dict[str, list[Caption]] = {}
    for path in tables:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                place = f"{path.name}:{number}"
                raw, tab, address = line.rstrip(b"\r\n").partition(b"\t")
                url = address.decode("utf-8", errors="replace").strip()
                if not tab or not url or "\t" in url:
                    yield Rejected("caption", "", SOURCE, place, Reason.MALFORMED_ROW, "expected caption<TAB>url")
                    continue
                own = captions.setdefault(url, [])
                try:
                    own.append(Caption(raw.decode("utf-8"), place))
                except UnicodeDecodeError as error:
                    key = make_key(SOURCE, source_id(url))
                    yield Rejected("caption", key, SOURCE, place, Reason.NOT_UTF8, str(error))
    for url, texts in captions.items():
        identity = source_id(url)
        yield Sample(
            key=make_key(SOURCE, identity), source=SOURCE, source_id=identity, path=downloads.get(crc32(url)),
            captions=tuple(texts), licence=LICENCE, url=url,
        )  # fmt: skip
