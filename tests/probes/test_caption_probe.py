import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows
from tiny_probes import COMBINATIONS, captions, noisy, signs

from pipeline.errors import InputError
from pipeline.probes import captions as probe
from pipeline.probes.captions import COMMON, RARE, NearMisses, Words, vocabulary
from pipeline.probes.linear import areas

# Vocabulary


def counted(total, **counts):
    """Captions of which the first n have each word, and `filler` captions of their own."""
    return [" ".join([f"{i}", *(word for word, n in counts.items() if i < n)]) for i in range(total)]


def test_the_commonest_words_come_first_and_equally_common_ones_by_name():
    training = counted(20, cat=3, dog=5, bird=3, ant=9)
    assert vocabulary(training, ["ant bird cat dog", ""], 10) == ["ant", "dog", "bird", "cat"]


@pytest.mark.parametrize(
    ("count", "found"), [(1, ["ant"]), (3, ["ant", "dog", "bird"]), (4, ["ant", "dog", "bird", "cat"])]
)
def test_so_many_words_at_most(count, found):
    assert vocabulary(counted(20, cat=3, dog=5, bird=3, ant=9), ["ant bird cat dog", ""], count) == found


def test_a_word_of_more_than_half_of_the_captions_is_too_common():
    assert (COMMON, RARE) == (0.5, 0.005)
    assert vocabulary(counted(20, most=11, half=10), ["most half", ""], 10) == ["half"]


def test_a_word_of_fewer_than_one_in_two_hundred_captions_is_too_rare():
    assert vocabulary(counted(400, once=1, twice=2), ["once twice", ""], 10) == ["twice"]
    assert vocabulary(counted(200, once=1), ["once", ""], 10) == ["once"]


def test_a_word_that_no_test_caption_has_is_not_probed():
    assert vocabulary(counted(20, cat=3, dog=5), ["a cat and a catfish", "dogs"], 10) == ["cat"]


def test_a_word_that_all_test_captions_have_is_not_probed():
    """There would be nothing to tell it from."""
    assert vocabulary(counted(20, cat=3, dog=5), ["a cat and a dog", "two cat"], 10) == ["dog"]


def test_captions_are_counted_and_not_occurrences():
    training = ["Cat cat CAT", "dog", "dog", "bird", "fish", "fowl"]
    assert vocabulary(training, ["cat dog", ""], 10) == ["dog", "cat"]


def test_letters_and_digits_on_their_own_are_no_words():
    assert vocabulary(["a 12 x3 dog", "b"], ["a 12 x3 dog", ""], 10) == ["dog"]


some_captions = st.lists(
    st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "ee"]), max_size=4).map(" ".join), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(some_captions, some_captions, st.integers(1, 6))
def test_words_keep_their_limits(training, test, count):
    found = vocabulary(training, test, count)
    of_training, of_test = ([[word in text for text in texts] for word in found] for texts in (training, test))
    assert all(0 < sum(has) <= len(training) / 2 for has in of_training)
    assert all(0 < sum(has) < len(test) for has in of_test)
    assert len(set(found)) == len(found) <= count
    assert [sum(has) for has in of_training] == sorted((sum(has) for has in of_training), reverse=True)
    assert vocabulary(training, test, 6)[:count] == found


# Words


def test_which_captions_have_a_word():
    training, test = ["a red cat", "the catfish", "A Dog", "dogs"], ["cat, dog!", "red"]
    found = Words.build(training, test, 10)
    assert found.names == ["cat", "dog", "red"]
    assert found.training.tolist() == [
        [True, False, True], [False, False, False], [False, True, False], [False, False, False],
    ]  # fmt: skip
    assert found.test.tolist() == [[True, True, False], [False, False, True]]
    assert (found.training.dtype, found.test.dtype) == (bool, bool)


@pytest.fixture(scope="module")
def words():
    """Three words; a third of the training captions have none, so that none is too common."""
    training = np.concatenate([np.tile(COMBINATIONS, (4, 1)), np.zeros((16, 3), dtype=bool)])
    return Words.build(captions(training), captions(COMBINATIONS), 10)


