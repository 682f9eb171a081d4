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


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A black and white dog", ["A black and white dog"]),
        ("a red, white and blue flag on a pole", ["a red, white and blue flag", "a pole"]),
        ("young and old people", ["young and old people"]),
        ("a big, brown bear", ["a big, brown bear"]),
        ("a brick and stone house", ["a brick and stone house"]),
        ("a dog and a cat", ["a dog", "a cat"]),
        ("a man and woman", ["a man", "woman"]),
        ("dogs and cats", ["dogs", "cats"]),
        ("a man in black and a woman in red", ["a man", "black", "a woman", "red"]),
        ("a photo in black and white", ["a photo", "black and white"]),
        ("the sky is blue and clear", ["the sky"]),
    ],
)
def test_coordinated_attributes_stay_with_their_noun_and_nouns_apart(rules, caption, expected):
    assert phrases(rules, caption) == [expected]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two giraffes wander", ["Two giraffes"]),
        ("a dog leashed to a post", ["a dog", "a post"]),
        ("a leashed dog", ["a leashed dog"]),
        ("the boy leashed his dog", ["the boy", "his dog"]),
        ("a man with a walking stick walking home", ["a man", "a walking stick", "home"]),
        ("a painted wall of a house painted red", ["a painted wall", "a house"]),
        ("people park a car in the park", ["people", "a car", "the park"]),
        ("a woman drinks a drink", ["a woman", "a drink"]),
        ("the man watches a gold watch", ["the man", "a gold watch"]),
        ("two women building a brick building", ["two women", "a brick building"]),
        ("children playing near a swimming pool", ["children", "a swimming pool"]),
        ("a smiling boy is smiling", ["a smiling boy"]),
        ("a boy juggles in the street", ["a boy", "the street"]),
        ("a man and a woman walk on the waves", ["a man", "a woman", "the waves"]),
        ("a man in a blue hat waves at the camera", ["a man", "a blue hat", "the camera"]),
        ("a bus stops at a bus stop", ["a bus", "a bus stop"]),
        ("A red , white and blue flag waves", ["A red , white and blue flag"]),
        ("a red and white bus stops", ["a red and white bus"]),
        ("A young boy and girl swing", ["A young boy", "girl"]),
        ("a girl on a tire swing", ["a girl", "a tire swing"]),
        ("a dog trying to catch a frisbee", ["a dog", "a frisbee"]),
        ("a can of cola can fall", ["a can", "cola"]),
        ("a brightly colored bird", ["a brightly colored bird"]),
        ("a curly haired girl with long-sleeved shirts", ["a curly haired girl", "long-sleeved shirts"]),
        ("cars parked on a tree lined street", ["cars", "a tree lined street"]),
    ],
)
def test_verbs_are_no_part_of_phrases_and_what_is_spelt_alike_is(rules, caption, expected):
    assert phrases(rules, caption) == [expected]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("he holds it while she looks at them", []),
        ("someone hurt himself", []),
        ("dogs that chase each other", ["dogs"]),
        ("this is what they see there", []),
        ("it's a boy and he's in his car", ["a boy", "his car"]),
        ("these two shoes are mine", ["these two shoes"]),
    ],
)
def test_pronouns_are_no_phrases(rules, caption, expected):
    assert phrases(rules, caption) == [expected]


def test_a_typographic_apostrophe_is_one(rules):
    assert phrases(rules, "the dog\u2019s ball isn\u2019t here") == [["the dog\u2019s ball"]]


@pytest.mark.parametrize("word", ["red", "painted", "dog", "waves", "very", "a", "and", ",", "swimming", "-", "'"])
def test_a_long_caption_takes_no_longer_a_word(rules, word):
    """A pattern that looked back at every word would need hours for these."""
    assert len(phrases(rules, " ".join([word] * 20_000))) == 1


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
    assert phrases(NounChunks(nlp), "the she sees each other") == [[]]


def test_a_model_that_is_not_installed_says_what_to_do():
    with pytest.raises(InputError, match=r"no spaCy model 'en_nowhere_sm'.* set spans\.parser to rules"):
        load_parser("en_nowhere_sm")


def test_a_model_without_a_parser_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(InputError, match="no dependency parser"):
        load_parser(str(tmp_path / "blank"))
