"""The phrases of a caption whose heads are things, each taken apart into opening, attributes and head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.distillation.opposites import ATTRIBUTES
from pipeline.spans.tokens import Span
from pipeline.spans.words import DETERMINERS, SIDES

_NO_HEADS = DETERMINERS | SIDES | frozenset(ATTRIBUTES) - {"orange"}
_OWNER = "his|her|its|their|our|my|your|this|these|those"
_DETERMINER = rf"(?:{'|'.join(sorted(DETERMINERS))}|{_OWNER})\s+"
_VERB = r"(?!building|ceiling|clothing|crossing|evening|morning|painting|railing|wedding|breed|speed)\w{3,}(?:ing|ed)"
_PHRASE = re.compile(  # opening, attributes, head, and what a parser without a model leaves at the end of a phrase
    rf"(?is)(?:.*\b(?:picture|photo|photograph|image|view|shot|drawing|painting)\s+of\s+)?"
    rf"((?:.*\sof\s+)?(?:{_DETERMINER})*)((?:\S+\s+)*?)(\S+)"
    rf"(?:\s+(?:{'|'.join(sorted(SIDES))}|next|close|far|upside|upright|{_VERB}))*"
)
_OWNED, _DETERMINED = re.compile(rf"(?i)\b(?:{_OWNER})\s+\Z"), re.compile(f"(?i){_DETERMINER}")
_LAST_WORD = re.compile(r"\s*\S+\Z")
_ARTICLE = re.compile(r"(?i)\b(a)n?(?=\s+(?:((?!uni[^nm]|us[eu]|eu|one\b)[aeiou]|hour)|\w))")


class Phrase(NamedTuple):
    """caption[start:end], which is opening ("a ", "a group of ") + attributes ("small red ") + head ("star")."""

    start: int
    end: int
    opening: str
    attributes: str
    head: str

    def text(self) -> str:
        """The phrase, its article fitting what follows."""
        return _ARTICLE.sub(lambda a: a[1] + ("n" if a[2] else ""), self.opening + self.attributes + self.head)

    def put(self, word: str, found: re.Match[str]) -> Phrase:
        """The phrase with a word in place of the attributes found."""
        return self._replace(attributes=self.attributes[: found.start()] + word + self.attributes[found.end() :])


def phrases_of(caption: str, spans: Sequence[Span]) -> list[Phrase]:
    """Phrases whose heads are things: "a group of people" and "a black and white dog" are one, "the top left" none."""
    places: list[tuple[int, int]] = []
    start, end = 0, 0
    for begin, stop in [(span.start, span.end) for span in spans if span.start is not None and span.end is not None]:
        begin = owner.start() if (owner := _OWNED.search(caption, end, begin)) else begin
        link, last = caption[end:begin].strip().casefold(), _LAST_WORD.search(caption, start, end)
        adjective = last and last[0].strip().casefold() in ATTRIBUTES and not _DETERMINED.match(caption, begin)
        if last and (link == "of" or (adjective and link in ("", ",", "and", ", and"))):
            places.pop()
            begin = start
        elif last and not link:  # a verb, as in "a man hits" + "a ball"
            places[-1] = (start, last.start())
        places.append((begin, stop))
        start, end = begin, stop
    parsed = [_PHRASE.fullmatch(caption, *place) for place in places]
    return [Phrase(p.start(1), p.end(3), *p.groups()) for p in parsed if p and p[3].casefold() not in _NO_HEADS]