def test_words_that_are_linear_in_the_embeddings_are_read_without_an_error(words):
    found, parts = words.read(signs(words.training), signs(words.test))
    assert words.names == ["moon", "star", "tree"]
    assert found.tolist() == [1, 1, 1]
    assert list(parts) == ["words", "exact"]
    assert parts["words"].tolist() == parts["exact"].tolist() == [1] * 8


def test_a_caption_is_exact_only_with_all_of_its_words_and_no_other(words):
    """The embedding of each of these captions says something else: a word too few, too many, another word."""
    seen = words.test.copy()
    seen[3] = [False, True, False]  # of star and tree, star alone
    seen[1] = [True, False, True]  # of tree, moon and tree
    seen[4] = [False, True, False]  # of moon, star
    exact = words.read(signs(words.training), signs(seen))[1]["exact"]
    assert exact.tolist() == [1, 0, 1, 0, 0, 1, 1, 1]


def test_parts_of_captions_average_to_the_mean_area_of_words(words):
    training, test = noisy(signs(words.training), 1.0, seed=1), noisy(signs(words.test), 1.0, seed=2)
    found, parts = words.read(training, test)
    assert 0.5 < found.mean() < 1
    assert parts["words"].shape == parts["exact"].shape == (8,)
    assert parts["words"].mean() == pytest.approx(found.mean())
    assert set(parts["exact"].tolist()) <= {0.0, 1.0}


def test_words_that_embeddings_do_not_tell_are_read_by_chance():
    labels = np.random.default_rng(0).random((900, 3)) < 0.4
    texts = captions(labels)
    words = Words.build(texts[:300], texts[300:], 10)
    found, parts = words.read(unit_rows(300, 6, seed=1), unit_rows(600, 6, seed=2))
    assert found.mean() == pytest.approx(0.5, abs=0.04)
    assert parts["words"].mean() == pytest.approx(found.mean())


def test_areas_are_those_of_the_words_in_their_order(words):
    """The embedding knows of stars alone."""
    axis = np.float32([0, np.sqrt(3), 0])
    training, test = (signs(own) * axis for own in (words.training, words.test))
    found, _ = words.read(training, test)
    assert found.tolist() == [0.5, 1, 0.5]
    assert areas(test.astype(np.float64), words.test)[0].tolist() == found.tolist()


def test_captions_without_a_word_to_probe_are_refused_with_a_reason():
    with pytest.raises(InputError, match=r"no word stands in .* of 2 training captions"):
        Words.build(["a dog", "the dog"], ["a cat"], 10)


# Near-misses


def of(pictures, near):
    """Near-misses of the captions of images, and what they read: (asking, wanted, others in any order)."""
    texts = [text for own in pictures for text in own]
    owner = np.repeat(np.arange(len(pictures)), [len(own) for own in pictures])
    made = NearMisses.build(texts, owner, near)
    rows = zip(made.queries, made.wanted, made.others, strict=True)
    return made, [(texts[q], texts[w], {texts[other] for other in others}) for q, w, others in rows]


PICTURES = [
    ["a red star and a blue moon", "night over trees"],
    ["a blue star and a red moon", "two dogs"],
    ["a red star", "night"],
    ["trees"],
]


def test_near_misses_are_the_captions_of_others_with_most_words_in_common_by_hand():
    _, found = of(PICTURES, 2)
    assert found[:2] == [
        ("a red star and a blue moon", "night over trees", {"night", "trees"}),
        ("night over trees", "a red star and a blue moon", {"a blue star and a red moon", "a red star"}),
    ]


def test_all_captions_of_a_picture_ask_for_the_next_and_the_last_for_the_first():
    made, found = of([["aa", "bb", "cc"], ["dd", "ee"], ["ff"]], 1)
    assert [row[:2] for row in found] == [("aa", "bb"), ("bb", "cc"), ("cc", "aa"), ("dd", "ee"), ("ee", "dd")]
    assert made.queries.tolist() == [0, 1, 2, 3, 4]
    assert made.wanted.tolist() == [1, 2, 0, 4, 3]


