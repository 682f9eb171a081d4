from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import SimpleTokenizer

from pipeline.spans.tokens import token_spans

LIMIT = 75


@pytest.fixture(scope="module")
def tokenizer():
    return SimpleTokenizer()


def pieces(tokenizer, caption, limit=LIMIT):
    spans = token_spans(tokenizer, caption, limit)
    return [None if s.start is None else caption[s.start : s.end] for s in spans]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A photo of a Dog.", ["A", "photo", "of", "a", "Dog", "."]),
        ("  a \n dog ", ["a", "dog"]),
        ("don't", ["don", "'t"]),
        ("a striped-red star", ["a", "striped", "-", "red", "star"]),
        ("3 cats", ["3", "cats"]),
        ("a café", ["a", "café"]),
        ("cat &amp; dog", ["cat", "&", "dog"]),
        ("cat&lt;dog", ["cat", None, "dog"]),
        ("", []),
    ],
)
def test_the_tokens_of_a_caption(tokenizer, caption, expected):
    assert pieces(tokenizer, caption) == expected


@pytest.mark.parametrize(
    "caption", ["a photograph of an unphotographable skateboarder", "Xylophonists & quokkas, 2024!"]
)
def test_offsets_slice_the_caption_to_the_text_of_the_token(tokenizer, caption):
    tokens = [tokenizer.decode([i]).strip() for i in tokenizer.encode(caption)]
    assert [p.lower() for p in pieces(tokenizer, caption)] == tokens
    assert len(tokens) > len(caption.split())  # some words are cut into several tokens


def test_a_character_of_several_tokens_stands_in_each(tokenizer):
    assert len(tokenizer.encode("語")) == 2
    assert pieces(tokenizer, "a 語 b") == ["a", "語", "語", "b"]


def test_a_letter_that_lower_case_writes_as_two_keeps_the_places_after_it(tokenizer):
    assert pieces(tokenizer, "İstanbul dog")[-2:] == ["stanbul", "dog"]


def test_a_word_that_the_tokenizer_rewrote_does_not_take_the_place_of_a_later_one(tokenizer):
    caption = "the dog\u2019s toy, the cat's toy"  # the first apostrophe is curly, so the tokenizer straightens it
    found = pieces(tokenizer, caption)
    assert found[:2] == ["the", "dog"]
    assert found[3:] == ["toy", ",", "the", "cat", "'s", "toy"]


def test_tokens_beyond_the_limit_are_cut_off(tokenizer):
    assert pieces(tokenizer, "a b c d", limit=3) == ["a", "b", "c"]


ANY_TEXT = st.one_of(st.text(), st.text(alphabet="aB'\u2019sé語İß&amp;<end_of_text>ﬁΣ \t\n0"))


@settings(deadline=None, max_examples=300)
@given(caption=ANY_TEXT, limit=st.integers(1, 20))
def test_there_is_a_span_for_every_token_that_the_tower_reads(tokenizer, caption, limit):
    tokens = [*tokenizer.encode(caption), tokenizer.eot_token_id]
    assert len(token_spans(tokenizer, caption, limit)) == min(limit, tokens.index(tokenizer.eot_token_id))


@settings(deadline=None, max_examples=300)
@given(ANY_TEXT)
def test_offsets_of_any_text_are_in_range_and_in_order(tokenizer, caption):
    placed = [s for s in token_spans(tokenizer, caption, LIMIT) if s.start is not None]
    assert all(0 <= s.start < s.end <= len(caption) for s in placed)
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(placed))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.from_regex(r"[A-Za-z]{1,8}|[0-9]{1,3}|[.,!?-]", fullmatch=True), max_size=8))
def test_plain_text_has_no_token_without_its_exact_place(tokenizer, words):
    caption = " ".join(words)
    tokens = [tokenizer.decode([i]).strip() for i in tokenizer.encode(caption)][:LIMIT]
    assert [p.lower() for p in pieces(tokenizer, caption)] == tokens


@pytest.mark.parametrize("caption", ["a dog <end_of_text> runs", "a dog &lt;end_of_text&gt; runs"])
def test_nothing_is_read_after_an_end_token_that_stands_in_the_caption(tokenizer, caption):
    assert int(tokenizer([caption]).argmax()) - 1 == 2, "the text tower's"
    assert pieces(tokenizer, caption) == ["a", "dog"]
