import dataclasses

import numpy as np
import pytest
from tiny_batches import CAPTIONS, FLAT, axes, loader, pairs, places_of, read, rows_of

from pipeline.distillation.pairs import Negatives

# Hard negatives: of "cat" and "dog" one equal one, of "old cat" a caption of image 1, of "sea" one of its own.
WRONG = {"cat": ["hat", "rat"], "old cat": ["dog"], "dog": ["hat"], "sea": ["wave", "land"]}


def with_negatives(*, vectors=False, captions=CAPTIONS):
    data = pairs(captions)
    texts = [WRONG.get(text, []) for text in data.distinct]
    return dataclasses.replace(data, negatives=Negatives(texts, axes(7) if vectors else None))


def negatives_in(batch):
    """The hard negatives that the text tower is given."""
    return [read(batch.texts.tokens)[i] for i in batch.texts.negative_places.tolist()]


@pytest.mark.parametrize("captions", [None, 1, 2])
def test_negatives_are_those_of_the_captions_drawn_each_once(captions):
    for epoch in range(1, 9):
        for batch in loader(with_negatives(), captions=captions, batch=3)(epoch, 2):
            texts = [FLAT[place] for place in places_of(batch.base_text)]
            found = negatives_in(batch)
            assert sorted(found) == sorted({negative for text in texts for negative in WRONG.get(text, [])})
            assert len(batch.texts.tokens) == len({*texts, *found}), "a caption that is also a negative is read once"


def test_negatives_that_are_captions_of_a_picture_are_not_allowed_for_it():
    for epoch in range(1, 9):
        batch = next(loader(with_negatives(), batch=6, captions=1 + epoch % 3)(epoch, 1))
        found, allowed = negatives_in(batch), batch.negatives.allowed
        assert allowed.tolist() == [[text not in CAPTIONS[row] for text in found] for row in rows_of(batch)]
    batch = next(loader(with_negatives(), batch=6)(1, 1))
    found, allowed = negatives_in(batch), batch.negatives.allowed
    forbidden = {(row, found[k]) for i, row in enumerate(rows_of(batch)) for k in range(5) if not allowed[i, k]}
    assert forbidden == {(1, "dog"), (2, "wave")}


def test_frozen_negatives_come_with_their_vectors():
    # In the order of the captions: hat, rat of "cat"; dog of "old cat"; hat of "dog"; wave, land of "sea".
    data = with_negatives(vectors=True)
    assert data.negative_texts == ["hat", "rat", "dog", "hat", "wave", "land"]
    batch = next(loader(data, tokenize=None, batch=6)(1, 1))
    assert batch.texts is None
    assert places_of(batch.negatives.base) == [0, 1, 2, 4, 5]
    assert batch.negatives.allowed.shape == (6, 5)


def test_a_batch_without_negatives_of_its_captions_has_empty_ones():
    data = with_negatives(vectors=True)
    load = loader(data, tokenize=None, batch=1)
    empty = [b for b in load(1, 6) if rows_of(b)[0] in (4, 5)]
    assert len(empty) == 2
    for batch in empty:
        assert batch.negatives.base.shape == (0, 16)
        assert batch.negatives.allowed.shape == (1, 0)


def test_negatives_of_are_flat_places_without_equal_texts():
    data = with_negatives()
    number = {text: i for i, text in enumerate(data.distinct)}

    def of(*texts):
        ids = np.array([number[text] for text in texts], dtype=np.int64)
        return data.negatives_of(np.zeros(0, np.int64), ids).tolist()

    assert of("cat") == [0, 1]
    assert of("dog") == [3]
    assert of("dog", "cat") == of("cat", "dog", "cat") == [0, 1]
    assert of("sun") == of() == []
    assert of("sea", "old cat") == [2, 4, 5]
