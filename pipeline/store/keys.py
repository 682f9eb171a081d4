"""Keys of rows: the first 16 bytes of the sha256 of what a row is computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
"""[n, 2]: bytes 0 to 7 and bytes 8 to 15 of every key as big-endian numbers, so that numbers sort as bytes do."""

SIZE = 16
"""A key has this many bytes."""


def from_bytes(*parts: bytes) -> bytes:
    """The key of some bytes; of several parts, of the hashes of all of them, so that it matters where one ends."""
    if len(parts) == 1:
        return hashlib.sha256(parts[0]).digest()[:SIZE]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()[:SIZE]


def from_sha256(digest: str) -> bytes:
    """The key of bytes whose sha256 is known, as 64 hex digits."""
    return bytes.fromhex(digest)[:SIZE]


def from_texts(texts: Iterable[str]) -> Keys:
    """Keys of strings, by their UTF-8 bytes."""
    return pack(from_bytes(text.encode()) for text in texts)


def pack(keys: Iterable[bytes]) -> Keys:
    """Keys as an array, uint64 [n, 2]."""
    return np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)


def unpack(keys: Keys) -> list[bytes]:
    """The keys of an array, 16 bytes each."""
    content = keys.astype(">u8").tobytes()
    return [content[i : i + SIZE] for i in range(0, len(content), SIZE)]


def first_of(keys: Keys, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where the chosen keys stand, int64 ascending, each distinct key once."""
    places = np.flatnonzero(chosen)
    _, first = np.unique(keys[places], axis=0, return_index=True)
    return np.sort(places[first])
