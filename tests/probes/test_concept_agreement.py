import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows

from pipeline.probes.concepts import agreement, assign, prototypes

AXES = np.eye(3, dtype=np.float32)

# Prototypes


def test_a_prototype_is_the_mean_direction_of_its_captions_by_their_shares():
    """Concept 0 has 3/4 of the first caption and 1/4 of the second, concept 1 the rest, concept 2 the third."""
    concepts = np.int32([[0, 1], [1, 0], [2, 0]])
    shares = np.float32([[0.75, 0.25], [0.75, 0.25], [1, 0]])
    found = prototypes(AXES, concepts, shares, 3)
    assert found.dtype == np.float32
    root = np.sqrt(10)
    np.testing.assert_allclose(found, [[3 / root, 1 / root, 0], [1 / root, 3 / root, 0], [0, 0, 1]], atol=1e-6)


def test_captions_of_one_concept_are_added_up():
    found = prototypes(AXES[[0, 0, 0, 0, 1, 1, 1]], np.zeros((7, 1), np.int32), np.ones((7, 1), np.float32), 1)
    np.testing.assert_allclose(found, [[0.8, 0.6, 0]], atol=1e-6)


def test_a_concept_without_captions_has_no_direction():
    found = prototypes(AXES[:2], np.int32([[3], [1]]), np.ones((2, 1), np.float32), 5)
    assert found.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_a_concept_of_opposite_captions_has_no_direction():
    found = prototypes(np.stack([AXES[0], -AXES[0]]), np.int32([[0], [0]]), np.ones((2, 1), np.float32), 1)
    assert found.tolist() == [[0, 0, 0]]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), m=st.integers(1, 3), count=st.integers(3, 6), seed=st.integers(0, 99))
def test_prototypes_are_those_of_plain_adding(n, m, count, seed):
    rng = np.random.default_rng(seed)
    captions = unit_rows(n, 5, seed=seed)
    concepts = np.stack([rng.choice(count, m, replace=False) for _ in range(n)]).astype(np.int32)
    shares = rng.dirichlet(np.ones(m), n).astype(np.float32)
    found = prototypes(captions, concepts, shares, count)
    for k in range(count):
        own = [(row, place) for row in range(n) for place in range(m) if concepts[row, place] == k]
        wanted = sum((captions[row] * shares[row, place] for row, place in own), np.zeros(5))
        np.testing.assert_allclose(found[k], wanted / (np.linalg.norm(wanted) or 1), atol=1e-5)
        assert np.linalg.norm(found[k]) == pytest.approx(1 if own else 0, abs=1e-5)


# Assignment


def test_the_nearest_concept_by_hand():
    vectors = np.float32([[0.8, 0.6, 0], [0.6, 0.8, 0], [0, 0.6, 0.8], [0, 0, -1]])
    assert assign(vectors, AXES).tolist() == [0, 1, 2, 0]
    assert assign(vectors, AXES[::-1]).tolist() == [2, 1, 0, 1]


def test_a_concept_without_a_direction_is_never_the_nearest():
    """Not even to a vector that is opposite to all others, to which it would be less opposite."""
    directions = np.stack([np.zeros(3, np.float32), AXES[0], np.zeros(3, np.float32), (AXES[0] + AXES[1]) / np.sqrt(2)])
    found = assign(np.stack([-AXES[0], -AXES[1], AXES[0], AXES[1]]), directions.astype(np.float32))
    assert found.tolist() == [3, 1, 1, 3]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 8), count=st.integers(1, 6), empty=st.sets(st.integers(1, 5)), seed=st.integers(0, 99))
def test_the_nearest_concept_is_that_of_plain_search(n, count, empty, seed):
    vectors, directions = unit_rows(n, 4, seed=seed), unit_rows(count, 4, seed=seed + 100)
    directions[[k for k in empty if k < count]] = 0
    kept = directions.copy()
    there = [k for k in range(count) if directions[k].any()]
    wanted = [max(there, key=lambda k, v=vector: float(v @ directions[k])) for vector in vectors]
    assert assign(vectors, directions).tolist() == wanted
    assert np.array_equal(directions, kept)


# Agreement


def test_agreement_by_hand_of_pictures_with_one_three_and_two_captions():
    found = agreement(
        images=np.array([4, 5, 6]),
        captions=np.array([4, 5, 6, 7, 5, 6]),
        labels=np.array([4, 6, 6, 5, 5, 5]),
        owner=np.array([0, 1, 1, 1, 2, 2]),
    )
    # images' concepts by caption: 4 5 5 5 6 6
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "image": [1, 0, 0, 1, 0, 0],
        "text": [1, 0, 1, 0, 1, 0],
        "both": [1, 1, 0, 0, 0, 1],
    }
    assert {rows.dtype for rows in found.values()} == {np.dtype(np.float64)}


def test_captions_need_not_stand_in_the_order_of_their_pictures():
    found = agreement(np.array([1, 2]), np.array([2, 1, 1]), np.array([2, 2, 1]), np.array([1, 0, 0]))
    assert found["image"].tolist() == [1, 0, 1]
    assert found["both"].tolist() == [1, 1, 1]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_what_agrees_twice_agrees_thrice(rows, images):
    captions, labels, owner = np.array(rows).T
    found = agreement(np.array(images), captions, labels, owner)
    image, text, both = (found[name] == 1 for name in ("image", "text", "both"))
    for one, other, third in ((image, text, both), (image, both, text), (text, both, image)):
        assert third[one & other].all()


def test_a_model_that_sees_what_the_captions_say_agrees_with_every_label():
    """Captions of three concepts in a model whose towers agree: prototypes, assignment and agreement together."""
    concepts = np.array([0, 1, 2] * 4)
    vectors = AXES[concepts] + 0.3 * unit_rows(12, 3, seed=1)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    directions = prototypes(vectors, concepts[:, None].astype(np.int32), np.ones((12, 1), np.float32), 3)
    found = agreement(assign(AXES, directions), assign(vectors, directions), concepts, concepts)
    assert {name: rows.mean() for name, rows in found.items()} == {"image": 1, "text": 1, "both": 1}
    turned = agreement(assign(AXES[[1, 2, 0]], directions), assign(vectors, directions), concepts, concepts)
    assert {name: rows.mean() for name, rows in turned.items()} == {"image": 0, "text": 1, "both": 0}
