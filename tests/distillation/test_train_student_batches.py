import dataclasses

import numpy as np
import pytest
import torch
from tiny_models import COMPUTE, random_pixels, unit_rows
from tiny_training import FIGURES, axes, complete, numbered, pairs, rows_of, run, student, training

from pipeline.clip import encode
from pipeline.distillation.pairs import Negatives, moved
from pipeline.distillation.train import train
from pipeline.recipes import RECIPES


@pytest.fixture
def seen(monkeypatch):
    """Every batch that a recipe was given, its embeddings as row numbers where they are unit axes."""
    found = []
    for name, recipe in RECIPES.items():

        def terms(b, own=recipe.terms):
            found.append(b)
            return own(b)

        if recipe.terms:
            monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, terms=terms))
    return found


def test_pairs_know_the_owner_of_every_caption():
    assert pairs([["a", "b"], ["c"], ["d", "e", "f"]]).owner.tolist() == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(("pixels", "vectors"), [(2, 4), (4, 4), (3, 3), (3, 5)])
def test_pairs_of_other_counts_are_refused_naming_both(pixels, vectors):
    message = rf"{pixels} images and {vectors} caption embeddings, expected 3 and 4"
    with pytest.raises(ValueError, match=message):
        pairs([["a", "b"], ["c"], ["d"]], random_pixels(pixels), caption_embeddings=unit_rows(vectors, 16))


def test_a_batch_pairs_pictures_with_their_own_captions(seen):
    owner = [0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5]
    captions = [[f"caption {c}" for c in range(12) if owner[c] == i] for i in range(6)]
    data = pairs(captions, caption_embeddings=axes(range(12)), image_embeddings=axes(range(6)), targets=axes(range(6)))
    train(student(), data, lambda clip: FIGURES, training("dclip_clean", batch=2, epochs=8), device="cpu")
    assert len(seen) == 8 * 3
    drawn = set()
    for at in range(0, len(seen), 3):
        pictures = [i for b in seen[at : at + 3] for i in rows_of(b.base_image)]
        assert sorted(pictures) == list(range(6)), "every image once an epoch"
        texts = [c for b in seen[at : at + 3] for c in rows_of(b.base_text)]
        assert [owner[c] for c in texts] == pictures
        assert [i for b in seen[at : at + 3] for i in rows_of(b.target)] == pictures
        drawn |= set(texts)
    assert drawn == set(range(12)), "in time every caption is drawn"


def test_the_published_recipe_gets_the_target_of_picture_and_caption(seen):
    captions = [[f"{i} a", f"{i} b"] for i in range(8)]
    data = pairs(captions, caption_embeddings=axes(range(16)), image_embeddings=axes(range(8)), targets=axes(range(16)))
    train(student(), data, lambda clip: FIGURES, training("dclip", epochs=3), device="cpu")
    assert len({c for b in seen for c in rows_of(b.target)}) > 8
    for b in seen:
        assert rows_of(b.target) == rows_of(b.base_text)


def test_equal_captions_of_two_pictures_are_marked(seen):
    data = pairs([["a cat"], ["a dog"], ["a cat"], ["a cow"]], caption_embeddings=axes([0, 1, 0, 2]))
    train(student(), data, lambda clip: FIGURES, training("contrastive", epochs=1), device="cpu")
    texts = np.array(rows_of(seen[0].base_text))
    assert sorted(texts) == [0, 0, 1, 2]
    assert np.array_equal(seen[0].positives.numpy(), texts[:, None] == texts)


def shuffled(seen, count, seed):
    seen.clear()
    targets = axes(range(count))
    data = pairs([[c] for c in numbered(count)], image_embeddings=targets, targets=targets)
    train(student(), data, lambda clip: FIGURES, training("shuffled_targets", batch=count, seed=seed), device="cpu")
    return [dict(zip(rows_of(b.base_image), rows_of(b.target), strict=True)) for b in seen]


def test_shuffled_targets_are_a_permutation_that_every_epoch_shares(seen):
    first, second = shuffled(seen, 12, seed=1)
    assert sorted(first) == sorted(first.values()) == list(range(12))
    assert sum(picture != target for picture, target in first.items()) >= 8
    assert first == second
    assert shuffled(seen, 12, seed=2)[0] != first


def test_in_the_shuffled_control_every_picture_gets_the_target_of_another(seen):
    for seed in range(3):
        mapping = shuffled(seen, 5, seed)[0]
        assert all(picture != target for picture, target in mapping.items())


def test_training_leaves_the_callers_targets_alone():
    targets = axes(range(8))
    data = pairs([[c] for c in numbered(8)], image_embeddings=targets, targets=targets)
    train(student(), data, lambda clip: FIGURES, training("shuffled_targets"), device="cpu")
    assert np.array_equal(data.targets, axes(range(8)))


