import dataclasses

import numpy as np
import pytest
import torch
from tiny_models import COMPUTE, random_pixels, tiny_clip, unit_rows

from pipeline.training.recipes import RECIPES
from pipeline.training.student import Student
from pipeline.training.train import Pairs, StudentTraining, Validator, train
from pipeline.zeroshot import ZeroshotSet

FIGURES = {"val_text_to_image_recall@1": 0.5, "val_image_to_text_recall@1": 0.5}


def pairs(captions, pixels=None, **given):
    count = sum(len(texts) for texts in captions)
    pixels = random_pixels(len(captions)) if pixels is None else pixels
    return Pairs(pixels, captions, **{"caption_vectors": unit_rows(count, 16, seed=1), **given})


def training(recipe, **changed):
    values = {
        "epochs": 2, "batch": 4, "lr": 1e-3, "weight_decay": 0.0, "weights": {}, "seed": 1, **changed,
    }  # fmt: skip
    return StudentTraining(recipe=recipe, **values)


def student(train_text=False):
    torch.manual_seed(0)
    return Student(tiny_clip(), target_dimension=16, train_text=train_text, temperature="learnable")


@pytest.fixture
def seen(monkeypatch):
    """Every batch that a recipe was given, its embeddings as row numbers where they are unit axes."""
    found = []
    for name, recipe in RECIPES.items():

        def terms(b, own=recipe.terms):
            found.append(b)
            return own(b)

        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, terms=terms))
    return found


def rows_of(vectors):
    assert (vectors.sum(1) == 1).all()
    return vectors.argmax(1).tolist()


def axes(rows):
    return np.eye(16, dtype=np.float16)[rows]


def numbered(captions):
    return [f"caption {i}" for i in range(captions)]


def test_pairs_know_the_owner_of_every_caption():
    assert pairs([["a", "b"], ["c"], ["d", "e", "f"]]).owner.tolist() == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(("pixels", "vectors"), [(2, 4), (4, 4), (3, 3), (3, 5)])
def test_pairs_of_other_counts_are_refused_naming_both(pixels, vectors):
    message = rf"{pixels} pictures and {vectors} caption vectors, expected 3 and 4"
    with pytest.raises(ValueError, match=message):
        pairs([["a", "b"], ["c"], ["d"]], random_pixels(pixels), caption_vectors=unit_rows(vectors, 16))


def test_a_batch_pairs_pictures_with_their_own_captions(seen):
    owner = [0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5]
    captions = [[f"caption {c}" for c in range(12) if owner[c] == i] for i in range(6)]
    data = pairs(captions, caption_vectors=axes(range(12)), image_vectors=axes(range(6)), targets=axes(range(6)))
    train(student(), data, lambda: FIGURES, training("dclip_clean", batch=2, epochs=8), device="cpu")
    assert len(seen) == 8 * 3
    drawn = set()
    for at in range(0, len(seen), 3):
        pictures = [i for b in seen[at : at + 3] for i in rows_of(b.base_image)]
        assert sorted(pictures) == list(range(6)), "every picture once an epoch"
        texts = [c for b in seen[at : at + 3] for c in rows_of(b.base_text)]
        assert [owner[c] for c in texts] == pictures
        assert [i for b in seen[at : at + 3] for i in rows_of(b.target)] == pictures
        drawn |= set(texts)
    assert drawn == set(range(12)), "in time every caption is drawn"


def test_the_published_recipe_gets_the_target_of_picture_and_caption(seen):
    captions = [[f"{i} a", f"{i} b"] for i in range(8)]
    data = pairs(captions, caption_vectors=axes(range(16)), image_vectors=axes(range(8)), targets=axes(range(16)))
    train(student(), data, lambda: FIGURES, training("dclip", epochs=3), device="cpu")
    assert len({c for b in seen for c in rows_of(b.target)}) > 8
    for b in seen:
        assert rows_of(b.target) == rows_of(b.base_text)


def test_equal_captions_of_two_pictures_are_marked(seen):
    data = pairs([["a cat"], ["a dog"], ["a cat"], ["a cow"]], caption_vectors=axes([0, 1, 0, 2]))
    train(student(), data, lambda: FIGURES, training("contrastive", epochs=1), device="cpu")
    texts = np.array(rows_of(seen[0].base_text))
    assert sorted(texts) == [0, 0, 1, 2]
    assert np.array_equal(seen[0].same.numpy(), texts[:, None] == texts)


def shuffled(seen, count, seed):
    seen.clear()
    targets = axes(range(count))
    data = pairs([[c] for c in numbered(count)], image_vectors=targets, targets=targets)
    train(student(), data, lambda: FIGURES, training("shuffled_targets", batch=count, seed=seed), device="cpu")
    return [dict(zip(rows_of(b.base_image), rows_of(b.target), strict=True)) for b in seen]


