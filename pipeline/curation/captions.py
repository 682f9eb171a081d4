"""What is asked of a caption before it may be kept."""

import hashlib
import re
import string
from dataclasses import dataclass

import regex

from pipeline.artifacts.schema import Reason
from pipeline.clip import texts

_ADDRESS = regex.compile(r"https?://.*|www\..*|[^@]+@[^@]+\.\w+|.+\.(?:jpe?g|png|gif|webp|html?)", regex.IGNORECASE)
_LONGEST_ADDRESS = 300
_JOINED = rf"[[\p{{L}}\p{{N}}\p{{M}}]--[{texts.UNSPACED}]]+"
_WORD = regex.compile(rf"(?V1)[{texts.UNSPACED}]|{_JOINED}(?:['\u2019-]{_JOINED})*")
"""A word; scripts that write no spaces count by the character."""
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*")
_CHARACTERS = 50
"""The most characters a word may have on average; the words of longer captions are not counted."""
_LETTER = regex.compile(r"\p{L}")
_EDGES = string.punctuation + " …“”‘’«»。！？、"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class CaptionLimits:
    """How many words a caption may have."""

    min_words: int
    max_words: int


@dataclass(frozen=True, slots=True)
class CaptionFault:
    """Why a caption is not kept."""

    reason: Reason
    detail: str


def clean(raw: str | bytes, limits: CaptionLimits) -> str | CaptionFault:
    """The caption with its encoding repaired and white space collapsed, or why it is not kept."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            return CaptionFault(Reason.NOT_UTF8, str(error))
    elif not raw.isascii():
        try:
            raw.encode()  # JSON can hold what UTF-8 cannot, such as half of a surrogate pair
        except UnicodeEncodeError as error:
            return CaptionFault(Reason.NOT_UTF8, str(error))
    if len(raw) > min(_CHARACTERS * limits.max_words, texts.MOST_CHARACTERS):
        return CaptionFault(Reason.LONG_CAPTION, f"{len(raw)} characters: {raw[:200]!r}")
    text = " ".join(texts.repaired(raw).split())
    if fault := texts.fault(text):
        return CaptionFault(Reason.LONG_CAPTION, fault)
    if not text:
        return CaptionFault(Reason.EMPTY_CAPTION, "nothing but white space")
    pattern = _ASCII_WORD if text.isascii() else _WORD  # the same words, three times as fast
    words = pattern.findall(_without_addresses(text) if "." in text else text)
    if not any(_LETTER.search(word) for word in words):
        return CaptionFault(Reason.NO_WORDS, f"no words in {text[:200]!r}")
    if len(words) < limits.min_words:
        return CaptionFault(Reason.SHORT_CAPTION, f"fewer than {limits.min_words} words: {text[:200]!r}")
    if len(words) > limits.max_words:
        return CaptionFault(Reason.LONG_CAPTION, f"{len(words)} words, more than {limits.max_words}: {text[:200]!r}")
    return text


def _without_addresses(text: str) -> str:
    return " ".join(
        part for part in text.split() if len(part) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(part.strip(_EDGES))
    )


def digest(text: str) -> bytes:
    """8 bytes that are equal for captions that say the same."""
    return hashlib.blake2b(fold(text).encode(), digest_size=8).digest()


def fold(text: str) -> str:
    """What two captions share that say the same: no case, no punctuation around them, no extra space."""
    return " ".join(text.casefold().split()).strip(_EDGES)
