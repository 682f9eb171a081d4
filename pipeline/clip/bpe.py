"""How many tokens CLIP reads in a text, counted without open_clip, whose import costs seconds."""

from __future__ import annotations

import gzip
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import regex
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from pipeline.clip.texts import cleaned, fits

CONTEXT = 77
"""Tokens that OpenAI's CLIP, and nearly every one since, reads of a text, start and end included."""
_SPECIAL = ("<start_of_text>", "<end_of_text>")
_MERGES = 49152 - 256 - len(_SPECIAL)
_WORD = regex.compile(
    "|".join(_SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
_END = "</w>"


def exceeds(text: str, context: int = CONTEXT) -> bool:
    """Whether a text has more tokens than fit between the start and the end of a context."""
    room = context - 2
    if fits(text, room):
        return False
    low = cleaned(text).lower()
    count = 0
    for word in _WORD.findall(low):
        count += 1 if word in _SPECIAL else _tokens_of(word)
        if count > room:
            return True
    return False


@cache
def _model() -> BPE:
    """The byte pairs that open_clip comes with."""
    package = find_spec("open_clip")
    assert package and package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in map(str.split, lines)]
    letters = ByteLevel.alphabet()
    known = [*letters, *(letter + _END for letter in letters), *map("".join, merges)]
    return BPE(vocab={token: i for i, token in enumerate(known)}, merges=merges, end_of_word_suffix=_END)


@cache
def _bytes() -> ByteLevel:
    return ByteLevel(add_prefix_space=False, use_regex=False)


@lru_cache(maxsize=1 << 16)
def _tokens_of(word: str) -> int:
    return sum(len(_model().tokenize(part)) for part, _ in _bytes().pre_tokenize_str(word))
