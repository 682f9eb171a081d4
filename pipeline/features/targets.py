"""A teacher's embeddings of what trains, taken from its tables as they are and aligned with the training manifest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.spans import span_rows
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, Table
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance

CODE = "clip targets 1"
_CHUNK = 8192
_TOLD = ("weights", "scale", "preprocessing", "dimension", "normalised", "dtype", "features")


@dataclass(frozen=True)
class Selected:
    """Rows of a teacher's table that are targets.

    Attributes:
        to: the table of targets that they make.
        table: the teacher's.
        rows: of it, int64.
        keys: of theirs, if they are others than in the table and there is no other index.
    """

    to: Artifact
    table: Table
    rows: NDArray[np.int64]
    keys: list[str] | None = None


class Trained:
    """What trains, among the rows of a teacher's tables.

    Args:
        manifest: all samples.
        train: those that train.
        spans: of all captions.
    """

    def __init__(self, ws: Workspace, manifest: Manifest, train: Manifest, spans: Table) -> None:
        self.ws, self.manifest, self.train, self.spans = ws, manifest, train, spans

    @cached_property
    def _phrases(self) -> tuple[list[str], NDArray[np.int64]]:
        """The distinct phrases of the training captions, and a row of each among all phrases."""
        training, found, row = set(self.train.keys), dict[str, int](), 0
        for group in span_rows(self.manifest, self.spans, SpanKind.PHRASES):
            for key, _, _, text, _ in group:
                if key in training:
                    found.setdefault(text, row)
                row += 1
        return list(found), np.array(list(found.values()), dtype=np.int64)

    def select(self, teacher: str) -> list[Selected]:
        """The rows of all tables of a teacher's targets, in the order of `TargetTables.all`.

        Raises:
            ContractError: a table is missing, or was made from something else than the others.
        """
        given, to = catalog.tables_of(teacher), catalog.targets_of(teacher)
        assert given.views is not None, f"{teacher} has no table of views"
        images = self.ws.table(given.images, self.manifest)
        origin = {name: images.metadata[name] for name in ("weights", "features")}
        others = (given.views, given.regions, given.captions, given.spans[SpanKind.PHRASES])
        views, regions, captions, phrases = (self.ws.table(other, self.manifest, **origin) for other in others)
        if (read := phrases.json("inputs").get("spans")) != self.spans.metadata["fingerprint"]:
            raise ContractError(
                f"{phrases.path} was made from spans {read}, expected {self.spans.metadata['fingerprint']}; "
                "run: dvc repro features"
            )
        columns = self.ws.table(given.columns, self.manifest, **origin)
        crops = _rows(regions.places(self.train.keys))
        crops = crops[regions.integers("region_index")[crops] > 0]
        texts, rows = self._phrases
        return [
            Selected(to.images, images, _rows(images.places(self.train.keys))),
            Selected(to.views, views, np.arange(len(views))),
            Selected(to.crops, regions, crops),
            Selected(to.captions, captions, _rows(captions.places(self.train.captioned))),
            Selected(to.phrases, phrases, rows, texts),
            Selected(to.columns, columns, np.arange(len(columns))),
        ]

    def write(self, teacher: str) -> dict[str, Any]:
        """Copy the rows of a teacher's tables that train, float16 as they are.

        Returns:
            its weights, and how many rows each table has.

        Raises:
            ContractError: as `select`.
        """
        every = self.select(teacher)
        for selected in every:
            self._copy(selected, teacher)
        counts = {Path(selected.to.path).stem: len(selected.rows) for selected in every}
        return {"weights": every[0].table.metadata["weights"], **counts}

    def _copy(self, selected: Selected, teacher: str) -> None:
        table, rows, keys = selected.table, selected.rows, selected.keys
        told = {name: table.metadata[name] for name in _TOLD}
        metadata = provenance(
            "clip targets",
            code=CODE,
            manifest=self.train.fingerprint,
            inputs={"weights": told["weights"], "features": table.metadata["fingerprint"]},
            parameters={"scale": float(told["scale"])},
            teacher=teacher,
            made_from=table.json("inputs"),
            model=table.metadata["model"],
            **told,
        )
        index = [table.columns[name] for name in table.columns.schema.names[:-1]]
        vectors, columns = table.vectors(), selected.to.columns
        assert callable(columns), f"{selected.to.path} has columns of any dimension"
        with EmbeddingWriter(self.ws.path(selected.to), columns(dimension=vectors.shape[1]), metadata) as writer:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                if keys is None:
                    named = [column.take(pa.array(part)).to_pylist() for column in index]
                else:
                    named = [keys[start : start + _CHUNK]]
                writer.write(*named, vectors[part])


def _rows(places: slice) -> NDArray[np.int64]:
    return np.arange(places.start, places.stop)
