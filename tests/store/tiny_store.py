"""Small stores, filled a segment at a time with vectors that tell which text they belong to."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.store import keys
from pipeline.store.collection import Collection

VECTORS = pa.schema([("vector", pa.list_(pa.float16(), 2))])


def opened(root, name="pictures", weights="w"):
    return Collection(root, name, {"weights": weights}, VECTORS)


def rows_of(texts):
    return np.array([[len(t), sum(map(ord, t)) % 2048] for t in texts], dtype=np.float16)


def fill(root, *texts, **of):
    """Add one segment; give the collection's folder."""
    made = opened(root, **of)
    with made.writing() as writer:
        writer.add(keys.from_texts(texts), rows_of(texts))
    return made.folder


def segments(folder):
    return sorted(folder.glob("*.arrow"))


def segment_of(root, *texts, **of):
    """Add one segment; give its path."""
    before = segments(opened(root, **of).folder)
    (path,) = set(segments(fill(root, *texts, **of))) - set(before)
    return path


def lacking(root, *texts, **of):
    """Those of some texts that have no row; the rows of the others are checked."""
    found = opened(root, **of)
    missing = found.missing(keys.from_texts(texts))
    there = [t for t, m in zip(texts, missing, strict=True) if not m]
    assert found.vectors(keys.from_texts(there)).tolist() == rows_of(there).reshape(-1, 2).tolist()
    return [t for t, m in zip(texts, missing, strict=True) if m]


def contents(root):
    """The bytes of every file below a folder, by path."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}


def flip(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
