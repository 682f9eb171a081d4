"""CLIP's BPE tokens with their place in the caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from itertools import islice, takewhile

import regex

from pipeline.clip import bpe

_WORD = regex.compile(r"\S+")
_ALIGNED = 128
"""Characters that are aligned one by one, at most."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a caption; both None where the text does not stand in it as such."""

    start: int | None
    end: int | None


def _places(caption: str, cleaned: str, words: int) -> list[int | None]:
    """Where in the caption each character of the cleaned text comes from; None where the cleaning wrote it.

    The time to align two texts grows with the cube of their length, so words are aligned first, and characters within
    those that the cleaning changed.

    Args:
        caption: as it is.
        cleaned: the same, cleaned.
        words: of the cleaned text, the first so many are placed at least.
    """
    folded: list[str] = []
    origin: list[int] = []
    for i, character in enumerate(caption):
        for low in character.lower():
            folded.append(low)
            origin.append(i)
    original = "".join(folded)
    if cleaned == original:
        return list(origin)
    places: list[int | None] = [None] * len(cleaned)
    # Cleaning may drop words, such as a control character; it hardly drops half of them.
    old = list(islice(_WORD.finditer(original), 2 * words))
    new = list(islice(_WORD.finditer(cleaned), words))
    for tag, a0, a1, b0, b1 in _matcher([w.group() for w in old], [w.group() for w in new]).get_opcodes():
        if tag == "equal":
            for old_word, new_word in zip(old[a0:a1], new[b0:b1], strict=True):
                places[new_word.start() : new_word.end()] = origin[old_word.start() : old_word.end()]
        elif tag == "replace":
            a, b = old[a0].start(), new[b0].start()
            for block in _common(original[a : old[a1 - 1].end()], cleaned[b : new[b1 - 1].end()]):
                start = a + block.a
                places[b + block.b : b + block.b + block.size] = origin[start : start + block.size]
    return places


def _matcher(a: Sequence[str], b: Sequence[str]) -> SequenceMatcher[str]:
    return SequenceMatcher(None, a, b, autojunk=False)


def _same(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _common(a: str, b: str) -> list[Match]:
    """What two texts have in common: their edges, and of what lies between, if it is not long, the longest blocks."""
    after = _same(zip(reversed(a), reversed(b), strict=False))  # first: an entity may begin as what follows it does
    before = min(_same(zip(a, b, strict=False)), min(len(a), len(b)) - after)
    found = [Match(0, 0, before), Match(len(a) - after, len(b) - after, after)]
    a, b = a[before : len(a) - after], b[before : len(b) - after]
    if max(len(a), len(b)) <= _ALIGNED:
        blocks = _matcher(a, b).get_matching_blocks()
        found += [Match(before + block.a, before + block.b, block.size) for block in blocks]
    return found


def token_spans(caption: str, limit: int) -> list[Span]:
    """Span of every BPE token of a caption, in order, start and end tokens left out.

    The tokenizer cleans the text first (entities, encoding, white space, case); a token with characters that the
    cleaning wrote has no offsets.

    Args:
        caption: any text.
        limit: how many tokens the text tower reads, start and end left out; later ones are cut off.
    """
    cleaned = bpe.tidied(caption)
    places = _places(caption, cleaned, limit)  # a word has at least one token
    spans: list[Span] = []
    for word in bpe.words(cleaned):
        if word.group() == bpe.END or len(spans) >= limit:
            break  # the text tower reads no further
        encoded, taken = word.group().encode("utf-8"), 0
        for size in bpe.token_bytes(word.group()):
            start = word.start() + len(encoded[:taken].decode("utf-8", errors="ignore"))
            taken += size
            end = word.start() + len(encoded[:taken].decode("utf-8", errors="ignore"))
            start = min(start, word.end() - 1)  # a piece may be a part of one character's bytes
            found = [places[i] for i in range(start, max(end, start + 1))]
            first, last = found[0], found[-1]
            whole = first is not None and last is not None and None not in found
            spans.append(Span(first, last + 1) if whole else Span(None, None))  # type: ignore[operator]
    return spans[:limit]
