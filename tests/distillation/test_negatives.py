"""Negatives are checked against captions read by hand, and against rules that hold for any text."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.distillation.negatives import negatives
from pipeline.sample_world.captions import detailed
from pipeline.sample_world.scenes import random_scene
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES, UNSEEN_COLOURS
from pipeline.spans.phrases import Rules
from pipeline.spans.tokens import Span

RULES = Rules()


def of(caption):
    return negatives([caption], RULES)[0]


def plain(caption):
    return " ".join(caption.casefold().split())


def words(caption):
    """How often each word occurs, articles left out."""
    return Counter(word for word in re.findall(r"\w+", caption.casefold()) if word not in ("a", "an"))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "a small red star left of a blue ring",
            [
                "a small blue star left of a red ring",
                "a small red ring left of a blue star",
                "a small red star right of a blue ring",
            ],
        ),
        (
            "a red star at the top left, a striped blue ring at the bottom right",
            [
                "a blue star at the top left, a striped red ring at the bottom right",
                "a red ring at the top left, a striped blue star at the bottom right",
                "a red star at the top left, a striped blue ring at the top right",
            ],
        ),
        (
            "A man with his dog in front of an old house.",
            [
                "A man with his dog in front of a young house.",
                "A house with his dog in front of an old man.",
                "A man with his dog behind an old house.",
            ],
        ),
        (
            "a cup of hot coffee on a wooden table",
            ["a cup of wooden coffee on a hot table", "a hot table on a cup of wooden coffee"],
        ),
        ("Two dogs chasing a cat", ["A cat chasing two dogs"]),
        ("a tennis player hits an odd ball", ["an odd player hits a tennis ball", "a tennis ball hits an odd player"]),
        (
            "A black and white dog catches a yellow frisbee",
            [
                "A yellow and white dog catches a black frisbee",
                "A black and white frisbee catches a yellow dog",
            ],
        ),
    ],
)
def test_the_negatives_of_a_caption(caption, expected):
    assert of(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a small red star above a large red ring", "a large red star above a small red ring"),  # colours are equal
        ("a star above a ring and a red bar and a blue cross", "a star above a ring and a blue bar and a red cross"),
        ("a wooden star above a snowy ring", "a snowy star above a wooden ring"),  # no kind in common
        ("a red star", "a green star"),
        ("an orange star", "a blue star"),
        ("a blue star", "an orange star"),
        ("the LARGE dog", "the SMALL dog"),
        ("a Young man", "an Old man"),
    ],
)
def test_attributes(caption, expected):
    assert of(caption)[0] == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a star above an owl", "an owl above a star"),
        ("a used car behind a bus", "a used bus behind a car"),
        ("a uniform on a chair", "a chair on a uniform"),
        ("a picture of a star above a ring", "a picture of a ring above a star"),
        ("a group of people facing a hill", "a hill facing a group of people"),
        ("an orange above a bowl", "a bowl above an orange"),
        ("Dogs on a beach", "A beach on dogs"),
        ("TV on a table", "a table on TV"),
    ],
)
def test_objects(caption, expected):
    assert expected in of(caption)


RELATIONS = (
    ("left of", "right of"), ("above", "below"), ("over", "under"), ("in front of", "behind"), ("inside", "outside"),
    ("on top of", "beneath"), ("before", "after"), ("up", "down"), ("with", "without"),
)  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [*RELATIONS, *((b, a) for a, b in RELATIONS)])
def test_a_relation_turns_round(one, other):
    assert of(f"a star {one} a ring")[-1] == f"a star {other} a ring"
    assert of(f"{one.capitalize()} a ring, a star")[-1] == f"{other.capitalize()} a ring, a star"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man with a star in front of a bus", "a man with a star behind a bus"),
        ("left  of\na ring", "right of\na ring"),
        ("an umbrella upside down", "an umbrella upright"),
        ("underneath it", "on top of it"),
    ],
)
def test_the_longest_relation_is_taken(caption, expected):
    assert of(caption)[-1] == expected


@pytest.mark.parametrize(
    "caption",
    [
        "", " ", "?!", "dog", "the", "a star", "左", "überall", "a pop-up", "dogs run",
        "a star and a ring",
        "a star, a ring and a bar",
        "a star with a star",
        "a star above a star",
        "the star by a ring",
    ],
)  # fmt: skip
def test_nothing_to_say_otherwise(caption):
    assert not [new for new in of(caption) if "without" not in new]


@pytest.mark.parametrize(
    ("caption", "same"),
    [
        ("a red star and a blue star", "a blue star and a red star"),
        ("a red star next to a blue star", "a blue star next to a red star"),
        ("a red star at the top left, a blue star at the top left", "a blue star at the top left, a red star at"),
        ("a star and a ring on sand", "a ring and a star on sand"),
        ("a star on grass and a ring on grass", "a ring on grass and a star on grass"),
        ("there is a star at night, a ring at night", "there is a ring at night, a star at night"),
        ("a red star left of a red star", "a red star right of a red star"),
        ("a small red star and a large red star", "a large red star and a small red star"),
    ],
)
def test_what_says_the_same_is_no_negative(caption, same):
    assert of(caption)
    assert not any(new.startswith(same) for new in of(caption))


def test_no_captions():
    assert negatives([], RULES) == []


def test_captions_keep_their_order_and_the_parser_is_called_once():
    calls = []

    class Once:
        name = "once"

        def __call__(self, captions):
            calls.append(list(captions))
            return RULES(calls[-1])

    captions = ["a red star", "", "a ring above a bar"]
    assert negatives(captions, Once()) == [of(caption) for caption in captions]
    assert calls == [captions]


def test_phrases_of_any_parser():
    class ByHand:
        name = "by hand"

        def __call__(self, captions):
            return iter([[Span(0, 7), Span(None, None), Span(13, 29)] for _ in captions])

    assert negatives(["his cat sees a big, brown dog"], ByHand()) == [
        ["his cat sees a little, brown dog", "a dog sees his big, brown cat"]
    ]


ORDINARY = "a an the his two odd snowy star owl ring of and to at on , . -"
VOCABULARY = f"{ORDINARY} left next red green small with above ſ İ ß A Red OVER \n"  # noqa: RUF001


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.lists(st.sampled_from(VOCABULARY.split(" ")), max_size=16).map(" ".join)))
def test_any_text(caption):
    found = of(caption)
    assert found == of(caption)
    assert len(found) <= 3
    assert len({plain(text) for text in [caption, *found]}) == len(found) + 1


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(ORDINARY.split()), max_size=16).map(" ".join))
def test_where_no_word_has_an_opposite_only_the_order_changes(caption):
    assert all(words(new) == words(caption) for new in of(caption))


def test_the_sample_world():
    rng = np.random.default_rng(0)
    captions = [c for _ in range(60) for c in detailed(rng, random_scene(rng, SEEN_SHAPES, SEEN_COLOURS))]
    found = negatives(captions, RULES)
    some = [bool(new) for new in found]
    placed = [
        len(new) for caption, new in zip(captions, found, strict=True) if re.search(r" (of|above|below) a", caption)
    ]
    assert len(captions) > 300
    assert np.mean(some) > 0.95
    assert np.mean(placed) > 2
    assert not [new for news in found for new in news for colour in UNSEEN_COLOURS if colour in new]
