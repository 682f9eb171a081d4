import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows

from pipeline.concepts.names import distinctive_words, nearest, words

CAPTIONS = ["a red cat", "a cat sleeps", "a black cat", "a dog runs", "a red dog", "a dog"]
CONCEPT = np.array([0, 0, 0, 1, 1, 1])


def told(captions, concept, concepts, count=8):
    return distinctive_words(captions, np.array(concept), concepts, count)


# Words


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("A red CAT, a red cat!", {"red", "cat"}),
        ("Ein grüner Bär", {"ein", "grüner", "bär"}),
        ("route 66 and b2b snake_case", {"route", "and", "snake", "case"}),
        ("?! 7 x", set()),
        ("", set()),
    ],
)
def test_words_are_letters_in_lower_case_two_or_more(caption, wanted):
    assert words(caption) == wanted


def score(within, members, everywhere, captions):
    """p log(p / q) with one caption of the average kind added."""
    p, q = (within + everywhere / captions) / (members + 1), everywhere / captions
    return p * np.log(p / q)


def test_a_concepts_word_is_what_its_captions_say_and_others_do_not():
    found = told(CAPTIONS, CONCEPT, 2)
    assert found[0][0] == "cat"
    assert found[1][0] == "dog"
    assert "dog" not in found[0] and "cat" not in found[1]


def test_words_are_in_the_order_of_their_part_of_the_mutual_information():
    captions = ["cat", "cat", "cat sleeps", "dog", "big dog", "big dog runs"]
    assert score(3, 3, 3, 6) > score(2, 3, 2, 6) > score(1, 3, 1, 6) > 0
    assert told(captions, CONCEPT, 2) == [["cat", "sleeps"], ["dog", "big", "runs"]]
    assert told(captions, CONCEPT, 2, count=1) == [["cat"], ["dog"]]


def test_a_word_that_is_hardly_commoner_than_everywhere_sets_nothing_apart():
    """Two of three against three of six: 1.25 times as common with one caption of the average kind added."""
    captions = ["red cat", "cat", "cat", "red dog", "red dog", "dog"]
    assert told(captions, CONCEPT, 2) == [["cat"], ["dog"]]


def test_a_word_of_every_caption_tells_nothing():
    captions = [f"photo of {word}" for word in ("cat", "cat", "dog", "dog")]
    assert told(captions, [0, 0, 1, 1], 2) == [["cat"], ["dog"]]
    assert told(["photo", "the photo", "photo"], [0, 1, 2], 3) == [[], ["the"], []]


def test_captions_are_counted_and_not_occurrences():
    captions = ["cat cat cat dog", "dog", "bird", "bird"]
    assert told(captions, [0, 0, 1, 1], 2)[0] == ["dog", "cat"]


def test_equally_telling_words_are_in_the_order_of_the_alphabet():
    assert told(["zebra apple mango", "dull", "dull"], [0, 1, 1], 2)[0] == ["apple", "mango", "zebra"]
    assert told(["mango zebra apple", "dull", "dull"], [0, 1, 1], 2, count=2)[0] == ["apple", "mango"]


def test_an_empty_concept_has_no_words():
    assert told(["red cat", "dog", "dog"], [0, 2, 2], 4) == [["cat", "red"], [], [], []]


def test_a_single_concept_has_no_word_that_sets_it_apart():
    assert told(CAPTIONS, [0] * 6, 1) == [[]]


@settings(max_examples=60, deadline=None)
@given(
    captions=st.lists(
        st.lists(st.sampled_from(["cat", "dog", "red", "sky"]), max_size=4).map(" ".join), min_size=1, max_size=10
    ),
    seed=st.integers(0, 20),
)
def test_told_words_are_of_the_concepts_captions_and_commoner_there(captions, seed):
    concept = np.random.default_rng(seed).integers(0, 3, len(captions))
    for k, found in enumerate(distinctive_words(captions, concept, 3, 8)):
        own = [words(c) for c, of in zip(captions, concept, strict=True) if of == k]
        assert len(set(found)) == len(found)
        for word in found:
            within = sum(word in c for c in own)
            everywhere = sum(word in words(c) for c in captions)
            assert within / len(own) > everywhere / len(captions)
    backwards = distinctive_words(captions[::-1], concept[::-1], 3, 8)
    assert backwards == distinctive_words(captions, concept, 3, 8)


# Nearest captions


ROWS = np.array([[0.6, 0.8], [1, 0], [0.8, 0.6], [0, 1], [1, 0]], dtype=np.float32)
CENTRE = np.array([1, 0], dtype=np.float32)


def test_captions_are_nearest_first_and_of_equal_ones_the_first():
    assert nearest(ROWS, CENTRE, np.arange(5), 5).tolist() == [1, 4, 2, 0, 3]
    assert nearest(ROWS, CENTRE, np.array([4, 3, 1]), 5).tolist() == [4, 1, 3], "of the members as they are given"


def test_only_members_are_told_and_at_most_so_many():
    assert nearest(ROWS, CENTRE, np.array([0, 2, 3]), 2).tolist() == [2, 0]
    assert nearest(ROWS, CENTRE, np.array([], dtype=np.int64), 2).tolist() == []


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 20), count=st.integers(1, 25), seed=st.integers(0, 20))
def test_none_that_is_left_out_is_nearer(n, count, seed):
    rows, centre = unit_rows(n, 3, seed=seed), unit_rows(3, seed=seed + 50)
    found = nearest(rows, centre, np.arange(n), count)
    assert len(found) == min(n, count) == len(set(found.tolist()))
    similarity = rows @ centre
    rest = np.setdiff1d(np.arange(n), found)
    assert (np.diff(similarity[found]) <= 0).all()
    assert all(similarity[i] <= similarity[found].min() for i in rest)
