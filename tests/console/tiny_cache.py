"""A small feature store for tests of `dclip cache`: what it holds, and ways to change it."""

import os
import time

import numpy as np
import pyarrow as pa

from pipeline.store import keys
from pipeline.store.collection import Collection

DAY = 86_400


def fill(home, *texts, name="pictures", weights="w"):
    """Add one segment; give the collection's folder."""
    schema = pa.schema([("vector", pa.list_(pa.float16(), 2))])
    made = Collection(home / "store", name, {"weights": weights, "batch": 4}, schema)
    with made.writing() as writer:
        writer.add(keys.from_texts(texts), np.ones((len(texts), 2)))
    return made.folder


def used(folder, days):
    os.utime(folder / "collection.json", (time.time() - days * DAY,) * 2)


def flip(folder):
    """Change one bit of a collection's first segment; give its path."""
    path = min(folder.glob("*.arrow"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def bytes_of(folder):
    return sum(map(len, contents(folder).values()))


def assert_one_error(result, *parts):
    code, _, err = result
    assert code == 1
    (told,) = [line for line in err.splitlines() if line.startswith("dclip: ")]
    assert "Traceback" not in err
    for part in parts:
        assert part in told
