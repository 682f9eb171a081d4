"""Noun phrases of captions: spaCy's noun chunks, or a rule-based chunker where no model is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import spacy
from spacy.lang.char_classes import HYPHENS
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import compile_infix_regex

from pipeline.spans import spacy_models
from pipeline.spans.tokens import Span

RULES = "rules"

_RELATIONS = """about above across after against along among around as at before behind below beneath beside besides
    between beyond by down during for from in inside into like near of off on onto opposite out outside over past since
    than through to toward towards under underneath until up upon via while with within without"""
_LINKS = """and but nor or so yet he her him his i it its she that their them there they this those we what when where
    which who whose you"""
_VERBS = """am are be been being can could did do does had has have is may might must shall should was were will would
    carries carrying climbing climbs eating eats flies flying getting gets going goes hold holding holds jumping jumps
    laying lays leaning leans look looking looks lying making play playing plays posing reading ride rides riding run
    running runs see seen shows sit sits sitting smiles smiling stand standing stands swimming swims takes taking
    talking throwing using walk walking walks watch watches watching wearing wears work working"""
_DETERMINERS = "a an the some any each every another several many few one two three four five six"
_SIDES = "left right top bottom front back middle"

BREAKS = frozenset(f"{_RELATIONS} {_LINKS} {_VERBS}".split())
"""Words that end a phrase and are never part of one."""
DETERMINERS = frozenset(_DETERMINERS.split())
"""Words that may open a phrase, and that end the one before."""
SIDES = frozenset(_SIDES.split())


class Parser(Protocol):
    """Finds the phrases of captions."""

    name: str

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """For every caption its phrases, in order."""


class NounChunks:
    """spaCy's noun chunks, from a model's dependency parse."""

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp
        self.name = f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}"

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """For every caption its noun chunks, in order."""
        for doc in self.nlp.pipe(captions, batch_size=256):
            yield [Span(chunk.start_char, chunk.end_char) for chunk in doc.noun_chunks]


class Rules:
    """Phrases without a model: spaCy's blank English tokenizer, then maximal runs of words between breaks.

    A run is broken by punctuation and by `BREAKS`; a determiner starts a new one. "left" and the like, right before
    "of", are relations and not part of the run. A run that holds nothing but a determiner is no phrase. So
    "a small red star left of the blue ring" gives "a small red star" and "the blue ring". Verbs that are not in
    `BREAKS` stay inside a phrase: the price of having no model.
    """

    name = "rules 2"

    def __init__(self) -> None:
        self.nlp = spacy.blank("en")
        infixes = [rule for rule in self.nlp.Defaults.infixes or [] if HYPHENS not in rule]  # "t-shirt" is one word
        self.nlp.tokenizer.infix_finditer = compile_infix_regex(infixes).finditer

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """For every caption its phrases, in order."""
        for doc in self.nlp.pipe(captions, batch_size=1024):
            yield list(self._phrases(doc))

    @staticmethod
    def _phrases(doc: Doc) -> Iterator[Span]:
        start: int | None = None

        def close(end: int) -> Iterator[Span]:
            nonlocal start
            if start is not None:
                words = doc[start:end]
                if any(w.lower_ not in DETERMINERS for w in words):
                    yield Span(words[0].idx, words[-1].idx + len(words[-1]))
            start = None

        for token in doc:
            word = token.lower_
            relation = word in SIDES and token.i + 1 < len(doc) and doc[token.i + 1].lower_ == "of"
            if word in BREAKS or relation or not any(c.isalnum() for c in word):
                yield from close(token.i)
            elif word in DETERMINERS:
                if start is not None and token.i > start and doc[token.i - 1].lower_ not in DETERMINERS:
                    yield from close(token.i)
                start = token.i if start is None else start
            elif start is None:
                start = token.i
        yield from close(len(doc))


def load_parser(name: str) -> Parser:
    """`rules`, or the name or path of an installed spaCy model with a parser.

    Raises:
        InputError: no such model, one that is not spaCy's own through and through, or without a dependency parse.
    """
    if name == RULES:
        return Rules()
    return NounChunks(spacy_models.load(name))
