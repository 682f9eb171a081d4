"""Tars as WebDataset has them: KEY.jpg (or png, webp, ...) with KEY.txt or KEY.json, in any tars below a folder.

A caption is KEY.txt, or fields of KEY.json, which may hold lists; ids, urls, licences and splits are fields of KEY.json
(`columns`; the id may be `__key__`). Without an id a sample is known by its tar and its key, since two tars may use one
key. Tars of `val` or `test` (`columns.published`) are kept out of training. How files become samples, of damaged and
joined tars too: `samples`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Reason
from pipeline.images.formats import ENDINGS
from pipeline.sources import folders
from pipeline.sources.columns import TOLD, Columns, published
from pipeline.sources.entries import Entry, Missing, Reader, identify
from pipeline.sources.json_arrays import printable
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Corpus, Held, Rejected, Row, SourceError
from pipeline.sources.samples import Sample, Samples

_IMAGE, _TEXT, _KEY = "__image__", "txt", "__key__"
"""What the members of a sample and its key are called among the fields of its record."""
_MOST_RECORDS = 1000
"""Kinds of records, by their fields, of which is remembered what is what."""


def read(path: Path, columns: Columns = TOLD) -> Iterator[Row | Held]:
    """Every sample of the tars below a folder, or of one tar, each an image and its captions.

    Raises:
        SourceError: there is no tar.
    """
    root = path if path.is_dir() else path.parent
    names = [path.name] if path.is_file() else sorted(n for n in folders.below(path) if n.endswith(".tar"))
    if not names or not names[0].endswith(".tar"):
        raise SourceError(f"found no *.tar at {path} or below it; expected shards such as 00000.tar, not packed")

    @lru_cache(_MOST_RECORDS)
    def told(fields: tuple[str, ...]) -> Columns:
        return replace(columns.told(fields), path="", bytes=_IMAGE)

    for name in names:
        shard = name[: -len(".tar")]
        samples, split = Samples(root / shard), published(name)
        for gap in samples.gaps:
            yield Rejected("image", "", name, Reason.MALFORMED_ROW, gap)
        seen: Counter[str] = Counter()
        for sample in samples.all:
            seen[sample.key] += 1
            place = f"{name}#{printable(sample.key)}" + (f"({seen[sample.key]})" if seen[sample.key] > 1 else "")
            cells, fault = _cells(sample)
            known = told(tuple(cells))
            if _TEXT in cells and not columns.captions:
                known = replace(known, captions=(_TEXT,))
            yield from Reader(known, str(root), split=split).rows(Entry(cells, place, fault))


def _cells(sample: Sample) -> tuple[dict[str, Any], str]:
    """What a sample holds by name, and why its record cannot be read, if it cannot."""
    parts = sample.parts
    cells: dict[str, Any] = {}
    fault = ""
    if "json" in parts:
        try:
            record = sample.record()
            if isinstance(record, dict):
                cells |= record
            else:
                fault = f"{sample.key}.json: expected an object, found {record!r:.100}"
        except (OSError, ValueError, RecursionError) as error:
            fault = f"{sample.key}.json: {error}"
    if _TEXT in parts:
        cells[_TEXT] = parts[_TEXT]
    image = next((parts[extension] for extension in ENDINGS if extension in parts), None)
    cells[_IMAGE] = image or Missing(sample.doubt or f"there is no image {sample.key}")
    cells[_KEY] = sample.key
    return cells, printable(fault)


def recognise(folder: Folder) -> Recognised | None:
    """Any tars."""
    by = folder.matching("*.tar") or folder.matching("*/*.tar")
    return Recognised("webdataset", tuple(by[:3])) if by else None


CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="tars of images and captions",
    citation="",
    is_file=True,
    terms="as each record says; nothing is known where it says nothing",
    identify=identify,
)
