"""The register of corpora: one file each, one function each, imported here.

A reader takes a source's folder and yields every row of it: an `Image`, a `Caption` or a `Rejected`, and says with
`Held` how many captions a file or an entry of it has, so that none can be lost on the way. To add a corpus,
write `read(folder)` and what must be said of it, a `CORPUS`, in a file of its own, and import it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.sources import conceptual_captions as conceptual_captions
from pipeline.sources import flickr30k as flickr30k
from pipeline.sources import folder as folder
from pipeline.sources import huggingface as huggingface
from pipeline.sources import img2dataset as img2dataset
from pipeline.sources import mscoco as mscoco
from pipeline.sources import table as table
from pipeline.sources import webdataset as webdataset
from pipeline.sources.rows import Corpus, Row, SourceError, accounted

CORPORA: dict[str, Corpus] = {name: file.CORPUS for name, file in list(globals().items()) if hasattr(file, "CORPUS")}
"""Every kind of source by the name of its file, as imported above."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that can be read: what kind it is of, where it lies, and what else its reader is told."""

    kind: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)


def read(kind: str, path: Path, name: str = "", **options: Any) -> Iterator[Row]:
    """Every row of one source.

    Args:
        name: what it is called in params.yaml, if not as its kind.
        options: what else its reader takes.

    Raises:
        SourceError: the folder or one of its files is missing or not in the expected layout.
    """
    if kind not in CORPORA:
        raise SourceError(f"unknown kind of source {kind!r}; there are {', '.join(CORPORA)}")
    corpus = CORPORA[kind]
    if not (path.is_dir() or (corpus.is_file and path.is_file()) or options.get("dataset")):
        raise SourceError(
            f"{name or kind}: no folder {path}. Put it there (docs/your-data.md) or take {name or kind} out of "
            "sources.of in params.yaml"
        )
    return accounted(corpus.read(path, **options))
