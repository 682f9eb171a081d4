"""The register of corpora: one file each, one function each, imported here.

A reader takes a corpus's folder and yields every row of it: an `Image`, a `Caption` or a `Rejected`, and says with
`Held` how many captions a file or an entry of it has, so that none can be lost on the way. To add a corpus,
write `read(folder)` and what must be said of it, a `CORPUS`, in a file of its own, and import it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from pipeline.sources import conceptual_captions as conceptual_captions
from pipeline.sources import flickr30k as flickr30k
from pipeline.sources import mscoco as mscoco
from pipeline.sources import side_files
from pipeline.sources.rows import Corpus, Row, SourceError, accounted

CORPORA: dict[str, Corpus] = {name: file.CORPUS for name, file in list(globals().items()) if hasattr(file, "CORPUS")}
"""Every corpus by the name of its file, as imported above."""


def read(
    source: str, folder: Path, columns: Mapping[side_files.ColumnName, Sequence[str]] | None = None
) -> Iterator[Row]:
    """Every row of one corpus, and of its side files.

    Args:
        columns: side files by column, below `folder`.

    Raises:
        SourceError: the folder or one of its files is missing or not in the expected layout.
    """
    if source not in CORPORA:
        raise SourceError(f"unknown corpus {source!r}; there are {', '.join(CORPORA)}")
    if not folder.is_dir():
        raise SourceError(
            f"{source}: no folder {folder}. Put the corpus there (docs/your-data.md) or take it out of "
            "sources.quota in params.yaml"
        )
    corpus = CORPORA[source]
    beside = (
        row
        for column, files in (columns or {}).items()
        for row in side_files.read(column, source, files, folder, corpus.identify)
    )
    return accounted(chain(corpus.read(folder), beside))
