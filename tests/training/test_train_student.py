import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import COMPUTE, random_pixels, tiny_clip, unit_rows

from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.training import train as training_module
from pipeline.training.batches import Negatives, Pairs, Regions
from pipeline.training.distributed import Group
from pipeline.training.layers import image_groups
from pipeline.training.linear import procrustes
from pipeline.training.loop import TrainingDiverged
from pipeline.training.recipes import RECIPES
from pipeline.training.student import Student
from pipeline.training.train import StudentTraining, of_others, train

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


def student(train_text=False, *, linear=False, embed_dim=16, temperature="learnable"):
    torch.manual_seed(0)
    return Student(
        tiny_clip(embed_dim=embed_dim), target_dimension=16, train_text=train_text, temperature=temperature,
        linear=linear,
    )  # fmt: skip


def run(made, data, how, validate=lambda clip: FIGURES, **given):
    return train(made, data, validate, how, **{"device": "cpu", **given})


def one_crop_each(pictures):
    start = 2 * np.arange(pictures + 1)
    return Regions(random_pixels(pictures, seed=6), unit_rows(2 * pictures, 16, seed=7), start)


def complete(name, pictures=8, train_text=False):
    """Two captions a picture, and all that a recipe may be given."""
    captions = [[f"{i} a", f"{i} b"] for i in range(pictures)]
    recipe = RECIPES[name]
    targets = {"image": pictures, "pair": 2 * pictures, None: None}[recipe.target]
    made = [[f"not {text}"] for own in captions for text in own]
    return pairs(
        captions, unit_rows(pictures, 16, seed=4) if recipe.linear else None,
        image_vectors=None if recipe.data == "base" else unit_rows(pictures, 16, seed=2),
        targets=None if targets is None else unit_rows(targets, 16, seed=3),
        negatives=Negatives(made, None if train_text else unit_rows(len(made), 16, seed=5))
        if recipe.negatives
        else None,
        regions=one_crop_each(pictures) if recipe.regions else None,
    )  # fmt: skip


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
    train(student(), data, lambda clip: FIGURES, training("dclip_clean", batch=2, epochs=8), device="cpu")
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
    train(student(), data, lambda clip: FIGURES, training("dclip", epochs=3), device="cpu")
    assert len({c for b in seen for c in rows_of(b.target)}) > 8
    for b in seen:
        assert rows_of(b.target) == rows_of(b.base_text)


def test_equal_captions_of_two_pictures_are_marked(seen):
    data = pairs([["a cat"], ["a dog"], ["a cat"], ["a cow"]], caption_vectors=axes([0, 1, 0, 2]))
    train(student(), data, lambda clip: FIGURES, training("contrastive", epochs=1), device="cpu")
    texts = np.array(rows_of(seen[0].base_text))
    assert sorted(texts) == [0, 0, 1, 2]
    assert np.array_equal(seen[0].positives.numpy(), texts[:, None] == texts)


def shuffled(seen, count, seed):
    seen.clear()
    targets = axes(range(count))
    data = pairs([[c] for c in numbered(count)], image_vectors=targets, targets=targets)
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
    data = pairs([[c] for c in numbered(8)], image_vectors=targets, targets=targets)
    train(student(), data, lambda clip: FIGURES, training("shuffled_targets"), device="cpu")
    assert np.array_equal(data.targets, axes(range(8)))


@pytest.mark.parametrize("train_text", [False, True])
def test_a_short_training_on_random_data_lowers_the_loss(train_text):
    data = pairs([[c] for c in numbered(16)], caption_vectors=unit_rows(16, 16, seed=5))
    how = training("contrastive", epochs=6, batch=8, lr=3e-3)
    history = train(student(train_text), data, lambda clip: FIGURES, how, device="cpu").history
    assert history[-1]["loss"] < 0.8 * history[1]["loss"]


