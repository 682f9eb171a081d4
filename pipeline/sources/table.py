"""A table, or a folder of them: CSV, TSV, JSON lines, Parquet or Arrow, a row for every image or for every caption.

What stands in which column is told from the columns' names, or by `columns` in params.yaml. An image is a path,
relative to the table or to a folder `images` beside it; the bytes in a cell; or a url, of which the download is looked
for below the folder (`downloads`). Rows of one image, by path or url or by a column of ids, are its captions; a cell
may be a list of them. Images of a split `val` or `test`, by a column or by the file's name, are kept out of training.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.sources import downloads, folders, img2dataset
from pipeline.sources.columns import TOLD, Columns, Evaluation, is_split, listing, published
from pipeline.sources.entries import Entry, Reader, identify
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Corpus, Held, Row, SourceError
from pipeline.sources.text_tables import Delimited, JsonLines

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
_IMAGES = ("images", "imgs", "img", "image", "pictures", "photos")
"""Folders that paths may be relative to, beside the table."""
_HEAD = 100
"""Paths by which is told what they are relative to."""


class Table(Protocol):
    """A file that holds a table."""

    @property
    def path(self) -> Path:
        """Of the file."""

    @property
    def name(self) -> str:
        """Of the file, within its source."""

    @property
    def names(self) -> list[str]:
        """Of its columns."""

    @property
    def binary(self) -> tuple[str, ...]:
        """Those of its columns that hold bytes."""

    def entries(self, wanted: list[str]) -> Iterator[Entry]:
        """Every row, of its cells those of `wanted`."""


def read(path: Path, columns: Columns = TOLD, beside: Collection[str] = ()) -> Iterator[Row | Held]:
    """Every row of the tables, each an image and its captions.

    Args:
        path: a table, or a folder with tables of one form in it.
        beside: files in the folder that are no tables of this source.

    Raises:
        SourceError: there is none, or a column is missing.
    """
    yield from rows(_files(path, beside), path, columns)


def rows(
    files: list[Path], path: Path, columns: Columns, splits: Mapping[Path, Evaluation] | None = None
) -> Iterator[Row | Held]:
    """Every row of these tables, which are of one source at `path`; `splits` has those known otherwise than by name."""
    root = path if path.is_dir() else path.parent
    tables = [opened(file, file.relative_to(root).as_posix(), columns) for file in files]
    known = [told(table, columns) for table in tables]
    find = None
    if all(each.url and not each.path and not each.bytes for each in known):
        shards = [] if path.is_file() else img2dataset.shards(root)
        own = {table.name.rpartition(".")[0] for table in tables}
        urls = partial(_urls, tables, known)
        find = yield from downloads.finder(root, [shard for shard in shards if shard not in own], urls)
    for table, named in zip(tables, known, strict=True):
        split = (splits or {}).get(table.path) or published(table.name)
        folder = _relative_to(table, named, root) if named.path else str(table.path.parent)
        reader = Reader(named, folder, find, split)
        below = "" if folder == str(table.path.parent) or not named.path else f"; paths are relative to {folder}"
        kept = f"; all of it is for evaluation ({split})" if split else ""
        print(f"{table.path} is read as: {named}{below}{kept}", file=sys.stderr)
        for entry in table.entries(named.named()):
            yield from reader.rows(entry)


def told(table: Table, columns: Columns) -> Columns:
    """What the columns of a table hold; one that is but called `split` has to name splits.

    Raises:
        SourceError: a column is missing, or none says where the images are.
    """
    columns.check(table.names, table.path, table.binary)
    known = columns.told(table.names, table.binary)
    if not (known.path or known.url or known.bytes):
        raise SourceError(
            f"{table.path}: no column says which image a row is of; {listing(table.names)}. Name one in params.yaml: "
            "columns: {path: ...}, or url, or bytes"
        )
    if known.split and not columns.split:
        head = islice(table.entries([known.split]), _HEAD)
        if not any(is_split(entry.cells.get(known.split)) for entry in head):
            known = replace(known, split="")
    return known


def opened(path: Path, name: str, columns: Columns) -> Table:
    """A table by the ending of its name; `name` is what it is called in places.

    Raises:
        SourceError: it is damaged, or of another form.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        return Delimited.opened(path, name, columns.named())
    if ending in (".jsonl", ".ndjson"):
        return JsonLines.opened(path, name)
    if ending not in ENDINGS:
        raise SourceError(f"{path} is no table; expected a file that ends with {', '.join(ENDINGS)}")
    from pipeline.sources import arrow_tables  # pyarrow takes a while to load

    form = arrow_tables.ParquetTable if ending == ".parquet" else arrow_tables.ArrowTable
    return form.opened(path, name)


def _files(path: Path, beside: Collection[str]) -> list[Path]:
    """The tables at a path: itself, those in it, or if there are none there, those below it."""
    if path.is_file():
        return [path]
    found = [name for name in sorted(folders.names(path)) if _is_table(name) and name not in beside]
    found = found or sorted(name for name in folders.below(path) if _is_table(name) and name not in beside)
    if not found:
        others = Counter(Path(name).suffix or "no ending" for name in islice(folders.below(path), 10_000))
        there = ", ".join(f"{count} of {ending}" for ending, count in others.most_common(5)) or "nothing"
        raise SourceError(f"found no table in {path}, but {there}; expected files that end with {', '.join(ENDINGS)}")
    forms = {Path(name).suffix.lower(): name for name in reversed(found)}
    if len(forms) > 1:
        raise SourceError(
            f"{path} holds tables of several forms, {' and '.join(sorted(forms.values()))}; set this source's `path` "
            "to the one that counts"
        )
    return [path / name for name in found]


def _is_table(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.rpartition("/")[2].startswith(".")


def _relative_to(table: Table, columns: Columns, root: Path) -> str:
    """The folder in which the first paths of a table are found: its own, the source's, or one of images in these."""
    head = (entry.cells.get(columns.path) for entry in islice(table.entries([columns.path]), _HEAD))
    paths = [cell for cell in head if isinstance(cell, str) and "\0" not in cell]
    likely = [parent / name for parent in (table.path.parent, root) for name in ("", *_IMAGES)]
    hits = {folder: sum(os.path.isfile(folder / path) for path in paths) for folder in reversed(likely)}  # noqa: PTH113
    best = max(reversed(hits), key=hits.__getitem__)
    return str(best if hits[best] else table.path.parent)


def _urls(tables: list[Table], known: list[Columns]) -> Iterator[tuple[str, int]]:
    for table, columns in zip(tables, known, strict=True):
        for number, entry in enumerate(table.entries([columns.url])):
            cell = entry.cells.get(columns.url)
            if isinstance(cell, str) and cell.strip():
                yield cell.strip(), number


def recognise(folder: Folder) -> Recognised | None:
    """Any tables; which of their columns hold what is told when they are read."""
    by = [name for pattern in ("*.csv", "*.tsv", "*.jsonl", "*.parquet") for name in folder.matching(pattern)]
    return Recognised("table", tuple(by[:3])) if by else None


CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="a table of images and captions",
    citation="",
    is_file=True,
    sees_beside=True,
    terms="as each row says; nothing is known where it says nothing",
    identify=identify,
)
