"""Hard-negative captions by rule: two phrases exchange an attribute or their heads, or a relation turns round.

After NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936): what a reader of bags of words cannot tell from the caption.
What would still be true is not made: whole phrases exchanged around "and" or "next to", clauses in another order, "a
star above a star" turned round. Opposites come in pairs, so that most words of negatives are words of captions too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from pipeline.spans.phrases import Parser
from pipeline.spans.tokens import Span
from pipeline.spans.words import DETERMINERS, SIDES


def _opposites(pairs: str) -> dict[str, str]:
    """Of "a/b, a/c": a to b, b to a, c to a."""
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
_ATTRIBUTES = {word: opposite for kind in _KINDS for word, opposite in kind.items()}
_RELATIONS = _opposites(
    "left of/right of, to the left/to the right, on the left/on the right, at the top/at the bottom, above/below, over/"
    "under, in front of/behind, inside/outside, into/out of, on top of/beneath, on top of/underneath, before/after, "
    "near/far from, next to/far from, up/down, upside down/upright, with/without"
)
_OPPOSITE = _ATTRIBUTES | _RELATIONS
_ATTRIBUTE, _RELATION = _any_of(_ATTRIBUTES), _any_of(_RELATIONS)
_GROUPS = [*map(_any_of, _KINDS), re.compile(r"(?s)\S(?:.*\S)?")]  # attributes of one kind, or all
_NO_HEADS = DETERMINERS | SIDES | frozenset(_ATTRIBUTES) - {"orange"}
_OWNER = "his|her|its|their|our|my|your|this|these|those"
_DETERMINER = rf"(?:{'|'.join(sorted(DETERMINERS))}|{_OWNER})\s+"
_VERB = r"(?!building|ceiling|clothing|crossing|evening|morning|painting|railing|wedding|breed|speed)\w{3,}(?:ing|ed)"
_PHRASE = re.compile(  # opening, attributes, head, and what a parser without a model leaves at the end of a phrase
    rf"(?is)(?:.*\b(?:picture|photo|photograph|image|view|shot|drawing|painting)\s+of\s+)?"
    rf"((?:.*\sof\s+)?(?:{_DETERMINER})*)((?:\S+\s+)*?)(\S+)"
    rf"(?:\s+(?:{'|'.join(sorted(SIDES))}|next|close|far|upside|upright|{_VERB}))*"
)
_OWNED, _DETERMINED = re.compile(rf"(?i)\b(?:{_OWNER})\s+\Z"), re.compile(f"(?i){_DETERMINER}")
_LAST_WORD, _CLAUSE_END = re.compile(r"\s*\S+\Z"), re.compile(r"[,.;]|\band\b")
_ARTICLE = re.compile(r"(?i)\b(a)n?(?=\s+(?:((?!uni[^nm]|us[eu]|eu|one\b)[aeiou]|hour)|\w))")
_SYMMETRIC = re.compile(r"(?i)(?:\W|\b(?:and|or|next|to|beside|near|close|far|from|with|by|there|is|are)\b)*")
_SAID = re.compile(r"\b(?!(?:an?|the|there|is|are|we|see|picture|of)\b)\w+")


class _Phrase(NamedTuple):
    """caption[start:end], which is opening ("a ", "a group of ") + attributes ("small red ") + head ("star")."""

    start: int
    end: int
    opening: str
    attributes: str
    head: str

    def text(self) -> str:
        return _ARTICLE.sub(lambda a: a[1] + ("n" if a[2] else ""), self.opening + self.attributes + self.head)

    def put(self, word: str, found: re.Match[str]) -> _Phrase:
        return self._replace(attributes=self.attributes[: found.start()] + word + self.attributes[found.end() :])


def negatives(captions: Sequence[str], parser: Parser) -> list[list[str]]:
    """For every caption its hard negatives, at most one of each kind, in this order.

    - attribute: two phrases exchange theirs, of one kind (colours first) or all; or the first turns to its opposite.
    - object: two phrases exchange their heads, with the determiners that agree with them.
    - relation: the longest relation of the caption turns to its opposite.

    They differ from the caption and from one another in more than case, white space, articles and order of clauses.
    """
    return [list(_negatives(caption, spans)) for caption, spans in zip(captions, parser(captions), strict=True)]


def _negatives(caption: str, spans: Sequence[Span]) -> Iterator[str]:
    capital = "A" <= caption[:1] <= "Z" and not caption[1:2].isupper() and not caption.isupper()
    text = caption[:1].lower() + caption[1:] if capital else caption  # its first word may come to stand elsewhere
    phrases, said = _phrases(text, spans), [_says(text)]
    for kind in (_attribute, _object, _relation):
        if new := next((new for new in kind(text, phrases) if _says(new) not in said), None):
            said.append(_says(new))
            yield new[:1].upper() + new[1:] if capital else new


def _says(caption: str) -> list[list[str]]:
    """The words of its clauses, in any order of these."""
    return sorted(_SAID.findall(clause) for clause in _CLAUSE_END.split(caption.casefold()))


def _phrases(caption: str, spans: Sequence[Span]) -> list[_Phrase]:
    """Phrases whose heads are things: "a group of people" and "a black and white dog" are one, "the top left" none."""
    places: list[tuple[int, int]] = []
    start, end = 0, 0
    for begin, stop in [(span.start, span.end) for span in spans if span.start is not None and span.end is not None]:
        begin = owner.start() if (owner := _OWNED.search(caption, end, begin)) else begin
        link, last = caption[end:begin].strip().casefold(), _LAST_WORD.search(caption, start, end)
        adjective = last and last[0].strip().casefold() in _ATTRIBUTES and not _DETERMINED.match(caption, begin)
        if last and (link == "of" or (adjective and link in ("", ",", "and", ", and"))):
            places.pop()
            begin = start
        elif last and not link:  # a verb, as in "a man hits" + "a ball"
            places[-1] = (start, last.start())
        places.append((begin, stop))
        start, end = begin, stop
    parsed = [_PHRASE.fullmatch(caption, *place) for place in places]
    return [_Phrase(p.start(1), p.end(3), *p.groups()) for p in parsed if p and p[3].casefold() not in _NO_HEADS]


def _attribute(caption: str, phrases: list[_Phrase]) -> Iterator[str]:
    for group in _GROUPS:
        having = [(phrase, found) for phrase in phrases if (found := group.search(phrase.attributes))]
        for (a, one), (b, other) in combinations(having, 2):
            yield from _exchanged(caption, phrases, a.put(other[0], one), b.put(one[0], other))
    for phrase in phrases:
        if word := _ATTRIBUTE.search(phrase.attributes):
            yield caption[: phrase.start] + phrase.put(_opposite(word[0]), word).text() + caption[phrase.end :]


def _object(caption: str, phrases: list[_Phrase]) -> Iterator[str]:
    for a, b in combinations(phrases, 2):
        if a.head.casefold() != b.head.casefold():
            new_a, new_b = a._replace(opening=b.opening, head=b.head), b._replace(opening=a.opening, head=a.head)
            yield from _exchanged(caption, phrases, new_a, new_b)


def _exchanged(caption: str, phrases: list[_Phrase], a: _Phrase, b: _Phrase) -> Iterator[str]:
    """The caption with two phrases changed, unless they are each other's now and what joins them is symmetric."""
    part = [phrase for phrase in phrases if a.start <= phrase.start <= b.start]
    symmetric = _SYMMETRIC.fullmatch(" ".join(caption[one.end : other.start] for one, other in pairwise(part)))
    if not symmetric or _says(f"{part[0].text()}, {part[-1].text()}") != _says(f"{a.text()}, {b.text()}"):
        yield caption[: a.start] + a.text() + caption[a.end : b.start] + b.text() + caption[b.end :]


def _relation(caption: str, phrases: list[_Phrase]) -> Iterator[str]:
    for words in sorted(_RELATION.finditer(caption), key=lambda words: -len(words[0])):
        left = [phrase for phrase in phrases if phrase.end <= words.start()][-1:]
        right = [phrase for phrase in phrases if phrase.start >= words.end()][:1]
        if not left or [_says(phrase.text()) for phrase in left] != [_says(phrase.text()) for phrase in right]:
            yield caption[: words.start()] + _opposite(words[0]) + caption[words.end() :]


def _opposite(words: str) -> str:
    opposite = _OPPOSITE[" ".join(words.lower().split())]
    return opposite.upper() if words.isupper() else opposite.capitalize() if words[0].isupper() else opposite
