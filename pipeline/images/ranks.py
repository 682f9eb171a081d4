"""Numbers of given ranks in a large array that is looked at part by part: exactly, and in the memory of one part.

Numbers become 32-bit keys in the same order, whose upper halves are counted first, then the lower ones of the few
upper halves that the ranks fall into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HALF, _LOWER = 16, 0xFFFF
_TOP, _ALL = np.uint32(1 << 31), np.uint32(0xFFFFFFFF)


def extremes(parts: Callable[[], Iterable[NDArray[Any]]], share: float) -> tuple[float, float, float, float] | None:
    """The least number, those a share of all from the least and from the most, and the most; None where there is none.

    Args:
        parts: gives all parts anew whenever it is called; of uint16, int32, uint32, or float32 that are numbers.
        share: below one half; rounded down to whole numbers, so that of few the second is the first.
    """
    upper = np.zeros(1 << _HALF, np.int64)
    kind = np.dtype(np.uint16)
    for part in parts():
        kind = part.dtype
        upper += np.bincount(_keys(part).ravel() >> _HALF, minlength=1 << _HALF)
    total = int(upper.sum())
    if not total:
        return None
    cut = int(total * share)
    ranks = (0, cut, total - 1 - cut, total - 1)
    ends = upper.cumsum()
    bins = [int(found) for found in np.searchsorted(ends, ranks, side="right")]
    lower = _lower(parts, set(bins)) if kind != np.uint16 else {}
    keys = []
    for rank, where in zip(ranks, bins, strict=True):
        before = int(ends[where] - upper[where])
        rest = int(np.searchsorted(lower[where].cumsum(), rank - before, side="right")) if lower else 0
        keys.append(where << _HALF | rest)
    least, low, high, most = _numbers(keys, kind)
    return least, low, high, most


def _lower(parts: Callable[[], Iterable[NDArray[Any]]], bins: set[int]) -> dict[int, NDArray[np.int64]]:
    """How many keys have each lower half, of those with each of these upper ones."""
    counts = {one: np.zeros(1 << _HALF, np.int64) for one in bins}
    for part in parts():
        keys = _keys(part)
        for one, count in counts.items():
            count += np.bincount(keys[keys >> _HALF == one] & _LOWER, minlength=1 << _HALF)
    return counts


def _keys(part: NDArray[Any]) -> NDArray[np.uint32]:
    if part.dtype == np.uint16:
        return part.astype(np.uint32) << np.uint32(_HALF)
    bits = np.ascontiguousarray(part).view(np.uint32)
    if part.dtype == np.uint32:
        return bits
    if part.dtype == np.int32:
        return bits ^ _TOP
    return bits ^ np.where(bits & _TOP, _ALL, _TOP)  # of negative ones the larger bits are the lesser number


def _numbers(keys: Sequence[int], kind: np.dtype[Any]) -> list[float]:
    """The numbers that have these keys."""
    bits = np.array(keys, np.uint32)
    if kind == np.uint16:
        bits = bits >> np.uint32(_HALF)
    elif kind == np.int32:
        bits = bits ^ _TOP
    elif kind == np.float32:
        bits = bits ^ np.where(bits & _TOP, _TOP, _ALL)
    found = bits if kind == np.uint16 else bits.view(kind)
    return [float(number) for number in found]
