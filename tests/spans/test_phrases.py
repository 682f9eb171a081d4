import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.spans.phrases import NounChunks, load_parser


@pytest.fixture(scope="module")
def rules():
    return load_parser("rules")


def phrases(parser, *captions):
    return [[c[s.start : s.end] for s in spans] for c, spans in zip(captions, parser(captions), strict=True)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a small red star left of the blue ring", ["a small red star", "the blue ring"]),
        ("a dog and two cats on the grass", ["a dog", "two cats", "the grass"]),
        ("A man is riding a horse along the beach.", ["A man", "a horse", "the beach"]),
        ("we see a picture of an old car", ["a picture", "an old car"]),
        ("there is an apple", ["an apple"]),
        (
            "a star at the top left, a ring at the bottom right",
            ["a star", "the top left", "a ring", "the bottom right"],
        ),
        ("on the left of the house", ["the house"]),
        ("the left shoe", ["the left shoe"]),
        ("a cup the dog", ["a cup", "the dog"]),
        ("the dog's ball", ["the dog's ball"]),
        ("dogs", ["dogs"]),
        ("the", []),
        ("left of", []),
        ("", []),
        ("?!", []),
        ("ein Weißer Hai, 犬", ["ein Weißer Hai", "犬"]),
    ],
)
def test_the_phrases_of_a_caption(rules, caption, expected):
    assert phrases(rules, caption) == [expected]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [("a man in a red t-shirt", ["a man", "a red t-shirt"]), ("a black-and-white dog", ["a black-and-white dog"])],
)
def test_a_hyphen_does_not_break_a_word(rules, caption, expected):
    assert phrases(rules, caption) == [expected]


def test_captions_keep_their_order(rules):
    assert phrases(rules, "a dog", "", "a cat and a dog") == [["a dog"], [], ["a cat", "a dog"]]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.text(), st.text(alphabet="a the left of, and dog-'\n")), max_size=4))
def test_phrases_of_any_text_lie_in_it_in_order_and_apart(rules, captions):
    for caption, spans in zip(captions, rules(captions), strict=True):
        places = [place for span in spans for place in (span.start, span.end)]
        assert places == sorted(places)
        assert all(0 <= s.start < s.end <= len(caption) for s in spans)
        assert all(any(c.isalnum() for c in caption[s.start : s.end]) for s in spans)


def test_a_spacy_model_gives_its_noun_chunks():
    nlp = spacy.blank("en")

    @spacy.Language.component("by_hand")
    def parse(doc):
        """a(det) dog(nsubj) sees(ROOT) the(det) sea(dobj)"""
        for token, head, dep, pos in zip(
            doc, (1, 2, 2, 4, 2), ("det", "nsubj", "ROOT", "det", "dobj"), ("DET", "NOUN", "VERB", "DET", "NOUN"),
            strict=True,
        ):  # fmt: skip
            token.head, token.dep_, token.pos_ = doc[head], dep, pos
        return doc

    nlp.add_pipe("by_hand")
    assert phrases(NounChunks(nlp), "a dog sees the sea") == [["a dog", "the sea"]]


def test_a_model_that_is_not_installed_says_what_to_do():
    with pytest.raises(InputError, match=r"no spaCy model 'en_nowhere_sm'.* set spans\.parser to rules"):
        load_parser("en_nowhere_sm")


def test_a_model_without_a_parser_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(InputError, match="no dependency parser"):
        load_parser(str(tmp_path / "blank"))
