import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows

from pipeline.concepts.clusters import cluster, soft_labels
from pipeline.errors import InputError

AXES = np.eye(4, dtype=np.float32)


def groups(*sizes, spread=0.05):
    """That many unit vectors around each axis, in a random order, and whose they are."""
    owner = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = np.eye(8, dtype=np.float32)[owner] + spread * unit_rows(len(owner), 8, seed=2)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), owner


def nearest(vectors, centres):
    return (vectors @ centres.T).argmax(axis=1)


def partition(labels):
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in np.unique(labels)}


def assert_unit(centres):
    assert centres.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-3)


# Centres


@pytest.mark.parametrize("seed", [0, 1, 17])
@pytest.mark.parametrize("sizes", [(20, 20), (30, 20, 25), (10,) * 8])
def test_well_separated_groups_are_found(sizes, seed):
    vectors, owner = groups(*sizes)
    centres = cluster(vectors, len(sizes), seed=seed, iterations=20)
    assert partition(nearest(vectors, centres)) == partition(owner)
    for k in range(len(sizes)):
        mean = vectors[owner == k].sum(axis=0)
        assert (centres @ mean).max() == pytest.approx(np.linalg.norm(mean), rel=1e-5)


def test_a_single_concept_is_the_direction_of_the_mean():
    vectors, _ = groups(3, 2)
    mean = vectors.mean(axis=0)
    found = cluster(vectors, 1, seed=0, iterations=5)
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean)], atol=1e-6)


def test_equal_seeds_give_equal_centres_bit_for_bit():
    vectors = unit_rows(200, 8)
    first, again, other = (cluster(vectors, 12, seed=seed, iterations=10) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_as_many_concepts_as_captions_are_the_captions():
    vectors = unit_rows(6, 8)
    centres = cluster(vectors, 6, seed=0, iterations=10)
    assert sorted(nearest(vectors, centres)) == list(range(6))
    np.testing.assert_allclose(centres[nearest(vectors, centres)], vectors, atol=1e-6)


@pytest.mark.parametrize(("captions", "count"), [(3, 4), (0, 1)])
def test_more_concepts_than_captions_are_refused_with_both_numbers(captions, count):
    message = rf"concepts\.count is {count}, and there are {captions} distinct captions; expected at most"
    with pytest.raises(InputError, match=message):
        cluster(unit_rows(captions, 8), count, seed=0, iterations=5)


@pytest.mark.parametrize("sizes", [[10], [5, 5], [100, 1, 1]])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_equal_vectors_leave_unit_centres_and_concepts_that_are_the_nearest_of_none(sizes, count):
    vectors = np.repeat(unit_rows(len(sizes), 8), sizes, axis=0)
    centres = cluster(vectors, count, seed=0, iterations=10)
    assert centres.shape == (count, 8)
    assert_unit(centres)
    labels = soft_labels(vectors, centres, temperature=0.1, top=count)
    np.testing.assert_allclose(labels.shares.sum(axis=1), 1, rtol=1e-5)
    assert 1 <= len(np.unique(labels.concepts[:, 0])) <= min(count, len(sizes))


@settings(max_examples=30, deadline=None)
@given(
    distinct=st.integers(1, 12),
    times=st.integers(1, 4),
    share=st.floats(0, 1),
    width=st.integers(2, 6),
    seed=st.integers(0, 50),
)
def test_centres_are_unit_whatever_the_captions(distinct, times, share, width, seed):
    vectors = np.repeat(unit_rows(distinct, width, seed=seed), times, axis=0)
    count = max(1, round(share * len(vectors)))
    centres = cluster(vectors, count, seed=seed, iterations=5)
    assert centres.shape == (count, width)
    assert_unit(centres)


def test_opposite_captions_make_no_concept():
    with pytest.raises(InputError, match=r"no direction in common; raise concepts\.count, which is 1"):
        cluster(np.stack([AXES[0], -AXES[0]]), 1, seed=0, iterations=5)


def test_vectors_are_left_as_they_were():
    vectors = unit_rows(50, 8)
    kept = vectors.copy()
    centres = cluster(vectors, 5, seed=0, iterations=5)
    soft_labels(vectors, centres, temperature=0.1, top=3)
    assert np.array_equal(vectors, kept)


# Soft labels


def test_soft_labels_of_three_concepts_by_hand():
    """Similarities 0.8, 0.6 and 0 at T = 0.2 are logits 4, 3 and 0."""
    caption = np.array([[0.8, 0.6, 0, 0]], dtype=np.float32)
    found = soft_labels(caption, AXES[[2, 0, 1]], temperature=0.2, top=3)
    assert (found.concepts.dtype, found.shares.dtype) == (np.int32, np.float32)
    assert found.concepts.tolist() == [[1, 2, 0]]
    e = np.exp([4.0, 3.0, 0.0])
    np.testing.assert_allclose(found.shares, [e / e.sum()], rtol=1e-5)


def test_the_largest_shares_are_kept_and_sum_to_1_again():
    caption = np.array([[0.8, 0.6, 0, 0]], dtype=np.float32)
    found = soft_labels(caption, AXES[[2, 0, 1]], temperature=0.2, top=2)
    assert found.concepts.tolist() == [[1, 2]]
    e = np.exp([4.0, 3.0])
    np.testing.assert_allclose(found.shares, [e / e.sum()], rtol=1e-5)
    alone = soft_labels(caption, AXES[[2, 0, 1]], temperature=0.2, top=1)
    assert (alone.concepts.tolist(), alone.shares.tolist()) == ([[1]], [[1.0]])


def test_of_fewer_concepts_than_are_kept_there_are_all():
    found = soft_labels(AXES[:2], AXES[:3], temperature=0.5, top=10)
    assert found.concepts.shape == found.shares.shape == (2, 3)
    assert np.sort(found.concepts, axis=1).tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize(("temperature", "largest"), [(1e-4, 1.0), (1e6, 1 / 3)])
def test_temperatures_at_either_end_are_finite(temperature, largest):
    found = soft_labels(AXES[:1], AXES[:3], temperature=temperature, top=3)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1, rtol=1e-6)
    assert found.shares[0, 0] == pytest.approx(largest, rel=1e-5)


