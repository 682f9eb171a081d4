"""English words by what they can be in a caption: the lexicon of the rule-based phrase parser.

A class is one letter, so that the classes of a caption's words are a string that regular expressions can read. A word
that no list has is classed by its ending, and else is a noun. Lists hold what captions use often, not the language.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

_LISTS: dict[str, list[str]] = {
    name: words.split()
    for name, words in tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8")).items()
}

SIDES = frozenset(_LISTS["sides"])
"""Sides of things: a relation before "of", an attribute before a noun."""

DETERMINERS = frozenset(_LISTS["articles"] + _LISTS["counts"] + _LISTS["owners"]) - {"whose"}
"""Words that may open a phrase, that end the one before, and that are none alone."""

PRONOUNS = frozenset(_LISTS["subjects"] + _LISTS["other_pronouns"])
"""Words that stand for a noun and say nothing of what they stand for."""

NO_PHRASE = PRONOUNS | DETERMINERS
"""Words that are no phrase by themselves, nor together: "they", "each other", "all of these"."""

_LETTERS = """
    V:verbs v:verbs_or_nouns F:third_persons f:third_persons_or_plurals E:participles F:past I:smiling M:gerunds
    N:nouns S:plurals A:people P:plurals_of_people P:plural_people c:groups J:adjectives Y:bound_participles
    W:materials L:colours R:adverbs q:degrees X:prepositions H:attributes_of_place B:pronouns Z:subjects
    a:articles d:counts D:owners U:auxiliaries h:have T:modals C:conjunctions
"""
"""The class of every list; of a word that is in two of them, that of the later."""


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2:-1] not in "aeou" else verb + "s"


def _plural(noun: str) -> str:
    return noun[:-3] + "men" if noun.endswith("man") else _third_person(noun)


def _lexicon() -> dict[str, str]:
    """The class of every listed word."""
    lists = _LISTS | {
        "third_persons": [_third_person(verb) for verb in _LISTS["verbs"] + _LISTS["verbs_or_nouns"]],
        "third_persons_or_plurals": [_third_person(verb) for verb in _LISTS["verbs_or_plurals"]],
        "plurals_of_people": [_plural(noun) for noun in _LISTS["people"]],
        "attributes_of_place": [side for side in SIDES if side != "top"],
        "pronouns": list(PRONOUNS),
    }
    letters = (pair.split(":") for pair in _LETTERS.split())
    lexicon = {word: letter for letter, name in letters for word in lists[name]}
    return lexicon | {"there": "t", "here": "t", "'s": "O", "'": "Q", ",": "K", "-": "-"}


PAIRS = {(side, "of"): "XX" for side in SIDES} | {
    ("on", "top"): "XX",
    ("close", "up"): "JN",
    ("top", "left"): "HH",
    ("top", "right"): "HH",
}
"""Classes of two words in a row that are not what they are apart."""

_LEXICON = _lexicon()


def word_class(word: str) -> str:
    """The letter of a lower-case word; see `pipeline.spans.phrases` for what the letters mean."""
    if letter := _LEXICON.get(word):
        return letter
    if not any(c.isalpha() for c in word):
        return "n" if any(c.isalnum() for c in word) else "B"
    if len(word) > 4:
        if word.endswith(("ing", "in'")):
            return "J" if "-" in word else "G"
        if word.endswith("ed") and not word.endswith("eed"):
            return "J" if "-" in word else "E"
        if word.endswith(("n't", "'ll", "'d")):
            return "T"
        if word.endswith(("'re", "'ve")):
            return "Z"
        if word.endswith("ly"):
            return "q"
        if word.endswith(("ward", "wards", "wise")):
            return "R"
        if word.endswith(("ize", "ify")):
            return "V"
        if word.endswith(("less", "ous", "ful")) or (len(word) > 7 and word.endswith(("able", "ible"))):
            return "J"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return "S"
    if "-" in word and all(_LEXICON.get(part, "N") in "JLWCE" for part in word.split("-")):
        return "J"
    return "N"
