"""Texts on their way into a tower: how long one may be, and what a tower leaves unread of it.

Tokenizing costs a time that grows with the square of a word's length, so a text is bounded where it enters. Nothing
that is large is imported here: curation asks, too.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import ftfy
import regex

from pipeline.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.clip.towers import Clip

MOST_CHARACTERS = 10_000
"""A text has this many characters at most."""
MOST_OF_A_WORD = 500
"""A word, which is whatever stands between white space, has this many characters at most."""

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Of a regular expression: the characters of scripts that write no spaces between words."""
_WORD = regex.compile(rf"[^\s{UNSPACED}]+")


def repaired(text: str) -> str:
    """A text with its encoding repaired; ftfy would leave printable ASCII without an HTML entity alone."""
    plain = text.isascii() and "&" not in text and text.isprintable()
    return text if plain else ftfy.fix_text(text)


def cleaned(text: str) -> str:
    """A text as every tokenizer of open_clip cleans it first: its encoding repaired, entities read twice."""
    text = repaired(text)
    return html.unescape(html.unescape(text)) if "&" in text else text


def fault(text: str) -> str | None:
    """Why a text is too long to be read; None if it is not."""
    if len(text) > MOST_CHARACTERS:
        return f"{len(text):,} characters, at most {MOST_CHARACTERS:,}: {text[:200]!r}"
    if len(text) <= MOST_OF_A_WORD:
        return None
    longest = max(_WORD.findall(cleaned(text)), key=len, default="")
    if len(longest) > MOST_OF_A_WORD:
        return f"a word of {len(longest):,} characters, at most {MOST_OF_A_WORD}: {longest[:200]!r}"
    return None


def check(texts: Iterable[str]) -> None:
    """That texts can be read.

    Raises:
        InputError: one is too long, or is none that UTF-8 can write.
    """
    for text in texts:
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"{text[:200]!r} is no valid text; expected UTF-8")
        if found := fault(text):
            raise InputError(f"a text is too long to be read: {found}. Shorten it, or take it out")


def fits(text: str, room: int) -> bool:
    """Whether so many byte pairs surely hold a text, which is cheap to say of most captions.

    A token has at least one byte, and cleaning makes no more bytes of ASCII.
    """
    return len(text) <= room and text.isascii()


def tokens(clip: Clip, texts: Sequence[str]) -> Tensor:
    """Token ids of texts, int64 [n, context_length], cut to the context length.

    Raises:
        InputError: as `check` does.
    """
    check(texts)
    return clip.tokenize(list(texts))


def say_cut(clip: Clip, texts: Sequence[str], what: str) -> None:
    """Say on the screen of how many texts the tower does not read the end.

    Args:
        what: the texts are, in the plural.
    """
    if count := sum(cut(clip, texts)):
        print(
            f"{count:,} of {len(texts):,} {what} have more than {clip.context_length} tokens, start and end included; "
            "the text tower does not read their ends",
            file=sys.stderr,
        )


def cut(clip: Clip, texts: Sequence[str]) -> list[bool]:
    """Of each text whether it has more tokens than the tower reads.

    Raises:
        InputError: as `check` does.
    """
    check(texts)
    from open_clip import SimpleTokenizer

    tokenizer: Any = clip.tokenize
    if isinstance(tokenizer, SimpleTokenizer):  # byte pairs, between a start and an end
        room = clip.context_length - 2
        return [not fits(text, room) and len(tokenizer.encode(text)) > room for text in texts]
    padding = tokenizer.tokenizer.pad_token_id
    read, longer = (
        (tokenizer(list(texts), context_length=length) != padding).sum(dim=1)
        for length in (clip.context_length, clip.context_length + 1)
    )
    found: list[bool] = (longer > read).tolist()
    return found