def test_a_picture_with_one_caption_asks_for_nothing_and_is_a_miss_of_others():
    _, found = of([["a cat", "a dog"], ["a dog runs"]], 1)
    assert found == [("a cat", "a dog", {"a dog runs"}), ("a dog", "a cat", {"a dog runs"})]


def test_without_a_picture_of_several_captions_nothing_is_asked():
    made, _ = of([["aa"], ["bb"], ["cc"]], 2)
    assert made.queries.shape == made.wanted.shape == (0,)
    assert made.others.shape == (0, 2)
    assert made.found(unit_rows(3, 4)).shape == (0,)


def test_a_caption_that_a_picture_has_twice_is_one_caption():
    _, found = of([["aa", "aa"], ["bb", "cc", "bb"], ["dd"]], 1)
    assert [row[:2] for row in found] == [("bb", "cc"), ("cc", "bb")]


def test_a_text_of_several_pictures_is_one_near_miss():
    made, found = of([["a cat", "a dog"], ["a big dog"], ["a big dog"], ["a dog sits"]], 2)
    assert found[0] == ("a cat", "a dog", {"a big dog", "a dog sits"})
    assert set(made.others[0].tolist()) == {2, 4}


def test_a_caption_that_differs_in_case_alone_is_no_miss():
    """Of "A dog" and "a dog" most models make the same, so that the one could never be told from the other."""
    texts = ["A red dog", "a dog runs", "a red DOG", "a cat", "a red cat"]
    made = NearMisses.build(texts, np.array([0, 0, 1, 2, 3]), 2)
    assert made.queries.tolist() == [0, 1]
    assert 2 not in made.others


def test_a_caption_of_another_picture_that_equals_one_of_the_own_is_no_miss():
    """Of the asked and of the asking one: neither could be told from what is wanted."""
    _, found = of([["a cat", "a dog", "a fish"], ["a dog", "a cat", "a fish", "sky"], ["moon"]], 2)
    assert [row for row in found if row[2] != {"sky", "moon"}] == []
    assert [row[0] for row in found] == ["a cat", "a dog", "a fish"]  # of the other image `moon` alone is left


@pytest.mark.parametrize(("near", "asked"), [(1, 5), (3, 5), (4, 2), (5, 0), (100, 0)])
def test_a_caption_with_fewer_near_misses_is_not_asked_for(near, asked):
    """The two captions of the first image have four others, the three of the second have three."""
    made, _ = of([["aa", "bb"], ["cc", "dd", "ff", "cc"], ["ee"]], near)
    assert len(made.queries) == asked
    assert made.others.shape == (asked, near)


def test_how_many_captions_are_looked_at_at_a_time_changes_nothing(monkeypatch):
    whole, _ = of(PICTURES, 2)
    embedded = unit_rows(sum(map(len, PICTURES)), 8)
    found = whole.found(embedded)
    monkeypatch.setattr(probe, "_CELLS", 12)
    parts, _ = of(PICTURES, 2)
    assert np.array_equal(parts.found(embedded), found)
    for name in ("queries", "wanted", "others"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name)), name


def similarities(texts):
    """Cosines of the tf-idf vectors of texts, idf = ln((1 + n) / (1 + df)) + 1, float64 [n, n]."""
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    within = Counter(word for own in counts for word in own)
    rows = np.array([[own[w] * (np.log((1 + len(texts)) / (1 + within[w])) + 1) for w in within] for own in counts])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


