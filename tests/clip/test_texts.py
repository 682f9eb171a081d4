"""How long a text may be, and what of it is read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import SimpleTokenizer
from test_tokenizers import folder  # noqa: F401  a CLIP with a tokenizer of transformers
from tiny_models import COMPUTE, tiny_clip

from pipeline.clip import bpe, encode, texts, towers
from pipeline.errors import InputError

ENDLESS = ["x" * 60_000, "!" * 600, "&#97;" * 600, "a\x1c" * 600, "漢字" * 6000, "a " * 6000]


@pytest.fixture(scope="module")
def tokenizer():
    return SimpleTokenizer()


@pytest.mark.parametrize("text", ENDLESS, ids=range(len(ENDLESS)))
def test_a_text_or_a_word_without_end_is_refused_before_it_is_tokenized(text):
    clip = tiny_clip()
    clip.tokenize.bpe = None
    for read in (encode.texts, encode.texts_with_tokens):
        with pytest.raises(InputError, match="too long"):
            read(clip, ["a cat", text], COMPUTE)


@pytest.mark.parametrize(
    "text", ["", "a", "word " * 400, "漢字" * 400, "a https://a.b/" + "c/" * 200, "\U0001f600" * 100]
)
def test_a_text_that_people_write_is_read(text):
    assert texts.fault(text) is None


def test_half_of_a_surrogate_pair_is_no_text():
    with pytest.raises(InputError, match="UTF-8"):
        encode.texts(tiny_clip(), ["\ud800"], COMPUTE)


LETTERS = "abcdefgh xyz  ABß!?.,'\u2019é語İß&amp;<end_of_text>ﬁ \t\n0😀"


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet=LETTERS, max_size=60) | st.text(max_size=30), st.integers(3, 30))
def test_tokens_are_counted_as_open_clip_reads_them(tokenizer, text, context):
    assert bpe.exceeds(text, context) == (len(tokenizer.encode(text)) > context - 2)


@pytest.mark.parametrize(("words", "expected"), [(14, False), (15, True)])
def test_a_text_is_cut_where_the_tower_ends(words, expected):
    assert texts.cut(tiny_clip(), ["a", "a " * words]) == [False, expected]


@pytest.mark.parametrize(("words", "expected"), [(16, False), (17, True)])
def test_a_tokenizer_of_transformers_counts_by_its_own_tokens(folder, words, expected):  # noqa: F811
    assert texts.cut(towers.load(folder), ["cat", "cat " * words]) == [False, expected]
