import numpy as np
import pytest
import torch
from tiny_batches import CAPTIONS, FLAT, loader
from tiny_batches import pairs as numbered_pairs
from tiny_knowledge import CONCEPTS, WIDTH, heads, knowledge
from tiny_models import tiny_clip
from tiny_training import complete, pairs, run, student, training

from pipeline.distillation.pairs import Knowledge
from pipeline.distillation.student import Student

RECIPE = "knowledge_clip"


def made(**given):
    return student(True, **heads(RECIPE), **given)


# The heads


@pytest.mark.parametrize("width", [16, 8])
def test_heads_map_to_the_language_and_to_the_concepts(width):
    found = made(embed_dim=width)
    text = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.to_language(text), text @ found.to_language.weight.T)
    assert found.to_language.weight.shape == (WIDTH, width)
    assert found.to_concepts.weight.shape == (CONCEPTS, width)
    assert found.to_concepts.bias.shape == (CONCEPTS,)


def test_without_knowledge_there_is_no_head():
    plain = student(True)
    assert plain.to_language is None and plain.to_concepts is None
    assert not [name for name in plain.state_dict() if name.startswith("to_")]


def test_heads_of_knowledge_are_trained_beside_the_towers():
    found = made()
    own = {id(p) for p in (*found.to_language.parameters(), *found.to_concepts.parameters())}
    assert len(own) == 3
    assert own < {id(p) for p in found.heads}
    decayed, plain = found.parameter_groups(0.3)
    assert {id(found.to_language.weight), id(found.to_concepts.weight)} < {id(p) for p in decayed["params"]}
    assert id(found.to_concepts.bias) in {id(p) for p in plain["params"]}


def test_towers_start_alike_with_and_without_heads():
    base = tiny_clip()
    weights = base.weights
    Student(base, base_dimension=16, train_text=True, temperature="learnable", **heads(RECIPE))
    assert base.weights == weights


def test_training_moves_the_heads_and_the_finished_student_has_none():
    found = made()
    before = {name: p.detach().clone() for name, p in found.named_parameters() if name.startswith("to_")}
    run(found, complete(RECIPE, 4, True), training(RECIPE, epochs=1))
    assert len(before) == 3
    assert all(not torch.equal(before[name], dict(found.named_parameters())[name]) for name in before)
    assert found.finished().model.state_dict().keys() == tiny_clip().model.state_dict().keys()


def test_what_all_captions_have_in_common_is_learnt():
    """One concept and one direction, which the heads alone can tell."""
    vectors = np.tile(np.eye(WIDTH, dtype=np.float32)[2], (8, 1))
    labels, whole = np.full((8, 1), 4, dtype=np.int32), np.ones((8, 1), dtype=np.float32)
    data = pairs([[f"caption {i}"] for i in range(8)], knowledge=Knowledge(vectors, labels, whole, CONCEPTS))
    history = run(made(), data, training(RECIPE, epochs=30, batch=8, lr=1e-2)).history
    assert history[1]["concepts"] == pytest.approx(np.log(CONCEPTS), rel=0.5), "at first all are about as likely"
    assert history[-1]["language"] < 0.2 * history[1]["language"]
    assert history[-1]["concepts"] < 0.5 * history[1]["concepts"]


# Batches


@pytest.mark.parametrize("captions", [None, 1, 2])
def test_knowledge_in_a_batch_is_that_of_its_captions(captions):
    of = knowledge(len(FLAT))
    data = numbered_pairs(knowledge=of)
    for batch in loader(data, batch=3, captions=captions)(1, 2):
        places = batch.base_text.argmax(dim=1).numpy()
        found = batch.knowledge
        assert found.language.dtype == found.shares.dtype == torch.float32
        assert found.concepts.dtype == torch.int64
        assert np.array_equal(found.language.numpy(), of.language[places])
        assert np.array_equal(found.concepts.numpy(), of.concepts[places])
        assert np.array_equal(found.shares.numpy(), of.shares[places])
        assert (captions is None) == (len(places) == sum(len(CAPTIONS[int(name.split()[1])]) for name in batch.names))


def test_without_knowledge_a_batch_has_none():
    batch = next(loader(numbered_pairs())(1, 1))
    assert batch.knowledge is None


@pytest.mark.parametrize("part", ["language", "concepts", "shares"])
def test_knowledge_of_other_captions_is_refused_with_the_counts(part):
    of = knowledge(len(FLAT))
    setattr(of, part, getattr(of, part)[:-1])
    counts = [len(FLAT) - (part == name) for name in ("language", "concepts", "shares")]
    message = rf"knowledge of {counts[0]}, {counts[1]} and {counts[2]} captions, expected {len(FLAT)}"
    with pytest.raises(ValueError, match=message):
        numbered_pairs(knowledge=of)