worlds = st.lists(
    st.lists(
        st.lists(st.sampled_from(["a", "bb", "Cc", "cc", "7"]), min_size=1, max_size=4).map(" ".join),
        min_size=1, max_size=4,
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(worlds, st.integers(1, 4))
def test_near_misses_are_those_of_plain_search(pictures, near):
    made = of(pictures, near)[0]
    pictures = [[text.lower() for text in own] for own in pictures]  # captions that differ in case alone are equal
    texts = [text for own in pictures for text in own]
    owner = np.repeat(np.arange(len(pictures)), [len(own) for own in pictures])
    alike = similarities(texts)
    first = {text: texts.index(text) for text in texts}
    asked = []
    for own in pictures:
        distinct = list(dict.fromkeys(own))
        strangers = set(texts) - set(own)
        if len(distinct) > 1 and len(strangers) >= near:
            asked += [(q, w, strangers) for q, w in zip(distinct, distinct[1:] + distinct[:1], strict=True)]
    assert [(texts[q], texts[w]) for q, w in zip(made.queries, made.wanted, strict=True)] == [row[:2] for row in asked]
    assert (owner[made.queries] == owner[made.wanted]).all()
    for wanted, others, (_, _, strangers) in zip(made.wanted, made.others, asked, strict=True):
        chosen = {texts[other] for other in others}
        assert len(chosen) == near and chosen <= strangers
        left = [alike[wanted, first[text]] for text in strangers - chosen]
        assert min(alike[wanted, first[text]] for text in chosen) >= max(left, default=0) - 1e-9


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(1, 6)), st.integers(0, 99))
def test_the_order_of_other_pictures_and_of_their_captions_changes_nothing(order, seed):
    """Long captions of many words, so that no two are equally near."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{i}" for i in range(40)]
    pictures = [[" ".join(rng.choice(vocabulary, 12)) for _ in range(3)] for _ in range(6)]
    before, told = of(pictures, 4)
    vectors = dict(zip((text for own in pictures for text in own), unit_rows(18, 8, seed=seed), strict=True))
    turned = [pictures[0], *(pictures[i][::-1] for i in order)]
    after, retold = of(turned, 4)
    assert retold[:3] == told[:3]
    of_before, of_after = (
        made.found(np.array([vectors[text] for own in rows for text in own]))[:3]
        for made, rows in ((before, pictures), (after, turned))
    )
    assert np.array_equal(of_before, of_after)


# Finding


@pytest.fixture(scope="module")
def misses():
    """Of 20 images with two captions each, five near-misses a caption."""
    return NearMisses.build([f"w{i} x{i % 7} y{i % 3}" for i in range(40)], np.arange(40) // 2, 5)


def test_a_caption_is_found_that_is_nearer_than_all_its_near_misses_by_hand():
    made = NearMisses(np.array([0, 1, 2]), np.array([1, 0, 3]), np.array([[2, 3], [2, 3], [0, 1]]))
    # 0 asks for 1 (.8), and 2 is .6, 3 is 0. 1 asks for 0 (.8), and 2 is .96. 2 asks for 3 (.64), and 1 is .96.
    vectors = np.float32([[1, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0], [0, 0.8, 0.6]])
    assert made.found(vectors).tolist() == [1, 0, 0]


def test_embeddings_that_know_the_picture_find_every_caption(misses):
    assert misses.found(np.eye(20, dtype=np.float32)[np.arange(40) // 2]).tolist() == [1] * 40


def test_embeddings_that_know_nothing_find_one_caption_in_six(misses):
    hits = [misses.found(unit_rows(40, 16, seed=seed)).mean() for seed in range(30)]
    assert np.mean(hits) == pytest.approx(1 / 6, abs=0.03)


def test_a_tie_with_a_near_miss_is_lost():
    """The near-miss reads like the wanted caption to this model."""
    made = NearMisses(np.array([0]), np.array([1]), np.array([[2, 3]]))
    near, far = np.float32([0.6, 0.8]), np.float32([0, 1])
    asking = np.float32([1, 0])
    assert made.found(np.stack([asking, near, far, far])).tolist() == [1]
    assert made.found(np.stack([asking, near, far, near])).tolist() == [0]


def test_constant_embeddings_find_nothing(misses):
    constant = np.zeros((40, 8), dtype=np.float32)
    constant[:, 3] = 1
    assert not misses.found(constant).any()


def test_constant_embeddings_in_any_direction_find_nothing(misses):
    for width in (4, 16, 64, 512):
        for seed in range(10):
            constant = np.repeat(unit_rows(1, width, seed=seed), 40, axis=0)
            assert not misses.found(constant).any(), (width, seed)
