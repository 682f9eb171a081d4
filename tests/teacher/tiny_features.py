"""Feature tables of four samples, written by hand: the number in a vector says whose it is."""

import numpy as np

from pipeline.artifacts.schema import SpanKind, Split, embeddings
from pipeline.artifacts.tables import EmbeddingWriter

D = 4
SAMPLES = {
    Split.TRAIN: {"mscoco-1": ["one a", "one b"], "flickr30k-2": ["a cat"], "cc-3": ["a cat", "three b", "three c"]},
    Split.VAL: {"mscoco-4": ["four a"]},
}
REGIONS = {"mscoco-1": 2, "flickr30k-2": 1, "cc-3": 3, "mscoco-4": 1}
SPANS = {"mscoco-1": [2, 1], "flickr30k-2": [0], "cc-3": [1, 0, 3], "mscoco-4": [2]}
"""How many spans each caption has."""


def number(key, *index):
    """mscoco-1, 1, 0 -> 110: the sample, the caption or region, the span."""
    return 100 * int(key[-1]) + sum(value * 10 ** (1 - place) for place, value in enumerate(index))


def rows(numbers):
    return np.repeat(np.array(numbers, dtype=np.float16).reshape(-1, 1), D, axis=1)


def write_features(folder, manifest, kind=SpanKind.PHRASES, rows=rows, **changed):
    metadata = {"manifest": manifest.fingerprint, "weights": "w", "features": "f"}
    with EmbeddingWriter(folder / "captions.arrow", embeddings("caption_index", dimension=D), metadata) as writer:
        for key, texts in zip(manifest.keys, manifest.captions, strict=True):
            index = range(len(texts))
            writer.write([key] * len(texts), index, rows([number(key, i) for i in index]))
    with EmbeddingWriter(
        folder / "regions.arrow", embeddings("region_index", dimension=D), metadata | changed.get("regions", {})
    ) as writer:
        for key in manifest.keys:
            index = range(REGIONS[key])
            writer.write([key] * len(index), index, rows([number(key, i) for i in index]))
    with EmbeddingWriter(
        folder / "spans" / f"{kind}.arrow", embeddings("caption_index", "span_index", dimension=D),
        metadata | changed.get("spans", {}),
    ) as writer:  # fmt: skip
        for key in manifest.keys:
            places = [(caption, span) for caption, count in enumerate(SPANS[key]) for span in range(count)]
            if places:
                caption, span = zip(*places, strict=True)
                writer.write([key] * len(places), caption, span, rows([number(key, *place) for place in places]))
