"""Which of many 64-bit codes lie within a Hamming distance of others: exact, by FAISS, and quick for millions of them.

Few codes are compared one by one. Many are looked up by their four quarters (multi-index hashing: Norouzi, Punjani and
Fleet 2012): of two codes no more than r bits apart, with radii r_i for which sum(r_i + 1) = r + 1, some quarter i
differs by at most r_i bits. So each quarter has an inverted index of 65,536 lists, and a query looks into those of its
own quarter with up to r_i bits flipped. For r = 12 these are 1,108 of 262,144 lists, which hold one code in sixty.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import faiss
import numpy as np
from faiss.contrib.ivf_tools import add_preassigned, range_search_preassigned
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
"""[n, 8]."""
Numbers = NDArray[np.int64]

_QUARTERS = 4
_BITS = 16
_DEAR = 200
"""Codes that are compared one by one in the time that a list takes to be looked up."""


class NearbyCodes:
    """Codes, numbered in the order of `add`: 8 bytes each, about 100 once there are many.

    Args:
        radius: largest distance in bits, inclusive.
    """

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._flat: Any = faiss.IndexBinaryFlat(64)
        self._flips = {quarter: _flips(r) for quarter, r in enumerate(_radii(radius)) if r >= 0}
        self._quarters: dict[int, Any] = {}
        self._many = _DEAR * sum(map(len, self._flips.values()))

    def __len__(self) -> int:
        return int((self._quarters or {0: self._flat})[0].ntotal)

    def add(self, codes: Codes) -> None:
        """Add codes; the first gets the number `len(self)`."""
        if not self._quarters:
            self._flat.add(codes)
            if self._flat.ntotal <= self._many:
                return
            codes = faiss.vector_to_array(self._flat.xb).reshape(-1, 8)
            self._quarters = {quarter: _index(len(flips)) for quarter, flips in self._flips.items()}
            self._flat.reset()
        first = len(self)
        numbers = np.arange(first, first + len(codes))
        lists = _quarters_of(codes)
        for quarter, index in self._quarters.items():
            add_preassigned(index, codes, np.ascontiguousarray(lists[:, quarter]), numbers)

    def within(self, codes: Codes) -> tuple[Numbers, Numbers, Numbers]:
        """All pairs of a query, [q, 8], and a code within the radius: queries, numbers and distances, int64 each.

        Ordered by query, then by number.
        """
        codes = np.ascontiguousarray(codes)
        # FAISS finds what is strictly nearer than its radius.
        if not self._quarters:
            found = [_pairs(self._flat.range_search(codes, self.radius + 1))]
        else:
            lists = _quarters_of(codes)
            found = [
                _pairs(range_search_preassigned(index, codes, self.radius + 1, lists[:, quarter, None] ^ flips))
                for (quarter, index), flips in zip(self._quarters.items(), self._flips.values(), strict=True)
            ]
        queries, numbers, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((numbers, queries))
        queries, numbers, distances = queries[order], numbers[order], distances[order]
        once = np.ones(len(queries), bool)
        once[1:] = (queries[1:] != queries[:-1]) | (numbers[1:] != numbers[:-1])
        return queries[once], numbers[once], distances[once]


def _radii(radius: int) -> list[int]:
    """Bits by which some quarter differs at most; -1 for one that need not be looked at."""
    return [(radius + 1) // _QUARTERS + (i < (radius + 1) % _QUARTERS) - 1 for i in range(_QUARTERS)]


def _flips(radius: int) -> Numbers:
    """Every number of 16 bits of which at most `radius` are set."""
    return np.array(
        [sum(1 << bit for bit in bits) for n in range(radius + 1) for bits in combinations(range(_BITS), n)], np.int64
    )


def _index(lists: int) -> Any:
    """An inverted index of one quarter, of which so many lists are looked into."""
    quantizer = faiss.IndexBinaryFlat(64)  # never asked: lists are given
    index: Any = faiss.IndexBinaryIVF(quantizer, 64, 1 << _BITS)
    index.referenced_objects = [quantizer]
    index.is_trained, index.nprobe = True, lists
    return index


def _quarters_of(codes: Codes) -> Numbers:
    """[n, 4]."""
    return np.ascontiguousarray(codes).view("<u2").astype(np.int64)


def _pairs(found: tuple[Any, Any, Any]) -> tuple[Numbers, Numbers, Numbers]:
    """What a range search found as queries, numbers and distances."""
    limits, distances, numbers = found
    queries = np.repeat(np.arange(len(limits) - 1), np.asarray(limits[1:] - limits[:-1], np.int64))
    return queries, numbers.astype(np.int64), distances.astype(np.int64)
