"""Rewrites among captions: what is drawn, and that everything that is known of texts follows."""

import numpy as np
import pytest
from tiny_batches import axes, loader, pairs, places_of, read
from tiny_models import unit_rows
from tiny_taught import phrases, teachers

from pipeline.distillation.loader import epoch_order
from pipeline.distillation.pairs import Negatives
from pipeline.distillation.rewritten import with_rewrites

CAPTIONS = [["cat"], ["dog", "old dog"], [], ["sea"]]
REWRITES = [["one cat", "two cat", ""], ["a dog"], ["no image"], []]
SAID = ["one cat", "two cat", "a dog"]


class Texts:
    """In place of a table whose keys are texts."""

    def __init__(self, vectors):
        self.vectors = vectors

    def rows(self, texts):
        return np.array([SAID.index(text) for text in texts], dtype=np.int64)


def rewritten(**given):
    own = pairs(
        CAPTIONS, phrases=phrases(CAPTIONS), teachers=teachers(4, 4, phrases=len(phrases(CAPTIONS).texts)), **given
    )
    taught = [Texts(unit_rows(3, width, seed=9)) for width in (5, 7)]
    return own, with_rewrites(own, REWRITES, Texts(axes(3, start=10)), taught), taught


def test_rewrites_follow_the_captions_of_their_image_with_their_embeddings():
    own, found, taught = rewritten()
    assert found.captions == [["cat", "one cat", "two cat"], ["dog", "old dog", "a dog"], [], ["sea"]]
    assert places_of(found.caption_embeddings[np.arange(7)]) == [0, 10, 11, 1, 2, 12, 3]
    assert found.caption_embeddings.shape == (7, 16)
    for before, after, texts in zip(own.teachers, found.teachers, taught, strict=True):
        wanted = [before.captions[0], *texts.vectors[:2], *before.captions[1:3], texts.vectors[2], before.captions[3]]
        assert np.array_equal(after.captions[np.arange(7)], wanted)
    names = [[found.phrases.texts[i] for i in found.phrases.of(np.array([c]))] for c in range(7)]
    assert names == [["cat"], ["cat"], ["cat"], ["dog"], ["old dog", "old"], ["dog"], ["sea"]]


def drawn(found, captions, epochs):
    flat = [text for texts in found.captions for text in texts]
    for epoch in range(1, epochs + 1):
        for rows, places in epoch_order(found, 4, captions, 3, epoch):
            owner = found.owner[places]
            yield {int(row): [flat[p] for p in places[owner == row]] for row in rows}


def test_as_many_texts_are_drawn_as_there_are_captions_each_as_often():
    _, found, _ = rewritten()
    counts = {}
    for visit in drawn(found, None, 3000):
        assert {row: len(texts) for row, texts in visit.items()} == {0: 1, 1: 2, 2: 0, 3: 1}
        for texts in visit.values():
            for text in texts:
                counts[text] = counts.get(text, 0) + 1
    shares = {text: count / 3000 for text, count in counts.items()}
    # Of image 0 three rewrites and a caption, of which one rewrite says nothing and the caption stands for it.
    assert shares == pytest.approx(
        {"cat": 1 / 2, "one cat": 1 / 4, "two cat": 1 / 4, "dog": 2 / 3, "old dog": 2 / 3, "a dog": 2 / 3, "sea": 1},
        abs=0.04,
    )


def test_one_caption_of_each_may_be_a_rewrite_and_the_same_seed_draws_the_same():
    _, found, _ = rewritten()
    first = list(drawn(found, 1, 20))
    assert first == list(drawn(found, 1, 20))
    assert {text for visit in first for text in visit[1]} == {"dog", "old dog", "a dog"}


def test_without_rewrites_the_order_is_what_it_was():
    own = pairs(CAPTIONS)
    none = with_rewrites(own, [[], [], [], []], Texts(axes(0)), [])
    for one, other in zip(epoch_order(own, 2, None, 1, 1), epoch_order(none, 2, None, 1, 1), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_rewrite_is_right_for_its_image_and_read_by_a_trained_text_tower():
    _, found, _ = rewritten()
    rows = np.array([0, 3])
    batch = loader(found).gather(rows, np.array([1, 6]), np.random.default_rng(0))
    assert batch.positives.tolist() == [[True, False], [False, True]]
    assert [read(batch.texts.tokens)[p] for p in batch.texts.places] == ["one cat", "sea"]


def test_given_negatives_are_those_of_the_images_of_a_batch():
    given = Negatives([["cow", "cat"], ["pig"], [], ["cow"]], axes(4, start=5), by_image=True)
    data = pairs(CAPTIONS, negatives=given)
    batch = loader(data).gather(np.array([0, 3]), np.array([0, 3]), np.random.default_rng(0))
    assert places_of(batch.negatives.base) == [5, 6]
    assert batch.negatives.allowed.tolist() == [[True, False], [True, True]]  # "cat" is right for image 0
    with pytest.raises(ValueError, match="negatives of 3 images, expected 4"):
        pairs(CAPTIONS, negatives=Negatives([[], [], []], None, by_image=True))
