"""Words of captions that have an opposite: attributes by kind, and relations."""

import re
from collections.abc import Iterable


def _opposites(pairs: str) -> dict[str, str]:
    """The opposites that "a/b, a/c" lists: a to b, b to a, c to a."""
    both = [pair.strip().split("/") for pair in pairs.split(",")]
    return {word: opposite for one, other in reversed(both) for word, opposite in ((one, other), (other, one))}


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = "|".join(sorted(words, key=len, reverse=True)).replace(" ", r"\s+")
    return re.compile(rf"(?<![\w-])(?ai:{longest_first})(?![\w-])")  # ASCII: lower() gives the words again


_KINDS = [
    _opposites("red/green, orange/blue, yellow/purple, black/white, pink/brown, gray/tan, grey/tan, gold/silver"),
    _opposites("striped/dotted, plain/checked, spotted/striped, plaid/plain"),
    _opposites("small/large, little/big, tiny/huge"),
    _opposites("young/old, new/old, tall/short, long/short, wide/narrow, thick/thin, high/low"),
    _opposites("wooden/metal, open/closed, full/empty, wet/dry, clean/dirty, hot/cold, bright/dark, male/female"),
]
ATTRIBUTES = {word: opposite for kind in _KINDS for word, opposite in kind.items()}
_RELATIONS = _opposites(
    "left of/right of, to the left/to the right, on the left/on the right, at the top/at the bottom, above/below, over/"
    "under, in front of/behind, inside/outside, into/out of, on top of/beneath, on top of/underneath, before/after, "
    "near/far from, next to/far from, up/down, upside down/upright, with/without"
)
_OPPOSITES = ATTRIBUTES | _RELATIONS

ATTRIBUTE, RELATION = _any_of(ATTRIBUTES), _any_of(_RELATIONS)
"""Find an attribute, and a relation."""
GROUPS = [*map(_any_of, _KINDS), re.compile(r"(?s)\S(?:.*\S)?")]
"""Find attributes of one kind, kind by kind, and last all attributes together."""


def opposite(words: str) -> str:
    """The opposite of an attribute or relation, in capitals as it is."""
    found = _OPPOSITES[" ".join(words.lower().split())]
    return found.upper() if words.isupper() else found.capitalize() if words[0].isupper() else found
