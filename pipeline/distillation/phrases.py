"""The phrases of training captions with the base's embeddings of them, for recipes that compare them with regions."""

import numpy as np

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.spans import span_rows
from pipeline.artifacts.tables import ContractError
from pipeline.artifacts.workspace import Workspace
from pipeline.distillation.pairs import Phrases


def phrases_of(ws: Workspace, training: Manifest, *, weights: str) -> tuple[Phrases, dict[str, str]]:
    """Every distinct phrase once, and which of them each caption has.

    Args:
        weights: the base's.

    Returns:
        the phrases, and fingerprints of the tables that they were read from.

    Raises:
        ContractError: a table is missing, or was made from something else.
    """
    spans = ws.table(catalog.SPANS, training)
    embedded = ws.table(catalog.SPAN_EMBEDDINGS[SpanKind.PHRASES], training, weights=weights)
    made_from = {"spans": spans.metadata["fingerprint"], "phrases": embedded.metadata["fingerprint"]}
    if embedded.json("inputs").get("spans") != made_from["spans"]:
        raise ContractError(f"{embedded.path} was not made from {spans.path}; run: dvc repro features")
    first = dict(zip(training.keys, np.cumsum([0, *map(len, training.captions)]).tolist(), strict=False))
    groups = [rows for rows in span_rows(ws.manifest(), spans, SpanKind.PHRASES) if rows and rows[0][0] in first]
    texts = [text for rows in groups for _, _, _, text, _ in rows]
    vectors = embedded.rows_of([rows[0][0] for rows in groups])
    if len(vectors) != len(texts):
        raise ContractError(f"{embedded.path}: {len(vectors)} phrases of training captions, expected {len(texts)}")
    captions = [first[key] + caption for rows in groups for key, caption, *_ in rows]
    counts = np.bincount(captions, minlength=len(training.texts))
    number: dict[str, int] = {}
    ids = np.array([number.setdefault(text, len(number)) for text in texts], dtype=np.int64)
    _, place = np.unique(ids, return_index=True)
    return Phrases(list(number), ids, np.concatenate([[0], np.cumsum(counts)]), vectors[place]), made_from
