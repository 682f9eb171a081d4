"""The corpora as they are downloaded: one file each, one function each, registered here.

A reader takes a corpus's folder and yields every row of it, as a `Sample` or as a `Rejected`. To add a corpus,
write `read(folder)` in a file of its own and add it to `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.sources import conceptual_captions, flickr30k, mscoco
from pipeline.sources.rows import Caption, Rejected, Row, Sample, SourceError

Reader = Callable[[Path], Iterator[Row]]

READERS: dict[str, Reader] = {
    "mscoco": mscoco.read,
    "flickr30k": flickr30k.read,
    "conceptual_captions": conceptual_captions.read,
}

__all__ = ["READERS", "Caption", "Reader", "Rejected", "Row", "Sample", "SourceError", "read"]


def read(source: str, folder: Path) -> Iterator[Row]:
    """Every row of one corpus.

    Raises:
        SourceError: the folder or one of its files is missing or not in the expected layout.
    """
    if source not in READERS:
        raise SourceError(f"unknown corpus {source!r}; there are {', '.join(READERS)}")
    if not folder.is_dir():
        raise SourceError(
            f"{source}: no folder {folder}. Put the corpus there (README, 'Your own data') or take it out of "
            "sources.quota in params.yaml"
        )
    return READERS[source](folder)
