import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifacts.schema import Reason
from pipeline.curation.captions import _ASCII_WORD, _WORD, CaptionFault, CaptionLimits, clean, fold

LIMITS = CaptionLimits(min_words=2, max_words=5)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a dog", "a dog"),
        (b"a dog", "a dog"),
        ("  a \t dog\n", "a dog"),
        ("a\xa0dog", "a dog"),
        ("cafÃ© terrace", "café terrace"),
        ("salt &amp; pepper", "salt & pepper"),
        ("the dogâ€™s bone", "the dog's bone"),
        ("a café".encode(), "a café"),
        ("犬と猫", "犬と猫"),
        ("dog www.example.org cat", "dog www.example.org cat"),
    ],
)
def test_a_caption_is_repaired_and_its_white_space_collapsed(raw, text):
    assert clean(raw, LIMITS) == text


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", Reason.EMPTY_CAPTION),
        (" \t\n", Reason.EMPTY_CAPTION),
        (" . ", Reason.NO_WORDS),
        ("?!… --- 42", Reason.NO_WORDS),
        ("http://example.org/a_red_dog.html", Reason.NO_WORDS),
        ("www.example.org img_0042.jpg", Reason.NO_WORDS),
        ("dog", Reason.SHORT_CAPTION),
        ("dog http://example.org/2", Reason.SHORT_CAPTION),
        ("one two three four five six", Reason.LONG_CAPTION),
        ("一二三四五六", Reason.LONG_CAPTION),
        (b"caf\xe9 terrace", Reason.NOT_UTF8),
        ("half \ud83d a pair", Reason.NOT_UTF8),
    ],
)
def test_a_caption_of_no_use_has_its_reason(raw, reason):
    found = clean(raw, LIMITS)
    assert isinstance(found, CaptionFault)
    assert found.reason is reason
    assert found.detail


def test_limits_are_inclusive():
    assert clean("one two", LIMITS) == "one two"
    assert clean("one two three four five", LIMITS) == "one two three four five"


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_captions_that_skip_the_repair_need_none(text):
    found = clean(text, CaptionLimits(1, 1000))
    if isinstance(found, str):
        assert found == " ".join(ftfy.fix_text(text).split())


@given(st.text(st.characters(codec="ascii")))
def test_words_of_ascii_are_the_words_of_any_text(text):
    assert _ASCII_WORD.findall(text) == _WORD.findall(text)


@given(st.one_of(st.text(), st.binary()))
def test_whatever_is_read_is_text_or_has_a_reason(raw):
    found = clean(raw, CaptionLimits(1, 20))
    if isinstance(found, str):
        assert found == " ".join(found.encode().decode().split()) != ""
    else:
        assert found.reason in Reason


def test_captions_that_say_the_same_fold_to_the_same():
    assert len({fold(t) for t in ("A red dog.", "a red dog", " a  RED dog !", "“a red dog”")}) == 1
    assert fold("a red dog") != fold("a dog, red")


@pytest.mark.parametrize("text", ["a." * 400, "a." * 100_000, "x" * 10_000_000, "a@" * 30_000, "w" * 249])
def test_text_without_spaces_costs_nothing(text):
    assert isinstance(clean(text, LIMITS), CaptionFault)


@pytest.mark.parametrize("text", ["หมาสีแดง", "ໝາແດງ", "ឆ្កែក្រហម", "T恤衫"])
def test_scripts_that_write_no_spaces_count_by_the_character(text):
    assert clean(text, CaptionLimits(2, 50)) == text


def test_addresses_at_the_edges_of_punctuation_are_addresses():
    assert isinstance(clean("(http://example.org/a), img_1.jpg!", LIMITS), CaptionFault)
    assert clean("a dog, photo.jpg", LIMITS) == "a dog, photo.jpg"


@pytest.mark.parametrize("word", ["x" * 501, "!(" * 300, "&lt;" + "&#97;" * 600], ids=["letters", "marks", "entities"])
def test_a_word_without_end_is_a_long_caption(word):
    limits = CaptionLimits(min_words=2, max_words=100)
    found = clean(f"a dog {word}", limits)
    assert isinstance(found, CaptionFault) and found.reason is Reason.LONG_CAPTION and "a word of" in found.detail
    assert clean("a dog " + "x" * 500, limits) == "a dog " + "x" * 500
