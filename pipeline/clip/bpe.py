"""The tokens that CLIP reads in a text, found without open_clip, whose import costs seconds."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import regex
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from pipeline.clip.texts import cleaned, fits
from pipeline.disk import files
from pipeline.errors import Damaged, refusing

CONTEXT = 77
"""Tokens that OpenAI's CLIP, and nearly every one since, reads of a text, start and end included."""
START, END = "<start_of_text>", "<end_of_text>"
"""A caption may hold them, as a web page may; to the tokenizer they are its own tokens."""
_MERGES = 49152 - 256 - 2
_WORD = regex.compile(
    rf"{START}|{END}" + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
_END_OF_WORD = "</w>"


def exceeds(text: str, context: int = CONTEXT) -> bool:
    """Whether a text has more tokens than fit between the start and the end of a context."""
    room = context - 2
    if fits(text, room):
        return False
    low = cleaned(text).lower()
    count = 0
    for word in _WORD.findall(low):
        count += len(token_bytes(word))
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
    known = [*letters, *(letter + _END_OF_WORD for letter in letters), *map("".join, merges)]
    return BPE(vocab={token: i for i, token in enumerate(known)}, merges=merges, end_of_word_suffix=_END_OF_WORD)


@cache
def _bytes() -> ByteLevel:
    return ByteLevel(add_prefix_space=False, use_regex=False)


def tidied(text: str) -> str:
    """A text as open_clip's tokenizer reads it: cleaned, in lower case, with single spaces."""
    return " ".join(cleaned(text).split()).lower()


def words(tidied_text: str) -> Iterator[regex.Match[str]]:
    """What the tokenizer takes for a word, each with its place, in order."""
    yield from _WORD.finditer(tidied_text)


@lru_cache(maxsize=1 << 16)
def token_bytes(word: str) -> tuple[int, ...]:
    """How many bytes of its UTF-8 each token of a word has, in order."""
    if word in (START, END):
        return (len(word),)
    tokens = [token for part, _ in _bytes().pre_tokenize_str(word) for token in _model().tokenize(part)]
    return tuple(len(token.value.removesuffix(_END_OF_WORD)) for token in tokens)


def tokens_read(config: Path) -> int:
    """How many byte pairs a model reads of a text between start and end, by its configuration, which is checked.

    0 for one with a tokenizer of its own, or that cleans texts in its own way: its tokens are not found here.

    Raises:
        InputError: it is no JSON file, or no configuration of a model.
    """
    content = files.read_json(config)
    with refusing(f"{config} does not say how many tokens its model reads; run: dvc repro models", Damaged):
        text = content["model_cfg"]["text_cfg"]
        own = text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs")
        return 0 if own else int(text.get("context_length", CONTEXT)) - 2
