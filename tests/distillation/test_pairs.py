import dataclasses

import pytest
from tiny_batches import FLAT, axes, pairs
from tiny_models import random_pixels, unit_rows

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


def test_a_picture_without_captions_is_refused_by_its_number():
    with pytest.raises(ValueError, match=r"^image 1 has no caption$"):
        pairs([["a"], [], ["b"], []])


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
