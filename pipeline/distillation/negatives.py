"""Hard-negative captions by rule: two phrases exchange an attribute or their heads, or a relation turns round.

After NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936): what a reader of bags of words cannot tell from the caption.
What would still be true is not made: whole phrases exchanged around "and" or "next to", clauses in another order, "a
star above a star" turned round. Opposites come in pairs, so that most words of negatives are words of captions too.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

from pipeline.distillation.caption_phrases import Phrase, phrases_of
from pipeline.distillation.opposites import ATTRIBUTE, GROUPS, RELATION, opposite
from pipeline.spans.phrases import Parser
from pipeline.spans.tokens import Span


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
    phrases, known = phrases_of(text, spans), [_clauses(text)]
    for kind in (_attribute, _object, _relation):
        if new := next((new for new in kind(text, phrases) if _clauses(new) not in known), None):
            known.append(_clauses(new))
            yield new[:1].upper() + new[1:] if capital else new


_CLAUSE_END = re.compile(r"[,.;]|\band\b")
_CONTENT_WORD = re.compile(r"\b(?!(?:an?|the|there|is|are|we|see|picture|of)\b)\w+")


def _clauses(caption: str) -> list[list[str]]:
    """The words of its clauses, in any order of these."""
    return sorted(_CONTENT_WORD.findall(clause) for clause in _CLAUSE_END.split(caption.casefold()))


def _attribute(caption: str, phrases: list[Phrase]) -> Iterator[str]:
    for group in GROUPS:
        having = [(phrase, found) for phrase in phrases if (found := group.search(phrase.attributes))]
        for (a, one), (b, other) in combinations(having, 2):
            yield from _exchanged(caption, phrases, a.put(other[0], one), b.put(one[0], other))
    for phrase in phrases:
        if word := ATTRIBUTE.search(phrase.attributes):
            yield caption[: phrase.start] + phrase.put(opposite(word[0]), word).text() + caption[phrase.end :]


def _object(caption: str, phrases: list[Phrase]) -> Iterator[str]:
    for a, b in combinations(phrases, 2):
        if a.head.casefold() != b.head.casefold():
            new_a, new_b = a._replace(opening=b.opening, head=b.head), b._replace(opening=a.opening, head=a.head)
            yield from _exchanged(caption, phrases, new_a, new_b)


_SYMMETRIC = re.compile(r"(?i)(?:\W|\b(?:and|or|next|to|beside|near|close|far|from|with|by|there|is|are)\b)*")


def _exchanged(caption: str, phrases: list[Phrase], a: Phrase, b: Phrase) -> Iterator[str]:
    """The caption with two phrases changed, unless they are each other's now and what joins them is symmetric."""
    part = [phrase for phrase in phrases if a.start <= phrase.start <= b.start]
    symmetric = _SYMMETRIC.fullmatch(" ".join(caption[one.end : other.start] for one, other in pairwise(part)))
    if not symmetric or _clauses(f"{part[0].text()}, {part[-1].text()}") != _clauses(f"{a.text()}, {b.text()}"):
        yield caption[: a.start] + a.text() + caption[a.end : b.start] + b.text() + caption[b.end :]


def _relation(caption: str, phrases: list[Phrase]) -> Iterator[str]:
    for words in sorted(RELATION.finditer(caption), key=lambda words: -len(words[0])):
        left = [phrase for phrase in phrases if phrase.end <= words.start()][-1:]
        right = [phrase for phrase in phrases if phrase.start >= words.end()][:1]
        if not left or [_clauses(phrase.text()) for phrase in left] != [_clauses(phrase.text()) for phrase in right]:
            yield caption[: words.start()] + opposite(words[0]) + caption[words.end() :]