def test_the_epoch_that_retrieves_best_both_ways_is_taken():
    made, states = student(), []
    scores = iter([(0.9, 0.9, 0.9), (0.3, 0.3, 0.9), (0.2, 0.5, 0.1), (0.5, 0.1, 0.9)])

    def validate(clip):
        states.append(clip.weights)
        text_to_image, image_to_text, top1 = next(scores)
        return {
            "val_text_to_image_recall@1": text_to_image,
            "val_image_to_text_recall@1": image_to_text,
            "val_zeroshot_top1": top1,
        }

    data = pairs([[c] for c in numbered(8)])
    assert train(made, data, validate, training("contrastive", epochs=3), device="cpu").best_epoch == 2
    assert made.finished().weights == states[2]
    assert len(set(states)) == 4


def test_terms_are_weighted_by_name():
    captions = [[c] for c in numbered(8)]
    data = pairs(captions, image_vectors=unit_rows(8, 16, seed=2), targets=unit_rows(8, 16, seed=3))

    def first_epoch(**weights):
        how = training("dclip_clean", epochs=1, lr=1e-9, weights=weights)
        return train(student(), data, lambda clip: FIGURES, how, device="cpu").history[1]

    plain, weighted = first_epoch(), first_epoch(teacher=3.0, preserve=0.0)
    assert weighted["teacher"] == pytest.approx(3 * plain["teacher"], rel=1e-4)
    assert weighted["preserve"] == 0
    assert weighted["loss"] == pytest.approx(plain["contrastive"] + 3 * plain["teacher"], rel=1e-4)


def test_equal_seeds_train_equal_students():
    def trained(seed):
        made = student()
        data = pairs([[f"{i} a", f"{i} b"] for i in range(8)])
        train(made, data, lambda clip: FIGURES, training("contrastive", seed=seed), device="cpu")
        return made.finished().weights

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_an_epoch_may_be_shortened_to_some_steps(seen):
    data = pairs([[c] for c in numbered(16)])
    train(student(), data, lambda clip: FIGURES, training("continue_base", epochs=1), device="cpu", steps=2)
    assert len(seen) == 2


def copies(made):
    return {name: value.detach().clone() for name, value in made.clip.model.state_dict().items()}


def moved(before, made):
    return {name for name, value in made.clip.model.state_dict().items() if not torch.equal(before[name], value)}


def projection(before):
    return {name for name in before if name.startswith("visual.attnpool.c_proj")}


@pytest.mark.parametrize("name", [name for name in RECIPES if not RECIPES[name].linear])
@pytest.mark.parametrize("train_text", [False, True])
def test_every_recipe_trains(name, train_text):
    made = student(train_text)
    text = {n: p.detach().clone() for n, p in made.text_parameters()}
    before = copies(made)
    history = run(made, complete(name, 4, train_text), training(name, epochs=1, max_norm=1.0)).history
    assert [row["epoch"] for row in history] == [0, 1]
    assert all(np.isfinite(value) for row in history for value in row.values())
    terms = set(history[1]) - {"epoch", "loss", "lr", "gradient_norm", *FIGURES}
    assert history[1]["loss"] == pytest.approx(sum(history[1][term] for term in terms), rel=1e-5)
    made.finished()
    assert "visual.conv1.weight" in moved(before, made)
    assert text.keys() & moved(before, made) == (text.keys() if train_text else set())


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].linear])
def test_a_linear_recipe_changes_nothing_but_the_last_projection(name):
    made = student(linear=True)
    before = copies(made)
    assert run(made, complete(name), training(name)).best_epoch == 1
    allowed = {"logit_scale"} if name == "labclip" else set()
    made.finished()
    assert projection(before) <= moved(before, made) <= projection(before) | allowed


def test_procrustes_solves_for_every_caption_and_its_picture():
    made, data = student(linear=True), complete("procrustes")
    found, told = [], []
    validate = lambda clip: found.append(clip.weights) or FIGURES  # noqa: E731
    result = run(made, data, training("procrustes"), validate, log=lambda history: told.append(list(history)))
    wanted = procrustes(torch.from_numpy(data.pixels[data.owner]), torch.from_numpy(data.caption_vectors))
    torch.testing.assert_close(made.towers.matrix.detach(), wanted)
    assert result.history == [{"epoch": 0, **FIGURES}, {"epoch": 1, **FIGURES}]
    assert (result.best_epoch, result.best["epoch"]) == (1, 1)
    assert told[-1] == result.history
    assert found == [tiny_clip().weights, made.finished().weights]


