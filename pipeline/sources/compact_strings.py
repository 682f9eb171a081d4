"""Short strings by number, millions of them."""

from __future__ import annotations

from array import array
from functools import cached_property

import numpy as np


class Lookup:
    """Strings by 64-bit number, in 16 bytes an entry beside their own UTF-8; several may have one number.

    A dict of millions of strings takes some 200 bytes an entry. Nothing can be added after the first `find`.
    """

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._ends = array("Q")
        self._text = bytearray()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, text: str) -> None:
        """Add a string; it may hold what file names and JSON can and UTF-8 cannot (lone surrogates)."""
        self._numbers.append(number)
        self._text += text.encode(errors="surrogatepass")
        self._ends.append(len(self._text))

    def find(self, number: int) -> list[str]:
        """All strings of a number, in the order in which they were added."""
        numbers, order = self._sorted
        first, last = (int(numbers.searchsorted(np.uint64(number), side)) for side in ("left", "right"))
        return [self._text_at(i) for i in order[first:last].tolist()]

    def _text_at(self, i: int) -> str:
        start = self._ends[i - 1] if i else 0
        return self._text[start : self._ends[i]].decode(errors="surrogatepass")

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.frombuffer(self._numbers, dtype=np.uint64)
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order
