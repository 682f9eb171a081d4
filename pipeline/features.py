"""One pass of the frozen CLIP over everything: pictures, region crops, captions, phrases, tokens -> vector tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import images
from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.manifest import Manifest
from pipeline.progress import track
from pipeline.schema import SpanKind, vectors
from pipeline.tables import Table, VectorWriter, offsets

Metadata = dict[str, Any]


def write_images(
    clip: Clip, manifest: Manifest, regions: Table, folder: Path, metadata: Metadata, compute: Compute
) -> None:
    """Embed every region of every picture into regions.arrow; region 0, the whole picture, also into images.arrow."""
    d = clip.dimension
    to_pixels = clip.pixels()
    start = offsets(regions.strings("key"), manifest.keys, str(regions.path))
    crops = regions.columns["crop"]

    def rows() -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
        for i, (key, data) in enumerate(manifest.images("embed pictures and regions")):
            yield key, 0, to_pixels(images.decode(data))
            for k in range(1, int(start[i + 1] - start[i])):
                yield key, k, to_pixels(images.decode(crops[int(start[i]) + k].as_py()))

    with (
        VectorWriter(folder / "images.arrow", vectors(dimension=d), metadata) as of_images,
        VectorWriter(folder / "regions.arrow", vectors("region_index", dimension=d), metadata) as of_regions,
    ):
        for batch in encode.batches(rows(), compute.batch):
            keys, index, pixels = zip(*batch, strict=True)
            found = encode.images(clip, pixels, compute).numpy()
            of_regions.write(keys, index, found)
            whole = np.array(index) == 0
            of_images.write([k for k, w in zip(keys, whole, strict=True) if w], found[whole])


def write_texts(
    clip: Clip,
    manifest: Manifest,
    spans: Table,
    kinds: Sequence[SpanKind],
    folder: Path,
    metadata: Metadata,
    compute: Compute,
) -> int:
    """Embed every caption into captions.arrow, and the wanted kinds of span into spans/<kind>.arrow.

    A distinct string is encoded once; tokens come from the same forward as their caption.

    Returns:
        how many distinct strings were encoded.
    """
    d = clip.dimension
    distinct = list(dict.fromkeys(text for texts in manifest.captions for text in texts))
    number = {text: i for i, text in enumerate(distinct)}
    with_tokens = SpanKind.TOKENS in kinds
    caption_vectors = np.empty((len(distinct), d), dtype=np.float16)
    positions = clip.context_length - 2
    with TemporaryFile(dir=folder) as spool:
        token_vectors = np.memmap(spool, np.float16, "w+", shape=(max(1, len(distinct) * with_tokens), positions, d))
        at = 0
        for batch in track(
            encode.batches(distinct, compute.batch), "embed captions", -(-len(distinct) // compute.batch), "batches"
        ):
            here = slice(at, at + len(batch))
            if with_tokens:
                pooled, tokens = encode.texts_with_tokens(clip, batch, compute)
                token_vectors[here] = tokens[:, 1:-1].numpy()
            else:
                pooled = encode.texts(clip, batch, compute)
            caption_vectors[here] = pooled.numpy()
            at += len(batch)

        with VectorWriter(folder / "captions.arrow", vectors("caption_index", dimension=d), metadata) as writer:
            for key, texts in zip(manifest.keys, manifest.captions, strict=True):
                rows = [number[text] for text in texts]
                writer.write([key] * len(texts), range(len(texts)), caption_vectors[rows])
        if with_tokens:
            _write_tokens(manifest, spans, number, token_vectors, folder, metadata)
    encoded = len(distinct)
    if SpanKind.PHRASES in kinds:
        encoded += _write_phrases(clip, manifest, spans, folder, metadata, compute)
    return encoded


def _span_rows(manifest: Manifest, spans: Table, kind: SpanKind) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """For every key its spans of one kind: (caption_index, span_index, text); text is empty without offsets."""
    start = offsets(spans.strings("key"), manifest.keys, str(spans.path))
    columns = {name: spans.columns[name] for name in ("caption_index", "span_index", "kind", "start", "end")}
    for i, (key, texts) in enumerate(zip(manifest.keys, manifest.captions, strict=True)):
        part = {n: c.slice(int(start[i]), int(start[i + 1] - start[i])).to_pylist() for n, c in columns.items()}
        yield (
            key,
            [
                (caption, span, texts[caption][first:last] if first is not None else "")
                for caption, span, found, first, last in zip(*part.values(), strict=True)
                if found == kind
            ],
        )


def _write_tokens(
    manifest: Manifest,
    spans: Table,
    number: dict[str, int],
    token_vectors: NDArray[np.float16],
    folder: Path,
    metadata: Metadata,
) -> None:
    schema = vectors("caption_index", "span_index", dimension=token_vectors.shape[2])
    with VectorWriter(folder / "spans" / "tokens.arrow", schema, metadata) as writer:
        for i, (key, rows) in enumerate(_span_rows(manifest, spans, SpanKind.TOKENS)):
            if rows:
                captions = [caption for caption, _, _ in rows]
                index = [span for _, span, _ in rows]
                sources = [number[manifest.captions[i][caption]] for caption in captions]
                writer.write([key] * len(rows), captions, index, token_vectors[sources, index])


def _write_phrases(
    clip: Clip, manifest: Manifest, spans: Table, folder: Path, metadata: Metadata, compute: Compute
) -> int:
    distinct = list(
        dict.fromkeys(text for _, rows in _span_rows(manifest, spans, SpanKind.PHRASES) for _, _, text in rows)
    )
    number = {text: i for i, text in enumerate(distinct)}
    found = encode.texts(clip, distinct, compute).numpy().astype(np.float16)
    schema = vectors("caption_index", "span_index", dimension=clip.dimension)
    with VectorWriter(folder / "spans" / "phrases.arrow", schema, metadata) as writer:
        for key, rows in _span_rows(manifest, spans, SpanKind.PHRASES):
            if rows:
                index = [number[text] for _, _, text in rows]
                writer.write([key] * len(rows), [c for c, _, _ in rows], [s for _, s, _ in rows], found[index])
    return len(distinct)