def test_procrustes_finds_the_rotation_that_was_planted():
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2)))[0]
    images = unit_rows(40, 16, seed=6)
    data = pairs([[f"{i}"] for i in range(40)], images, caption_vectors=images @ turn.numpy().T)
    made = student(linear=True)
    run(made, data, training("procrustes"))
    torch.testing.assert_close(made.towers.matrix.detach(), turn, rtol=0, atol=1e-4)


def test_labclip_brings_cached_pictures_to_their_captions():
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0].astype(np.float32)
    images = unit_rows(64, 16, seed=6)
    data = pairs([[f"{i}"] for i in range(64)], images, caption_vectors=images @ turn.T)
    made = student(linear=True, temperature=0.05)
    history = run(made, data, training("labclip", epochs=12, batch=16, lr=0.03)).history
    assert history[-1]["loss"] < 0.5 * history[1]["loss"]
    pixels = random_pixels(3)
    cached = encode.images(tiny_clip(), pixels, COMPUTE)
    wanted = F.normalize(cached @ made.towers.matrix.detach().T, dim=-1)
    torch.testing.assert_close(encode.images(made.finished(), pixels, COMPUTE), wanted, rtol=1e-3, atol=1e-5)


def changes_by_epoch(made, data, how, **given):
    """Which groups of the image tower, from its output (1), have moved in each epoch."""
    groups, epochs = image_groups(made.clip.model)[::-1], []
    last = []

    def validate(clip):
        now = [[p.detach().clone() for p in group] for group in groups]
        if last:
            both = enumerate(zip(last[-1], now, strict=True), 1)
            epochs.append({i for i, (a, b) in both if not all(map(torch.equal, a, b))})
        last.append(now)
        return FIGURES

    run(made, data, how, validate, **given)
    return epochs


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"layers": 1}, [{1}, {1}, {1}]),
        ({"layers": 2}, [{1, 2}, {1, 2}, {1, 2}]),
        ({"layers": 1, "unfreeze": 1}, [{1}, {1, 2}, {1, 2, 3}]),
        ({"layers": 2, "unfreeze": 2}, [{1, 2}, {1, 2}, {1, 2, 3}]),
        ({"layers": 5, "unfreeze": 1}, [{*range(1, 6)}, {*range(1, 7)}, {*range(1, 7)}]),
        ({"layers": None}, [{*range(1, 7)}] * 3),
    ],
    ids=str,
)
def test_layers_are_trained_from_the_output_on_more_of_them_as_epochs_pass(changed, expected):
    how = training("contrastive", epochs=3, **changed)
    assert changes_by_epoch(student(), complete("contrastive", 4), how) == expected


def test_frozen_layers_do_not_decay():
    how = training("contrastive", epochs=1, layers=1, weight_decay=0.5)
    assert changes_by_epoch(student(), complete("contrastive", 4), how) == [{1}]


class Killed(Exception):
    pass


def kill_at(monkeypatch, name, step):
    recipe, count = RECIPES[name], iter(range(1000))

    def terms(b):
        if next(count) == step:
            raise Killed
        return recipe.terms(b)

    monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, terms=terms))


