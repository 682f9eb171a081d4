"""A teacher's embeddings of what trains, taken from its tables as they are and aligned with the training manifest."""

from __future__ import annotations

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


class ClipTargetsWriter:
    """Writes the targets of one teacher after the other.

    Attributes:
        manifest: all samples.
        train: those that train.
        spans: of all captions.
    """

    def __init__(self, ws: Workspace, manifest: Manifest, train: Manifest, spans: Table) -> None:
        self.ws, self.manifest, self.train, self.spans = ws, manifest, train, spans
        self.phrases, self._phrase_rows = self._distinct()

    def _distinct(self) -> tuple[list[str], NDArray[np.int64]]:
        """The distinct phrases of the training captions, and a row of each among all phrases."""
        training, found, row = set(self.train.keys), dict[str, int](), 0
        for group in span_rows(self.manifest, self.spans, SpanKind.PHRASES):
            for key, _, _, text, _ in group:
                if key in training:
                    found.setdefault(text, row)
                row += 1
        return list(found), np.array(list(found.values()), dtype=np.int64)

    def write(self, teacher: str) -> dict[str, Any]:
        """Copy the rows of a teacher's tables that train, float16 as they are.

        Returns:
            its weights, and how many rows each table has.

        Raises:
            ContractError: a table is missing, or was made from something else than the others.
        """
        given, made = catalog.tables_of(teacher), catalog.targets_of(teacher)
        assert given.views is not None, f"{teacher} has no table of views"
        images = self.ws.table(given.images, self.manifest)
        origin = {name: images.metadata[name] for name in ("weights", "features")}

        def opened(artifact: Artifact) -> Table:
            return self.ws.table(artifact, self.manifest, **origin)

        regions, captions = opened(given.regions), opened(given.captions)
        phrases, views = opened(given.spans[SpanKind.PHRASES]), opened(given.views)
        if (read := phrases.json("inputs").get("spans")) != self.spans.metadata["fingerprint"]:
            raise ContractError(
                f"{phrases.path} was made from spans {read}, expected {self.spans.metadata['fingerprint']}; "
                "run: dvc repro features"
            )
        whole = regions.places(self.train.keys)
        crops = whole.start + np.flatnonzero(regions.integers("region_index")[whole] > 0)
        self._copy(made.images, images, _rows(images.places(self.train.keys)), teacher)
        self._copy(made.views, views, np.arange(len(views)), teacher)
        self._copy(made.crops, regions, crops, teacher)
        self._copy(made.captions, captions, _rows(captions.places(self.train.keys)), teacher)
        self._copy(made.phrases, phrases, self._phrase_rows, teacher, self.phrases)
        counts = {"views": len(views), "crops": len(crops), "captions": len(self.train.texts)}
        return {"weights": origin["weights"], **counts, "phrases": len(self.phrases)}

    def _copy(
        self, to: Artifact, table: Table, rows: NDArray[np.int64], teacher: str, keys: list[str] | None = None
    ) -> None:
        """Write some rows of a table, with its index columns, or with other keys alone."""
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
        path, *index = self.ws.path(to), *(table.columns[name] for name in table.columns.schema.names[:-1])
        vectors = table.vectors()
        assert callable(to.columns), f"{to.path} has columns of any dimension"
        columns = to.columns(dimension=vectors.shape[1])
        with EmbeddingWriter(path, columns, metadata) as writer:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                if keys is None:
                    named = [column.take(pa.array(part)).to_pylist() for column in index]
                else:
                    named = [keys[start : start + _CHUNK]]
                writer.write(*named, vectors[part])


def _rows(places: slice) -> NDArray[np.int64]:
    return np.arange(places.start, places.stop)
