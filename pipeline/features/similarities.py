"""How alike every image and caption are under every frozen CLIP, from the tables of the stage `features`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import catalog, tables
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import CLIPS, SIMILARITIES
from pipeline.artifacts.workspace import Workspace
from pipeline.machine.progress import track

_CHUNK = 4096
"""Images whose embeddings are in memory at a time."""


def write(ws: Workspace, clips: Sequence[str], place: Path) -> Path:
    """Write a table of `SIMILARITIES`; returns its path.

    A folder gets another table with every pass, since one pass embeds what the one before has left out; of a caption in
    several the last counts. The table of the same pass is written again.

    Args:
        clips: the base and teachers whose embeddings are taken.
        place: a path that ends with .parquet, or a folder.

    Raises:
        ContractError: an embedding table is missing or was made from something else.
    """
    manifest = ws.manifest()
    path = place if place.suffix == ".parquet" else _next(place, manifest.fingerprint)
    about: dict[str, Any] = {CLIPS: ",".join(clips), "manifest": manifest.fingerprint}
    tables.write_parquet(path, _rows(ws, manifest, clips), SIMILARITIES, **about)
    return path


def _next(folder: Path, fingerprint: str) -> Path:
    written = sorted(folder.glob("similarities-*.parquet"))
    if written:
        try:
            metadata = pq.read_schema(written[-1]).metadata or {}
        except (pa.ArrowException, OSError):
            return written[-1]  # it is damaged
        if metadata.get(b"manifest", b"").decode() == fingerprint:
            return written[-1]
    return folder / f"similarities-{len(written) + 1:04d}.parquet"


def _rows(ws: Workspace, manifest: Manifest, clips: Sequence[str]) -> Iterator[dict[str, Any]]:
    opened = [
        tuple(ws.table(table, manifest).rows_of(manifest.keys) for table in (of.images, of.captions))
        for of in map(catalog.tables_of, clips)
    ]
    first = 0
    parts = range(0, len(manifest), _CHUNK)
    for start in track(parts, "similarities", unit="parts"):
        rows = range(start, min(start + _CHUNK, len(manifest)))
        image_of = np.repeat(np.array(rows), [len(manifest.captions[row]) for row in rows])
        last = first + len(image_of)
        cosines = np.stack(
            [
                np.einsum("ij,ij->i", images[image_of], captions[first:last], dtype=np.float32)
                for images, captions in opened
            ],
            axis=1,
        )
        found = iter(cosines.tolist())
        for row in rows:
            sample = manifest.rows[row]
            for index, (caption, origin) in enumerate(zip(sample["captions"], sample["caption_origins"], strict=True)):
                of = {"key": sample["key"], "caption_index": index, "split": sample["split"]}
                yield of | {"origin": origin, "caption": caption, "cosines": next(found)}
        first = last
