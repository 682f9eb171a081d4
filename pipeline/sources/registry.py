"""The register of corpora: one file each, one function each, imported here.

A reader takes a corpus's folder and yields every row of it: an `Image`, a `Caption` or a `Rejected`, and says with
`Held` how many captions a file or an entry of it has, so that none can be lost on the way. To add a corpus,
write `read(folder)` and what must be said of it, a `CORPUS`, in a file of its own, and import it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources import conceptual_captions as conceptual_captions
from pipeline.sources import flickr30k as flickr30k
from pipeline.sources import mscoco as mscoco
from pipeline.sources.rows import Corpus, Row, SourceError, accounted

CORPORA: dict[str, Corpus] = {name: file.CORPUS for name, file in list(globals().items()) if hasattr(file, "CORPUS")}
"""Every kind of source by the name of its file, as imported above."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that can be read: what kind it is of, and where it lies."""

    kind: str
    path: Path


def read(kind: str, folder: Path, name: str = "") -> Iterator[Row]:
    """Every row of one source; `name` is what it is called in params.yaml, if not as its kind.

    Raises:
        SourceError: the folder or one of its files is missing or not in the expected layout.
    """
    if kind not in CORPORA:
        raise SourceError(f"unknown kind of source {kind!r}; there are {', '.join(CORPORA)}")
    if not folder.is_dir():
        raise SourceError(
            f"{name or kind}: no folder {folder}. Put it there (docs/your-data.md) or take {name or kind} out of "
            "sources.of in params.yaml"
        )
    return accounted(CORPORA[kind].read(folder))
