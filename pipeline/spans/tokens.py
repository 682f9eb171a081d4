"""CLIP's BPE tokens with their place in the caption."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

import regex
from open_clip import SimpleTokenizer

END = "<end_of_text>"
"""A caption may hold it, as a web page may; to the tokenizer it is the end token."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a caption; both None where the text does not stand in it as such."""

    start: int | None
    end: int | None


def _places(caption: str, cleaned: str) -> list[int | None]:
    """Where in the caption each character of the cleaned text comes from; None where the cleaning wrote it."""
    folded: list[str] = []
    origin: list[int] = []
    for i, character in enumerate(caption):
        for low in character.lower():
            folded.append(low)
            origin.append(i)
    if cleaned == "".join(folded):
        return list(origin)
    places: list[int | None] = [None] * len(cleaned)
    for block in SequenceMatcher(None, "".join(folded), cleaned, autojunk=False).get_matching_blocks():
        places[block.b : block.b + block.size] = origin[block.a : block.a + block.size]
    return places


def token_spans(tokenizer: SimpleTokenizer, caption: str, limit: int) -> list[Span]:
    """Span of every BPE token of a caption, in order, start and end tokens left out.

    The tokenizer cleans the text first (entities, encoding, white space, case); a token with characters that the
    cleaning wrote has no offsets.

    Args:
        tokenizer: open_clip's.
        caption: any text.
        limit: how many tokens the text tower reads, start and end left out; later ones are cut off.
    """
    cleaned = tokenizer.clean_fn(caption)
    places = _places(caption, cleaned)
    spans: list[Span] = []
    for word in regex.finditer(tokenizer.pat, cleaned):
        if word.group() == END:
            break  # the text tower reads no further
        encoded = "".join(tokenizer.byte_encoder[b] for b in word.group().encode("utf-8"))
        taken = bytearray()
        for piece in tokenizer.bpe(encoded).split(" "):
            start = word.start() + len(taken.decode("utf-8", errors="ignore"))
            taken += bytes(tokenizer.byte_decoder[c] for c in piece.removesuffix("</w>"))
            end = word.start() + len(taken.decode("utf-8", errors="ignore"))
            start = min(start, word.end() - 1)  # a piece may be a part of one character's bytes
            found = [places[i] for i in range(start, max(end, start + 1))]
            first, last = found[0], found[-1]
            whole = first is not None and last is not None and None not in found
            spans.append(Span(first, last + 1) if whole else Span(None, None))  # type: ignore[operator]
    return spans[:limit]