def test_targets_of_others_are_along_one_circle():
    for count in (2, 3, 8):
        found = rows_of(moved(axes(range(count)), seed=3))
        place, visited = 0, []
        for _ in range(count):
            visited.append(place)
            place = found[place]
        assert place == 0
        assert sorted(visited) == list(range(count))


def test_an_epoch_may_be_shortened_to_some_steps(seen):
    data = pairs([[c] for c in numbered(16)])
    train(student(), data, lambda clip: FIGURES, training("continue_base", epochs=1), device="cpu", steps=2)
    assert len(seen) == 2


def test_an_epoch_of_base_pairs_has_as_many_steps_as_is_said_and_the_epochs_differ(seen):
    data = pairs([[c] for c in numbered(16)], caption_embeddings=axes(range(16)))
    run(student(), data, training("continue_base", epochs=2), steps=2)
    first, second = ({c for b in seen[at : at + 2] for c in rows_of(b.base_text)} for at in (0, 2))
    assert len(first) == len(second) == 8
    assert first != second


def test_all_captions_of_every_picture_may_be_in_a_batch(seen):
    owner = [0, 0, 1, 2, 2, 2, 3, 4, 4, 5]
    captions = [[f"caption {c}" for c in range(10) if owner[c] == i] for i in range(6)]
    data = pairs(captions, caption_embeddings=axes(range(10)), image_embeddings=axes(range(6)), targets=axes(range(10)))
    run(student(), data, training("dclip", batch=3, epochs=2, captions=None))
    for at in (0, 2):
        assert sorted(c for b in seen[at : at + 2] for c in rows_of(b.base_text)) == list(range(10))
    for b in seen:
        pictures, texts = rows_of(b.base_image), rows_of(b.base_text)
        assert [pictures[i] for i in b.owner] == [owner[c] for c in texts]
        assert rows_of(b.target) == texts
        assert b.positives.tolist() == [[owner[c] == i for c in texts] for i in pictures]


def test_at_most_so_many_captions_of_a_picture_are_drawn(seen):
    data = pairs([["a"], ["b", "c"], ["d", "e", "f", "g"]])
    run(student(), data, training("contrastive", batch=3, captions=2, epochs=4))
    assert {tuple(sorted(torch.bincount(b.owner).tolist())) for b in seen} == {(1, 2, 2)}


def test_hard_negatives_are_those_of_the_captions_in_the_batch(seen):
    """Negative 2 of the first caption is the second caption itself: right for image 1, wrong for all others."""
    texts = [["n0", "caption 1"], ["n1"], [], ["n0"]]
    vectors = axes([10, 1, 11, 10])
    data = pairs([[c] for c in numbered(4)], caption_embeddings=axes(range(4)), image_embeddings=axes(range(4)),
                 negatives=Negatives(texts, vectors))  # fmt: skip
    run(student(), data, training("hard_negatives", batch=4, epochs=1))
    pictures, negatives = rows_of(seen[0].base_image), rows_of(seen[0].negatives.text)
    assert sorted(negatives) == [1, 10, 11], "equal ones once"
    assert seen[0].negatives.allowed.tolist() == [[not (n == 1 and i == 1) for n in negatives] for i in pictures]
    seen.clear()
    run(student(), data, training("hard_negatives", batch=2, epochs=3))
    of = {0: {10, 1}, 1: {11}, 2: set(), 3: {10}}
    for b in seen:
        assert set(rows_of(b.negatives.text)) == set().union(*(of[c] for c in rows_of(b.base_text)))


def test_trained_hard_negatives_are_embedded_by_the_student(seen):
    made = student(train_text=True)
    data = complete("hard_negatives", 4, train_text=True)
    run(made, data, training("hard_negatives", epochs=1, lr=1e-12))
    b = seen[0]
    wanted = encode.texts(made.clip, [f"not {data.distinct[i]}" for i in caption_places(b, data)], COMPUTE)
    torch.testing.assert_close(b.negatives.text.detach(), wanted, rtol=1e-3, atol=1e-5)


def caption_places(b, data):
    return sorted((np.asarray(b.base_text) @ data.caption_embeddings.T).argmax(axis=1).tolist())


def test_the_temperature_of_the_base_reaches_the_recipe(seen):
    run(student(), complete("similarity", 4), training("similarity", epochs=1), base_scale=37.0)
    assert {b.base_scale for b in seen} == {37.0}


def test_a_narrower_student_is_compared_through_learnt_projections(seen):
    made = student(train_text=True, embed_dim=8)
    before = made.image_to_base.weight.detach().clone()
    data = complete("dclip_clean", 4)
    run(made, data, training("dclip_clean", epochs=1))
    assert (seen[0].image.shape, seen[0].image_in_base.shape) == ((4, 8), (4, 16))
    assert not torch.equal(made.image_to_base.weight, before)
