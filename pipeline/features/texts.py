"""Embeddings of every caption, and of its spans: phrases as texts of their own, tokens in their caption's context."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import ClipTables
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, embeddings
from pipeline.artifacts.spans import SpanRow, span_rows
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, Table
from pipeline.clip.cached import CachedClip
from pipeline.clip.texts import say_cut
from pipeline.machine.batches import batches
from pipeline.store import keys

_CHUNK = 2048
"""Images whose captions are in memory at a time."""
_TOKENS_CHUNK = 128
"""Images whose captions' tokens are in memory at a time."""


def write(
    clip: CachedClip,
    manifest: Manifest,
    spans: Table,
    kinds: Sequence[SpanKind],
    tables: ClipTables,
    folder: Path,
    metadata: dict[str, Any],
) -> tuple[int, int]:
    """Embed whatever is new and write the tables of captions and of the wanted kinds of span.

    A distinct string is embedded once; tokens come from the same forward as their caption.

    Args:
        tables: which they are, below `folder`, the stage's.

    Returns:
        how many distinct strings there are, and how many were embedded.
    """
    d = clip.clip.dimension
    captions = list(dict.fromkeys(text for texts in manifest.captions for text in texts))
    if not clip.clip.reads_bpe:  # of others the stage `spans` has said it
        say_cut(clip.clip, captions, "distinct captions")
    computed = clip.embed_texts(captions, "embed captions", tokens=SpanKind.TOKENS in kinds)
    distinct = len(captions)
    with EmbeddingWriter(folder / tables.captions.name, embeddings("caption_index", dimension=d), metadata) as writer:
        for part in batches(zip(manifest.keys, manifest.captions, strict=True), _CHUNK):
            texts = [text for _, group in part for text in group]
            owner = [key for key, group in part for _ in group]
            index = [i for _, group in part for i in range(len(group))]
            writer.write(owner, index, clip.texts.vectors(keys.from_texts(texts)))
    span_schema = embeddings("caption_index", "span_index", dimension=d)
    if SpanKind.TOKENS in kinds:
        with EmbeddingWriter(folder / tables.spans[SpanKind.TOKENS].name, span_schema, metadata) as writer:
            for some in batches(span_rows(manifest, spans, SpanKind.TOKENS), _TOKENS_CHUNK):
                _write_tokens(clip, some, writer, spans.path)
    if SpanKind.PHRASES in kinds:
        phrases = list(dict.fromkeys(r[3] for group in span_rows(manifest, spans, SpanKind.PHRASES) for r in group))
        computed += clip.embed_texts(phrases, "embed phrases")
        distinct += len(phrases)
        with EmbeddingWriter(folder / tables.spans[SpanKind.PHRASES].name, span_schema, metadata) as writer:
            for some in batches(span_rows(manifest, spans, SpanKind.PHRASES), _CHUNK):
                if rows := [row for group in some for row in group]:
                    key, caption, span, text, _ = zip(*rows, strict=True)
                    writer.write(key, caption, span, clip.texts.vectors(keys.from_texts(text)))
    return distinct, computed


def write_columns(clip: CachedClip, beside: Sequence[str], path: Path, metadata: dict[str, Any]) -> int:
    """Embed whatever is new of rewrites and negatives, distinct texts, and write their table, whose keys they are.

    Returns:
        how many were embedded.
    """
    computed = clip.embed_texts(beside, "embed rewrites and negatives") if beside else 0
    with EmbeddingWriter(path, embeddings(dimension=clip.clip.dimension), metadata) as writer:
        for part in batches(beside, _CHUNK):
            writer.write(part, clip.texts.vectors(keys.from_texts(part)))
    return computed


def _write_tokens(clip: CachedClip, part: Sequence[Sequence[SpanRow]], writer: EmbeddingWriter, path: Path) -> None:
    rows = [row for group in part for row in group]
    if not rows:
        return
    key, caption, span, _, text = zip(*rows, strict=True)
    distinct = {t: i for i, t in enumerate(dict.fromkeys(text))}
    found = clip.tokens.take(keys.from_texts(distinct))["vector"].combine_chunks()
    ends = found.offsets.to_numpy()
    flat: NDArray[np.float16] = found.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, clip.clip.dimension)
    number = np.array([distinct[t] for t in text])
    place = ends[number] + np.array(span)
    if (beyond := place >= ends[number + 1]).any():
        row = int(beyond.argmax())
        raise ContractError(
            f"{path}: token {span[row]} of caption {caption[row]} of {key[row]} is not one of the "
            f"{ends[number[row] + 1] - ends[number[row]]} that the text tower reads; run: dvc repro -sf spans, or set "
            "teacher.spans to phrases"
        )
    writer.write(key, caption, span, flat[place])
