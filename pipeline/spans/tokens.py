"""CLIP's BPE tokens with their place in the caption."""

from __future__ import annotations

from dataclasses import dataclass

import regex
from open_clip import SimpleTokenizer


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a caption; both None where the text does not stand in it as such."""

    start: int | None
    end: int | None


def _folded(caption: str) -> tuple[str, list[int]]:
    """The caption in lower case, and for each of its characters the place it comes from."""
    characters: list[str] = []
    origin: list[int] = []
    for i, character in enumerate(caption):
        for low in character.lower():
            characters.append(low)
            origin.append(i)
    return "".join(characters), origin


def token_spans(tokenizer: SimpleTokenizer, caption: str, limit: int) -> list[Span]:
    """Span of every BPE token of a caption, in order, start and end tokens left out.

    The tokenizer cleans the text first (entities, encoding, case); a token whose word it changed so that the word is
    not found in the caption has no offsets.

    Args:
        tokenizer: open_clip's.
        caption: any text.
        limit: how many tokens the text tower reads, start and end left out; later ones are cut off.
    """
    text, origin = _folded(caption)
    spans: list[Span] = []
    cursor = 0
    for word in regex.findall(tokenizer.pat, tokenizer.clean_fn(caption)):
        at = text.find(word, cursor)
        encoded = "".join(tokenizer.byte_encoder[b] for b in word.encode("utf-8"))
        pieces = tokenizer.bpe(encoded).split(" ")
        taken = bytearray()
        for piece in pieces:
            before = len(taken.decode("utf-8", errors="ignore"))
            taken += bytes(tokenizer.byte_decoder[c] for c in piece.removesuffix("</w>"))
            after = len(taken.decode("utf-8", errors="ignore"))
            if at < 0:
                spans.append(Span(None, None))
            else:
                first, last = min(at + before, len(origin) - 1), max(at + after - 1, at + before)
                spans.append(Span(origin[first], origin[min(last, len(origin) - 1)] + 1))
        if at >= 0:
            cursor = at + len(word)
    return spans[:limit]