def test_a_caption_between_two_concepts_is_shared_evenly():
    caption = np.array([[1, 1, 0, 0]], dtype=np.float32) / np.sqrt(2).astype(np.float32)
    found = soft_labels(caption, AXES[:3], temperature=0.1, top=2)
    assert set(found.concepts[0]) == {0, 1}
    np.testing.assert_allclose(found.shares, [[0.5, 0.5]], rtol=1e-6)


def test_no_captions_have_no_labels():
    found = soft_labels(np.zeros((0, 4), dtype=np.float32), AXES, temperature=0.1, top=2)
    assert found.concepts.shape == found.shares.shape == (0, 2)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 8),
    concepts=st.integers(1, 9),
    top=st.integers(1, 12),
    temperature=st.floats(0.01, 10),
    seed=st.integers(0, 99),
)
def test_labels_are_the_softmax_of_the_nearest_concepts(n, concepts, top, temperature, seed):
    vectors, centres = unit_rows(n, 5, seed=seed), unit_rows(concepts, 5, seed=seed + 100)
    found = soft_labels(vectors, centres, temperature=temperature, top=top)
    m = min(top, concepts)
    similarity = vectors.astype(np.float64) @ centres.T
    order = np.argsort(-similarity, axis=1)[:, :m]
    logits = np.take_along_axis(similarity, order, axis=1) / temperature
    wanted = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert found.concepts.tolist() == order.tolist()
    np.testing.assert_allclose(found.shares, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(found.shares, axis=1) <= 0).all()
