"""The register of corpora: one file each, one function each, imported here.

A reader takes a source's folder and yields every row of it: an `Image`, a `Caption` or a `Rejected`, and says with
`Held` how many captions a file or an entry of it has, so that none can be lost on the way. To add a corpus,
write `read(folder)` and what must be said of it, a `CORPUS`, in a file of its own, and import it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.sources import conceptual_captions as conceptual_captions
from pipeline.sources import flickr30k as flickr30k
from pipeline.sources import folder as folder
from pipeline.sources import huggingface as huggingface
from pipeline.sources import img2dataset as img2dataset
from pipeline.sources import mscoco as mscoco
from pipeline.sources import side_files
from pipeline.sources import table as table
from pipeline.sources import webdataset as webdataset
from pipeline.sources.recognition import ORDER, Folder, Recognised
from pipeline.sources.rows import Corpus, Row, SourceError, accounted

CORPORA: dict[str, Corpus] = {name: file.CORPUS for name, file in list(globals().items()) if hasattr(file, "CORPUS")}
"""Every kind of source by the name of its file, as imported above."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that can be read: what kind it is of, where it lies, and what else its reader is told.

    Attributes:
        beside: side files by column, below `path`.
    """

    kind: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[side_files.ColumnName, Sequence[str]] = field(default_factory=dict)


def recognised(path: Path) -> Iterator[Recognised]:
    """Every kind that a folder may be of, the likeliest first."""
    folder = Folder(path)
    for name in sorted(CORPORA, key=lambda kind: ORDER.index(kind) if kind in ORDER else -1):
        recognise = CORPORA[name].recognise
        if recognise and (found := recognise(folder)):
            yield found


def read(source: Source, name: str = "") -> Iterator[Row]:
    """Every row of one source, and of its side files.

    Args:
        name: what it is called in params.yaml, if not as its kind.

    Raises:
        SourceError: the folder or one of its files is missing or not in the expected layout.
    """
    kind, path, name = source.kind, source.path, name or source.kind
    if kind not in CORPORA:
        raise SourceError(f"unknown kind of source {kind!r}; there are {', '.join(CORPORA)}")
    corpus = CORPORA[kind]
    if not (path.is_dir() or (corpus.is_file and path.is_file()) or source.options.get("dataset")):
        raise SourceError(
            f"{name}: no folder {path}. Put it there (docs/your-data.md) or take {name} out of "
            "sources.of in params.yaml"
        )
    beside = (
        row
        for column, files in source.beside.items()
        for row in side_files.read(column, name, files, path if path.is_dir() else path.parent, corpus.identify)
    )
    options = dict(source.options)
    if corpus.sees_beside:
        options["beside"] = frozenset(file for files in source.beside.values() for file in files)
    return accounted(chain(corpus.read(path, **options), beside))
