"""Noun phrases of captions: spaCy's noun chunks, or a rule-based chunker where no model is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from pipeline.spans.tokens import Span
from pipeline.spans.words import NO_PHRASE, PAIRS, word_class

if TYPE_CHECKING:
    from spacy.language import Language

RULES = "rules"

_LETTER = r"[^\W_]|[^\x00-\x7f\s\u2010-\u2027\u3001-\u3003\u00ab\u00bb]"  # marks of many scripts are no \w
_SUFFIX = r"'(?:[sdm]|re|ve|ll)\b"
_WORD = re.compile(
    rf"(?i:(?:[a-z]\.){{2,}}|\d+(?:[.,]\d+)+|(?:{_LETTER})+(?:(?:-|(?!{_SUFFIX})')(?:{_LETTER})+)*|{_SUFFIX}|\S)"
)

# What a word is where it stands: rules over a string of classes, a letter a word, in this order.
#
#   a article (a, every)   d count (two, both, other)   n number (7)   D the, this, his   B pronoun, Z one before a verb
#   N noun   S plural   A person or animal   P several of them   c a group of them   W material (wood, orange)
#   J adjective   L colour   H side   q very, -ly   R other adverb   O 's   Q bare apostrophe
#   G -ing   I one that is often an attribute (smiling)   M one that is often a noun (swimming, building)
#   E -ed    Y one that ends an attribute (curly haired)
#   V verb   v or a noun (walk)   F ends in -s or past   f or a plural (waves)   U be   h have   T to, can   ! settled
#   X preposition   C and, or   K comma   - hyphen   t there   B whatever else ends a phrase
_ATTRIBUTES = "[JLHWYn]"
_NOUNS = "[NSAPWcvf]"
_RULES = [
    (frozenset(wanted), re.compile(pattern), replacement)
    for wanted, pattern, replacement in [
        ("Q", r"(?<=[SP])Q(?=[^B])", "O"),  # dogs' toys
        ("t", r"t[UO]", "tX"),  # there is a smiling boy: no auxiliary of what follows
        ("Z", r"ZO", "ZU"),  # he's
        ("Z", r"(Z[RqUh]*+)[vVfF]", r"\1!"),  # who ride, we see
        ("T", r"(T[Rq]*+)[vV]", r"\1!"),  # to ride, can fly
        ("Uh", r"([Uh][Rq]*+)[GIME]|(?<=U)[vV]", r"\1!"),  # is riding, are parked, has jumped
        ("U", r"(U[NWJ])M", r"U!!"),  # is ice skating
        # After a determiner and attributes stands a noun.
        ("vV", rf"([aDO]{_ATTRIBUTES}*+|d{_ATTRIBUTES}++|[XL])[vV](?![aDd])", r"\1N"),  # a walk, a long run, on display
        ("T", r"(?<=a)T", "N"),  # a can
        ("q", rf"([aDdJL])q(?={_NOUNS})", r"\1J"),  # a burly man
        ("fF", rf"([aDO]{_ATTRIBUTES}*+)[fF](?![aDd])", r"\1S"),  # the waves, his drinks
        ("f", r"^([^!UhTZFV]{0,30}[AP][^!UhTZFV]{0,30}[NSWJLcv])f(?=[XaDdRq])", r"\1!"),  # a man in a hat waves at
        ("f", rf"(d{_ATTRIBUTES}*+|[XLJW])f(?![aDd])", r"\1S"),  # two watches; of waves
        # -ing: a verb, unless it stands between a determiner and a noun.
        ("M", r"(?<=[APcS])M|M(?=[aDd])", "!"),  # a man fishing
        ("M", rf"([AP])[NW]M(?!{_NOUNS})", r"\1!!"),  # people ice skating
        ("M", rf"M(?={_NOUNS}|{_ATTRIBUTES})|(?<=[aDdOXNWJLHM])M", "N"),  # swimming trunks, for fishing, brick building
        # the young smiling boy
        ("GI", rf"([aDO][JLHWRq]*+|d[JLHWRq]*+(?=I)|d(?=G[AP]))[GI](?={_ATTRIBUTES}|{_NOUNS}|[ME])", r"\1J"),
        ("GI", r"(?<=[aDO])[GI](?![aDdX])", "N"),  # the gathering
        ("I", rf"(?<![NSAPcvfWLUh!])I(?={_NOUNS}|[JL])", "J"),  # smiling boys
        # -ed: a verb, unless a noun follows.
        ("E", r"(?<=[APcS])E", "!"),  # a dog leashed, a dog chased cats
        # a leashed dog, the injured
        ("EY", rf"[EY](?=(?:[JLHEYRqn]|[KC]+(?=[EJL])){{0,6}}(?:{_NOUNS}|M))|(?<=[aD])E", "J"),
        ("-", rf"-[GEY](?={_NOUNS})", "-J"),  # best - selling author
        # Forms of present and past.
        ("f", r"(?<=[ARqT])f", "!"),  # the man waves, happily waves
        # a boy juggles, a red and white bus stops: no plural after "a"
        ("fS", rf"(a[JLHWn]*+(?:[KC]{{1,2}}[JLH]++){{0,8}}(?:[NW]*+A|[NW]++))[fS](?!{_NOUNS})", r"\1!"),
        ("fv", r"([NW])f(?=[aDd])|(?<=[ANW])v(?=[aDd])", r"\1!"),  # player watches the, a boy hit the
        ("fv", r"([!FVGIE]C)[fv]", r"\1!"),  # sits and drinks
        ("fv", r"([CK])[fv](?=[aDd])|^v(?=[aDdT])", r"\1!"),  # , watch the
        ("S", r"(?<=A)S(?=[aDd])", "!"),  # the dog tears the
        ("vV", r"([SPc][Rq]*+)[vV]", r"\1!"),  # people walk
        ("v", r"([AP]C[aDd]?[JLW]*+[AN])v", r"\1!"),  # a man and a woman walk
        ("dn", r"([dn][JLHW]*+[SP])N(?=[XTaDdRqKB]|$)", r"\1!"),  # two giraffes mingle
        ("P", r"(?<=P)N(?=[XTaDdRq]|$)", "!"),
        ("U", rf"(?<=U)N(?!{_NOUNS}|O)", "!"),  # is overcast
    ]
]

# A phrase: determiners, attributes, nouns. Attributes may be coordinated, nouns are not.
_HYPHEN = rf"(?<=[JLHWNAn])-(?=[JLHWNAn]+{_NOUNS})"  # low - key weddings
_MORE = r"(?:KC?|C)"
_COORDINATED = (  # red, white and blue flag; a dry, scrubby plain. Bounded, so that long captions take no longer a word
    rf"(?:[JLHW](?:q?[JLHW]){{0,8}}(?:{_MORE}q?[JLHW]{{1,8}}){{1,8}}(?=[JLHW]{{0,8}}{_NOUNS})"
    rf"|(?<=[aDd])[JLH]{{1,8}}{_MORE}N(?=[JLHW]{{0,8}}{_NOUNS}))"
)
_PHRASE = re.compile(
    rf"(?P<phrase>(?:aL+Ca(?=L)|a?[Ddn]*+){_COORDINATED}?(?:q?[JLHn]|{_HYPHEN})*"
    rf"{_NOUNS}(?:(?:[NSAPWcvfJLHOn]|{_HYPHEN})*[NSAPWcvfn])?"  # a red, old school bus
    r"|(?:a[Dd]*|(?<![Dd])[Dd]*D)(?:q?[JLH])+"  # the top left
    r"|(?<=X)L+(?:CL+)*)"  # dressed in black and white
    r"|a|[Ddn]++|[JLHRqn]++"  # what opens no phrase
)


@lru_cache(maxsize=1 << 14)
def _chunks(classes: str) -> list[tuple[int, int]]:
    """Where phrases begin and end among words of these classes."""
    for wanted, pattern, replacement in _RULES:
        if not wanted.isdisjoint(classes):
            classes = pattern.sub(replacement, classes)
    spans = (found.span("phrase") for found in _PHRASE.finditer(classes))
    return [(start, end) for start, end in spans if start < end]


class Parser(Protocol):
    """Finds the phrases of captions."""

    name: str

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """For every caption its phrases, in order."""


class NounChunks:
    """spaCy's noun chunks, from a model's dependency parse, without those that are only a pronoun."""

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp
        self.name = f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}, no pronouns"

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """For every caption its noun chunks, in order."""
        for doc in self.nlp.pipe(captions, batch_size=256):
            named = (chunk for chunk in doc.noun_chunks if any(word.lower_ not in NO_PHRASE for word in chunk))
            yield [Span(chunk.start_char, chunk.end_char) for chunk in named]


class Rules:
    """Phrases without a model: a lexicon of word classes, and rules on their order.

    Every word gets a class (`words.word_class`); rules settle which of those that can be verbs are verbs here; then a
    pattern finds determiners, attributes and nouns in a row. "left" and the like, right before "of", are relations.
    So "a black and white dog left of the parked car wags" gives "a black and white dog" and "the parked car".
    """

    name = "rules 3"

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """For every caption its phrases, in order."""
        for caption in captions:
            text = caption.replace("\u2019", "'")
            places = [found.span() for found in _WORD.finditer(text)]
            words = [text[start:end].lower() for start, end in places]
            classes = "".join(map(word_class, words))
            for first, pair in enumerate(pairwise(words)):
                if pair in PAIRS:
                    classes = classes[:first] + PAIRS[pair] + classes[first + 2 :]
            yield [Span(places[start][0], places[end - 1][1]) for start, end in _chunks(classes)]


def load_parser(name: str) -> Parser:
    """`rules`, or the name or path of an installed spaCy model with a parser.

    Raises:
        InputError: no such model, one that is not spaCy's own through and through, or without a dependency parse.
    """
    if name == RULES:
        return Rules()
    from pipeline.spans import spacy_models  # importing spaCy takes seconds

    return NounChunks(spacy_models.load(name))
