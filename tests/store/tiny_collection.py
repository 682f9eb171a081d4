"""Collections of any schema, and whether their rows are right."""

import hashlib

import numpy as np
import pyarrow as pa
from tiny_store import VECTORS

from pipeline.store import keys
from pipeline.store.collection import Collection

VECTOR = VECTORS.field("vector").type
LISTS = pa.schema([("vector", pa.list_(VECTOR))])
BLOBS = pa.schema([("crops", pa.list_(pa.binary()))])
BOXES = pa.schema([("corners", pa.list_(pa.list_(pa.float32(), 4))), ("scores", pa.list_(pa.float32()))])

MADE_WITH = {"weights": "w", "batch": 4}


def opened(root, made_with=MADE_WITH, values=VECTORS, name="pictures"):
    return Collection(root, name, made_with, values)


def rows_of(texts):
    """A vector that tells which text it belongs to."""
    return np.array([[len(t), sum(map(ord, t)) % 2048] for t in texts], dtype=np.float16).reshape(-1, 2)


def fill(root, texts, **other):
    """A collection to which one segment was added."""
    made = opened(root, **other)
    with made.writing() as writer:
        writer.add(keys.from_texts(texts), rows_of(texts))
    return made


def lacking(found, texts):
    """Those of some texts that have no row; the rows of the others are checked."""
    missing = found.missing(keys.from_texts(texts))
    there = [t for t, m in zip(texts, missing, strict=True) if not m]
    assert found.vectors(keys.from_texts(there)).tolist() == rows_of(there).tolist()
    return [t for t, m in zip(texts, missing, strict=True) if m]


def segments(found):
    return sorted(found.folder.glob("*.arrow"))


def check_names(found):
    """Nothing but segments named by their bytes, and the description."""
    for path in segments(found):
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(p.suffix for p in found.folder.iterdir() if p.suffix != ".arrow") == [".json"]
