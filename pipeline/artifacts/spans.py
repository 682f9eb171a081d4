"""The spans of captions as rows with their text, from the table that holds their offsets."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.tables import Table, offsets

SpanRow = tuple[str, int, int, str, str]
"""Key, caption_index, span_index, the span's text ('' without offsets), the caption."""


def span_rows(manifest: Manifest, spans: Table, kind: SpanKind) -> Iterator[list[SpanRow]]:
    """The spans of one kind of every image in turn; `manifest` has all samples of the table."""
    start = offsets(spans.strings("key"), manifest.keys, str(spans.path))
    columns = {name: spans.columns[name] for name in ("caption_index", "span_index", "kind", "start", "end")}
    for i, (key, texts) in enumerate(zip(manifest.keys, manifest.captions, strict=True)):
        part = {n: c.slice(int(start[i]), int(start[i + 1] - start[i])).to_pylist() for n, c in columns.items()}
        yield [
            (key, caption, span, texts[caption][first:last] if first is not None else "", texts[caption])
            for caption, span, found, first, last in zip(*part.values(), strict=True)
            if found == kind
        ]