@pytest.mark.parametrize(
    ("name", "changed", "step"),
    [
        ("contrastive", {"layers": 1, "unfreeze": 1}, 2),
        ("contrastive", {"layers": 1, "unfreeze": 1}, 3),
        ("clip_refine", {"average": 0.5, "captions": None}, 3),
        ("shuffled_targets", {"chunk": 3, "max_norm": 1.0}, 2),
        ("labclip", {}, 3),
    ],
    ids=str,
)
def test_a_killed_and_resumed_training_equals_an_uninterrupted_one(monkeypatch, tmp_path, name, changed, step):
    """Two steps an epoch: killed before the first or the second step of epoch 2."""
    how, linear = training(name, interval=0.0, **changed), RECIPES[name].linear
    whole = student(linear=linear)
    wanted = run(whole, complete(name), how)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, name, step)
        run(student(linear=linear), complete(name), how, checkpoint=tmp_path / "c.pt", fingerprint="f")
    resumed, told = student(linear=linear), []
    found = run(
        resumed, complete(name), how, checkpoint=tmp_path / "c.pt", fingerprint="f",
        log=lambda history: told.append(len(history)),
    )  # fmt: skip
    assert found == wanted
    assert resumed.finished().weights == whole.finished().weights
    assert told == [2, 3]


def test_a_resumed_training_goes_on_with_as_many_layers(monkeypatch, tmp_path):
    how = training("contrastive", epochs=3, layers=1, unfreeze=1)
    data = complete("contrastive", 4)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, "contrastive", 1)
        run(student(), data, how, checkpoint=tmp_path / "c.pt")
    made = student()
    optimised = []
    real = training_module.unfreeze

    def unfreeze(model, layers):
        optimised.append(layers)
        return real(model, layers)

    monkeypatch.setattr(training_module, "unfreeze", unfreeze)
    run(made, data, how, checkpoint=tmp_path / "c.pt")
    assert optimised == [2, 3]


def test_more_layers_than_the_tower_has_are_refused():
    with pytest.raises(InputError, match=r"student\.layers is 7, .* 6 groups"):
        run(student(), complete("contrastive", 4), training("contrastive", layers=7))


def scored(*scores):
    """A validation that gives these figures one after the other."""
    given = iter(scores)
    return lambda clip: {name: next(given) if "text_to" in name else 0.0 for name in FIGURES}


@pytest.mark.parametrize(
    ("patience", "epochs", "best"), [(0, [0, 1, 2, 3, 4], 4), (1, [0, 1, 2], 1), (2, [0, 1, 2, 3], 1)]
)
def test_training_stops_after_so_many_epochs_without_a_better_one(patience, epochs, best):
    how = training("contrastive", epochs=4, patience=patience)
    result = run(student(), complete("contrastive", 4), how, scored(0.1, 0.5, 0.4, 0.5, 0.6))
    assert [row["epoch"] for row in result.history] == epochs
    assert result.best_epoch == best


def test_the_average_of_the_weights_is_validated_and_is_the_student():
    data, states = complete("contrastive", 4), []
    plain = student()
    run(plain, data, training("contrastive", epochs=3), lambda clip: states.append(copy_of(clip)) or FIGURES)
    averaged, found = student(), []
    validate = scored(0, 0.1, 0.2, 0.3)
    run(
        averaged, data, training("contrastive", epochs=3, average=0.75),
        lambda clip: found.append(copy_of(clip)) or validate(clip),
    )  # fmt: skip
    # One step an epoch. The average starts as the first step's weights.
    wanted = states[1]
    for state, got in zip(states[1:], found[1:], strict=True):
        wanted = {name: 0.75 * value + 0.25 * state[name] for name, value in wanted.items()}
        for name, value in wanted.items():
            torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-6)
    name = "visual.conv1.weight"
    assert not torch.allclose(found[3][name], states[3][name])
    assert torch.equal(averaged.finished().model.state_dict()[name], found[3][name])


def copy_of(clip):
    return {name: value.detach().clone() for name, value in clip.model.state_dict().items() if value.ndim}


def test_all_captions_of_every_picture_may_be_in_a_batch(seen):
    owner = [0, 0, 1, 2, 2, 2, 3, 4, 4, 5]
    captions = [[f"caption {c}" for c in range(10) if owner[c] == i] for i in range(6)]
    data = pairs(captions, caption_vectors=axes(range(10)), image_vectors=axes(range(6)), targets=axes(range(10)))
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


