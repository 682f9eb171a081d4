import dataclasses

import numpy as np
import pytest
from tiny_batches import FLAT, axes, pairs
from tiny_models import random_pixels, unit_rows
from tiny_taught import phrases, teachers

from pipeline.distillation.pairs import Negatives, Pairs


def test_pairs_know_the_owner_of_every_caption_and_every_distinct_one():
    data = pairs()
    assert data.start.tolist() == [0, 3, 4, 6, 8, 9, 12]
    assert data.owner.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 5]
    assert data.distinct == ["cat", "old cat", "grey cat", "dog", "sea", "wave", "pet", "hill", "sun", "day"]
    assert [data.distinct[i] for i in data.caption_ids] == FLAT


@pytest.mark.parametrize(("pixels", "vectors"), [(2, 4), (4, 4), (3, 3), (3, 5)])
def test_pairs_of_other_counts_are_refused_naming_both(pixels, vectors):
    with pytest.raises(ValueError, match=rf"^{pixels} images and {vectors} caption embeddings, expected 3 and 4$"):
        Pairs(random_pixels(pixels), [["a", "b"], ["c"], ["d"]], unit_rows(vectors, 16))


@pytest.mark.parametrize("count", [0, 5, 7, 12])
def test_image_vectors_of_another_count_are_refused(count):
    with pytest.raises(ValueError, match=rf"^{count} image embeddings, expected 6$"):
        pairs(image_embeddings=axes(count))


@pytest.mark.parametrize("count", [0, 5, 11, 13])
def test_targets_that_are_neither_of_pictures_nor_of_captions_are_refused(count):
    with pytest.raises(ValueError, match=rf"^{count} targets, expected 6 of images or 12 of captions$"):
        pairs(targets=axes(count))
    for right in (6, 12):
        assert len(pairs(targets=axes(right)).targets) == right


def test_images_without_captions_are_taken_but_not_only_such():
    data = pairs([["a"], [], ["b", "a"], []])
    assert data.owner.tolist() == [0, 2, 2]
    found = data.belongs(np.array([3, 2, 1, 0]), np.array([0, 1]))
    assert found.tolist() == [[False, False], [True, True], [False, False], [True, False]]
    with pytest.raises(ValueError, match=r"^none of 2 images has a caption$"):
        pairs([[], []])


def test_a_teacher_of_other_images_phrases_or_crops_is_refused():
    captions = [["a b"], ["c"]]
    known = phrases(captions)
    right = teachers(2, 2, None, len(known.texts))
    assert pairs(captions, phrases=known, teachers=right).teachers == right
    for name, lacking in (("images", 3), ("captions", 1)):
        wrong = [right[0], dataclasses.replace(right[1], **{name: unit_rows(lacking, 7)})]
        with pytest.raises(ValueError, match=rf"^teacher 1 has embeddings of {lacking} {name}, expected 2$"):
            pairs(captions, phrases=known, teachers=wrong)
    with pytest.raises(ValueError, match=r"^teacher 0 has embeddings of None phrases, expected 3$"):
        pairs(captions, phrases=known, teachers=teachers(2, 2))


def test_phrases_of_captions_are_distinct_and_in_order():
    known = phrases([["red star", "red moon"], ["red star"]])
    assert known.texts == ["red star", "red", "red moon"]
    assert known.of(np.array([2])).tolist() == [0, 1]
    assert known.of(np.array([1, 0])).tolist() == [0, 1, 2]
    assert known.of(np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("count", [0, 9, 11])
def test_negatives_of_another_count_of_captions_are_refused(count):
    with pytest.raises(ValueError, match=rf"^negatives of {count} captions, expected 10$"):
        pairs(negatives=Negatives([[]] * count))


def test_changed_pairs_are_checked_and_counted_anew():
    changed = dataclasses.replace(pairs(), targets=axes(6), negatives=Negatives([["x"]] * 10))
    assert changed.negative_texts == ["x"] * 10
    assert len(changed.owner) == 12
    with pytest.raises(ValueError, match="5 targets"):
        dataclasses.replace(pairs(), targets=axes(5))
