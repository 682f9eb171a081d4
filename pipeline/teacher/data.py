"""Padded batches of cached features, gathered from the flat tables by key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import BASE
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.tables import ContractError, Table, offsets
from pipeline.artifacts.workspace import Workspace
from pipeline.machine.in_flight import TensorGroup


def ragged(values: NDArray[np.float16], starts: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Rows starts[i] .. starts[i] + counts[i] of `values`, padded: float32 [B, K, D] (zeros) and bool [B, K]."""
    width = max(1, int(counts.max(initial=0)))
    mask = np.arange(width) < counts[:, None]
    places = (starts[:, None] + np.arange(width))[mask]
    found = torch.zeros(mask.size, values.shape[1])
    # gathered as float16 and widened by torch, several times as fast as by numpy
    found[torch.from_numpy(np.flatnonzero(mask))] = torch.from_numpy(values[places]).float()
    return found.unflatten(0, mask.shape), torch.from_numpy(mask)


READS = {"regions": 1 << 30, "image": 1, "text": 0}
"""How many regions of an image a teacher reads, at most, by `teacher.inputs`; region 0 is the whole image."""


@dataclass
class TeacherBatch(TensorGroup):
    """B images with one caption each; see `pipeline.teacher.model` for the shapes."""

    regions: Tensor
    region_mask: Tensor
    spans: Tensor
    span_mask: Tensor
    caption: Tensor
    """The frozen CLIP's embedding of the caption, [B, D]."""
    same: Tensor
    """bool [B, B]: equal captions."""


class FeatureSet:
    """Cached features of some splits, by manifest row, all of one frozen CLIP.

    Args:
        of: the CLIP's name: `base`, or that of one of the teachers.
        inputs: what it reads: `regions` and spans; `image`, the whole image and spans; or `text`, spans only.

    Raises:
        ContractError: a table is missing, belongs to another manifest or another CLIP, or lacks these samples.
    """

    def __init__(
        self, manifest: Manifest, ws: Workspace, spans: SpanKind, inputs: str = "regions", of: str = BASE
    ) -> None:
        self.manifest = manifest
        self.reads_images = inputs != "text"
        tables = catalog.tables_of(of)
        artifact = tables.spans[spans]
        if not ws.has(artifact):
            first = f"add {spans} to features.spans and " if of == BASE else ""
            raise ContractError(
                f"{ws.path(artifact)} does not exist, but teacher.of is {of} and teacher.spans is {spans}; {first}"
                "run: dvc repro"
            )
        captions = ws.table(tables.captions, manifest)
        self.dimension = captions.vectors().shape[1]
        origin = {"weights": captions.metadata["weights"], "features": captions.metadata["features"]}
        self.weights, self.fingerprint = origin["weights"], origin["features"]
        regions = ws.table(tables.regions, manifest, **origin)
        span_rows = ws.table(artifact, manifest, **origin)

        here = set(manifest.keys)
        self.caption_embeddings, self.caption_start = self._by_key(captions, here)
        counts = np.diff(self.caption_start)
        for key, texts, found in zip(manifest.keys, manifest.captions, counts, strict=True):
            if len(texts) != found:
                raise ContractError(f"{captions.path}: {found} captions of {key}, expected {len(texts)}")
        self.region_embeddings, self.region_start = self._by_key(regions, here)
        self.region_count = np.minimum(np.diff(self.region_start), READS[inputs])
        self.span_embeddings, span_key_start = self._by_key(span_rows, here)

        caption_of_span = span_rows.integers("caption_index")[self._rows(span_rows, here)]
        self.span_start = np.zeros(int(counts.sum()) + 1, dtype=np.int64)
        caption_row = np.repeat(self.caption_start[:-1], np.diff(span_key_start)) + caption_of_span
        np.add.at(self.span_start, caption_row + 1, 1)
        self.span_start = np.cumsum(self.span_start)

        number: dict[str, int] = {}
        self.caption_ids = np.array(
            [number.setdefault(text, len(number)) for texts in manifest.captions for text in texts], dtype=np.int64
        )

    def _rows(self, table: Table, here: set[str]) -> slice:
        """The rows of these keys, which stand together since tables follow the manifest."""
        inside = np.fromiter((key in here for key in table.strings("key")), dtype=bool, count=len(table))
        places = np.flatnonzero(inside)
        if len(places) == 0:
            return slice(0, 0)
        return slice(int(places[0]), int(places[-1]) + 1)

    def _by_key(self, table: Table, here: set[str]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        rows = self._rows(table, here)
        return table.vectors()[rows], offsets(table.strings("key")[rows], self.manifest.keys, str(table.path))

    def __len__(self) -> int:
        return len(self.manifest)

    def batch(
        self, rows: NDArray[np.int64], caption_index: NDArray[np.int64], with_text: NDArray[np.bool_]
    ) -> TeacherBatch:
        """The batch of manifest rows, each with one of its captions.

        Args:
            rows: [B].
            caption_index: [B], which caption.
            with_text: [B], false to mask the text stream, as of images without captions.
        """
        # an image without captions, whose text is masked, has some other's
        caption_row = np.minimum(self.caption_start[rows] + caption_index, len(self.caption_ids) - 1)
        regions, region_mask = ragged(self.region_embeddings, self.region_start[rows], self.region_count[rows])
        span_count = (self.span_start[caption_row + 1] - self.span_start[caption_row]) * with_text
        spans, span_mask = ragged(self.span_embeddings, self.span_start[caption_row], span_count)
        ids = torch.from_numpy(self.caption_ids[caption_row])
        caption = torch.from_numpy(self.caption_embeddings[caption_row].astype(np.float32))
        return TeacherBatch(regions, region_mask, spans, span_mask, caption, ids[:, None] == ids[None, :])

    @property
    def captioned(self) -> NDArray[np.int64]:
        """The rows of images with captions, int64."""
        return np.flatnonzero(np.diff(self.caption_start))

    def random_captions(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A caption index for each row, drawn evenly."""
        counts = np.diff(self.caption_start)[rows]
        return (rng.random(len(rows)) * counts).astype(np.int64)