@pytest.mark.parametrize("name", ["hard_negatives", "dclip_clean"])
@pytest.mark.parametrize("train_text", [False, True])
def test_in_chunks_a_batch_trains_as_at_once(name, train_text):
    def trained(chunk):
        made = student(train_text)
        history = run(made, complete(name, 8, train_text), training(name, epochs=1, batch=8, chunk=chunk)).history
        return history[1]["loss"], copy_of(made.finished())

    loss, wanted = trained(0)
    found, states = trained(3)
    assert found == pytest.approx(loss, rel=1e-5)
    before = copy_of(tiny_clip())
    for name, value in states.items():
        if "k_proj.bias" in name or "in_proj_bias" in name:
            continue  # a key's bias has no gradient but rounding, which AdamW makes a step of
        step = (wanted[name] - before[name]).abs().max()
        assert (value - wanted[name]).abs().mean() <= 0.05 * step + 1e-7, name


def test_chunks_of_more_pictures_than_there_are_distinct_texts():
    data = pairs([["the same"]] * 4)
    how = training("contrastive", chunk=1, epochs=1)
    assert np.isfinite(run(student(train_text=True), data, how).history[1]["loss"])


def test_hard_negatives_are_those_of_the_captions_in_the_batch(seen):
    """Negative 2 of the first caption is the second caption itself: right for picture 1, wrong for all others."""
    texts = [["n0", "caption 1"], ["n1"], [], ["n0"]]
    vectors = axes([10, 1, 11, 10])
    data = pairs([[c] for c in numbered(4)], caption_vectors=axes(range(4)), image_vectors=axes(range(4)),
                 negatives=Negatives(texts, vectors))  # fmt: skip
    run(student(), data, training("hard_negatives", batch=4, epochs=1))
    pictures, negatives = rows_of(seen[0].base_image), rows_of(seen[0].negatives)
    assert sorted(negatives) == [1, 10, 11], "equal ones once"
    assert seen[0].allowed.tolist() == [[not (n == 1 and i == 1) for n in negatives] for i in pictures]
    seen.clear()
    run(student(), data, training("hard_negatives", batch=2, epochs=3))
    of = {0: {10, 1}, 1: {11}, 2: set(), 3: {10}}
    for b in seen:
        assert set(rows_of(b.negatives)) == set().union(*(of[c] for c in rows_of(b.base_text)))


def test_trained_hard_negatives_are_embedded_by_the_student(seen):
    made = student(train_text=True)
    data = complete("hard_negatives", 4, train_text=True)
    run(made, data, training("hard_negatives", epochs=1, lr=1e-12))
    b = seen[0]
    wanted = encode.texts(made.clip, [f"not {data.distinct[i]}" for i in caption_places(b, data)], COMPUTE)
    torch.testing.assert_close(b.negatives.detach(), wanted, rtol=1e-3, atol=1e-5)


def caption_places(b, data):
    return sorted((np.asarray(b.base_text) @ data.caption_vectors.T).argmax(axis=1).tolist())


def test_an_epoch_of_base_pairs_has_as_many_steps_as_is_said_and_the_epochs_differ(seen):
    data = pairs([[c] for c in numbered(16)], caption_vectors=axes(range(16)))
    run(student(), data, training("continue_base", epochs=2), steps=2)
    first, second = ({c for b in seen[at : at + 2] for c in rows_of(b.base_text)} for at in (0, 2))
    assert len(first) == len(second) == 8
    assert first != second


def test_targets_of_others_are_along_one_circle():
    for count in (2, 3, 8):
        found = rows_of(of_others(axes(range(count)), seed=3))
        place, visited = 0, []
        for _ in range(count):
            visited.append(place)
            place = found[place]
        assert place == 0
        assert sorted(visited) == list(range(count))


def test_a_fixed_temperature_is_the_finished_models():
    made = student(temperature=0.05)
    run(made, complete("contrastive", 4), training("contrastive"))
    assert made.finished().scale == pytest.approx(20)


def test_the_temperature_of_the_base_reaches_the_recipe(seen):
    run(student(), complete("similarity", 4), training("similarity", epochs=1), base_scale=37.0)
    assert {b.base_scale for b in seen} == {37.0}