def test_shuffled_targets_are_a_permutation_that_every_epoch_shares(seen):
    first, second = shuffled(seen, 12, seed=1)
    assert sorted(first) == sorted(first.values()) == list(range(12))
    assert sum(picture != target for picture, target in first.items()) >= 8
    assert first == second
    assert shuffled(seen, 12, seed=2)[0] != first


def test_in_the_shuffled_control_every_picture_gets_the_target_of_another(seen):
    for seed in range(6):
        mapping = shuffled(seen, 5, seed)[0]
        assert all(picture != target for picture, target in mapping.items())


def test_training_leaves_the_callers_targets_alone():
    targets = axes(range(8))
    data = pairs([[c] for c in numbered(8)], image_vectors=targets, targets=targets)
    train(student(), data, lambda: FIGURES, training("shuffled_targets"), device="cpu")
    assert np.array_equal(data.targets, axes(range(8)))


@pytest.mark.parametrize("train_text", [False, True])
def test_a_short_training_on_random_data_lowers_the_loss(train_text):
    data = pairs([[c] for c in numbered(16)], caption_vectors=unit_rows(16, 16, seed=5))
    how = training("contrastive", epochs=6, batch=8, lr=3e-3)
    history = train(student(train_text), data, lambda: FIGURES, how, device="cpu").history
    assert history[-1]["loss"] < 0.8 * history[1]["loss"]


def test_the_epoch_that_retrieves_best_both_ways_is_taken():
    made, states = student(), []
    scores = iter([(0.9, 0.9, 0.9), (0.3, 0.3, 0.9), (0.2, 0.5, 0.1), (0.5, 0.1, 0.9)])

    def validate():
        states.append(made.clip.weights)
        text_to_image, image_to_text, top1 = next(scores)
        return {
            "val_text_to_image_recall@1": text_to_image,
            "val_image_to_text_recall@1": image_to_text,
            "val_zeroshot_top1": top1,
        }

    data = pairs([[c] for c in numbered(8)])
    assert train(made, data, validate, training("contrastive", epochs=3), device="cpu").best_epoch == 2
    assert made.clip.weights == states[2]
    assert len(set(states)) == 4


def test_terms_are_weighted_by_name():
    captions = [[c] for c in numbered(8)]
    data = pairs(captions, image_vectors=unit_rows(8, 16, seed=2), targets=unit_rows(8, 16, seed=3))

    def first_epoch(**weights):
        how = training("dclip_clean", epochs=1, lr=1e-9, weights=weights)
        return train(student(), data, lambda: FIGURES, how, device="cpu").history[1]

    plain, weighted = first_epoch(), first_epoch(teacher=3.0, preserve=0.0)
    assert weighted["teacher"] == pytest.approx(3 * plain["teacher"], rel=1e-4)
    assert weighted["preserve"] == 0
    assert weighted["loss"] == pytest.approx(plain["contrastive"] + 3 * plain["teacher"], rel=1e-4)


def test_equal_seeds_train_equal_students():
    def trained(seed):
        made = student()
        data = pairs([[f"{i} a", f"{i} b"] for i in range(8)])
        train(made, data, lambda: FIGURES, training("contrastive", seed=seed), device="cpu")
        return made.clip.weights

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_an_epoch_may_be_shortened_to_some_steps(seen):
    data = pairs([[c] for c in numbered(16)])
    train(student(), data, lambda: FIGURES, training("continue_base", epochs=1), device="cpu", steps=2)
    assert len(seen) == 2


CLASSES = ZeroshotSet(["cat", "dog", "moon"], np.array([True, True, False]), ["a {}"], [], np.array([0, 1, 2, 2]))
WEIGHTS = torch.from_numpy(unit_rows(3, 16))


@pytest.mark.parametrize("train_text", [False, True])
def test_validation_reports_both_directions_and_both_kinds_of_class(train_text):
    data = pairs([["a", "b"], ["c"]])
    found = Validator(student(train_text), data, CLASSES, random_pixels(4), WEIGHTS, COMPUTE)()
    assert set(found) == {*FIGURES, "val_zeroshot_top1", "val_zeroshot_unseen_top1"}
    assert all(0 <= value <= 1 for value in found.values())


def test_validation_of_frozen_text_reads_the_cached_captions_and_runs_no_text_tower(monkeypatch):
    made = student()
    own = torch.nn.functional.normalize(made.encode_images(torch.from_numpy(random_pixels(3))), dim=-1)
    data = pairs([["a"], ["b"], ["c"]], random_pixels(3), caption_vectors=own.detach().numpy())
    validate = Validator(made, data, CLASSES, random_pixels(4), WEIGHTS, COMPUTE)
    monkeypatch.setattr(made.model, "encode_text", None)
    found = validate()
    assert found["val_text_to_image_recall@1"] == found["val_image_to_text_recall@1"] == 1
