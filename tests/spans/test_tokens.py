from difflib import SequenceMatcher
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import SimpleTokenizer

from pipeline.spans import tokens
from pipeline.spans.tokens import token_spans

LIMIT = 75


@pytest.fixture(scope="module")
def tokenizer():
    return SimpleTokenizer()


def pieces(tokenizer, caption, limit=LIMIT):
    spans = token_spans(caption, limit)
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


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a&amp;a small dog", ["a", "&", "a", "small", "dog"]),
        ("are&amp;are dogs", ["are", "&", "are", "dogs"]),
        ("dogs&rsquo; toy", ["dogs", None, "toy"]),
        ("a  dog &nbsp; and\xa0 a  \u201ccat\u201d", ["a", "dog", "and", "a", None, "cat", None]),
        ("\x07 dog", ["dog"]),
    ],
)
def test_what_the_cleaning_wrote_has_no_place_and_the_rest_keeps_its_own(tokenizer, caption, expected):
    assert pieces(tokenizer, caption) == expected


DAMAGED = ["&amp;a" * 800, "\u2019" + "." * 100, "a\u2019b" * 40, "\u2019" + "ab" * 2499 + "\u2019"]


@pytest.mark.parametrize("caption", [*(" ".join([text] * 40) for text in DAMAGED), *DAMAGED, "b &nbsp; " + "a " * 2300])
def test_only_short_texts_are_aligned_whose_time_grows_with_the_cube_of_their_length(tokenizer, caption, monkeypatch):
    aligned = []

    def recorded(junk, a, b, autojunk):
        aligned.append(len(a) * len(b))
        return SequenceMatcher(junk, a, b, autojunk=autojunk)

    monkeypatch.setattr(tokens, "SequenceMatcher", recorded)
    token_spans(caption, LIMIT)
    assert 0 < max(aligned) <= 2 * 128**2


def test_tokens_beyond_the_limit_are_cut_off(tokenizer):
    assert pieces(tokenizer, "a b c d", limit=3) == ["a", "b", "c"]


ANY_TEXT = st.one_of(st.text(), st.text(alphabet="aB'\u2019sé語İß&amp;<end_of_text>ﬁΣ \t\n0"))


@settings(deadline=None, max_examples=300)
@given(caption=ANY_TEXT, limit=st.integers(1, 20))
def test_there_is_a_span_for_every_token_that_the_tower_reads(tokenizer, caption, limit):
    read = [*tokenizer.encode(caption), tokenizer.eot_token_id]
    assert len(token_spans(caption, limit)) == min(limit, read.index(tokenizer.eot_token_id))


@settings(deadline=None, max_examples=300)
@given(ANY_TEXT)
def test_offsets_of_any_text_are_in_range_and_in_order(tokenizer, caption):
    placed = [s for s in token_spans(caption, LIMIT) if s.start is not None]
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