def test_a_narrower_student_is_compared_through_learnt_projections(seen):
    made = student(train_text=True, embed_dim=8)
    before = made.image_to_target.weight.detach().clone()
    data = complete("dclip_clean", 4)
    run(made, data, training("dclip_clean", epochs=1))
    assert (seen[0].image.shape, seen[0].image_in_target.shape) == ((4, 8), (4, 16))
    assert not torch.equal(made.image_to_target.weight, before)


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    how = training("contrastive", epochs=4, warmup=0.5, lr=0.5e-3)
    history = run(student(), complete("contrastive"), how).history
    rates = [row["lr"] for row in history[1:]]  # after 2, 4, 6 and all 8 steps
    assert rates == pytest.approx([0.5e-3 * 3 / 4, 0.5e-3, 0.25e-3, 0], abs=1e-9)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_float32_weights(precision):
    """In float16 the first steps only lower the loss scale, until no gradient overflows."""
    made, data = student(), complete("contrastive", 4)
    before = copies(made)
    how = training("contrastive", epochs=8, precision=precision, max_norm=1.0)
    history = run(made, data, how, scored(*range(9))).history
    exact = run(student(), data, training("contrastive", epochs=1)).history
    assert history[1]["loss"] == pytest.approx(exact[1]["loss"], rel=0.05)
    assert history[1]["loss"] != exact[1]["loss"]
    assert "visual.conv1.weight" in moved(before, made)
    assert all(v.dtype == torch.float32 for v in copies(made).values() if v.is_floating_point())


def test_compiled_towers_are_those_that_train(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    made = student()
    run(made, complete("contrastive", 4), training("contrastive", epochs=1, compiled=True))
    assert compiled
    assert all(module is made.towers for module in compiled)


def test_towers_are_compiled_again_when_other_layers_are_trained(monkeypatch):
    trained = []

    def compiled(module):
        trained.append(sum(p.requires_grad for p in module.model.visual.parameters()))
        return module

    monkeypatch.setattr(torch, "compile", compiled)
    how = training("contrastive", epochs=2, compiled=True, layers=1, unfreeze=1)
    run(student(), complete("contrastive", 4), how)
    assert trained[-2] < trained[-1]


@pytest.mark.parametrize("name", ["contrastive", "labclip"])
def test_too_few_pictures_for_a_step_are_refused(name):
    with pytest.raises(InputError, match=r"no full batch; lower student\.batch"):
        run(student(linear=name == "labclip"), complete(name, 3), training(name))


def test_too_few_pictures_for_the_steps_that_are_asked_for_are_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"continue_base: 8 pictures, expected 12 for 3 steps of 4; .*base_pairs"):
        run(student(), complete("continue_base"), training("continue_base"), steps=3)


def test_a_batch_that_processes_cannot_share_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"student\.batch is 4, which 3 processes cannot share evenly"):
        run(student(), complete("contrastive"), training("contrastive"), group=Group(0, 3))


def test_a_loss_that_is_not_finite_names_the_pictures_of_the_batch():
    vectors = unit_rows(4, 16)
    vectors[2] = np.nan
    data = pairs([[c] for c in numbered(4)], caption_vectors=vectors, names=[f"mscoco-{i}" for i in range(4)])
    with pytest.raises(TrainingDiverged, match=r"student: loss is nan in epoch 1, step 1") as caught:
        run(student(), data, training("contrastive"))
    assert all(f"mscoco-{i}" in str(caught.value) for i in range(4))


def test_every_epoch_is_told_as_it_ends():
    told = []
    run(
        student(), complete("contrastive", 4), training("contrastive", epochs=2),
        log=lambda history: told.append([row["epoch"] for row in history]),
    )  # fmt: skip
    assert told == [[0], [0, 1], [0, 1, 2]]


def test_the_number_of_threads_changes_nothing():
    def trained(threads):
        made = student()
        run(made, complete("clip_refine"), training("clip_refine", threads=threads))
        return made.finished().weights

    assert trained(1) == trained(3)
