import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tiny_models import unit_rows
from tiny_probes import COMBINATIONS, noisy, signs

from pipeline.probes.linear import areas, predict


def of_one(scores, labels):
    """Area and parts of a single label."""
    found, parts = areas(np.array(scores, np.float64)[:, None], np.array(labels, dtype=bool)[:, None])
    return found[0], parts[:, 0]


@st.composite
def scored(draw):
    """Scores and labels of some rows; few values, so that ties are common, and both kinds of rows."""
    n = draw(st.integers(2, 14))
    labels = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda own: 0 < sum(own) < n))
    scores = draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
    return np.array(scores, np.float64), np.array(labels)


def area_by_counting(scores, labels):
    """The share of pairs in which the row with the label scores higher; ties count half."""
    pairs = [(p, q) for p, one in zip(scores, labels, strict=True) if one
             for q, other in zip(scores, labels, strict=True) if not other]  # fmt: skip
    return sum((p > q) + (p == q) / 2 for p, q in pairs) / len(pairs)


# Areas


def test_an_area_and_its_parts_by_hand():
    """With the label 4 and 1, without it 3 and 2 and 0: of the six pairs 4 wins three, 1 wins one."""
    found, parts = of_one([4, 1, 3, 2, 0], [True, True, False, False, False])
    assert found == pytest.approx(4 / 6)
    # Told apart: 4 from 3 of 3, 1 from 1 of 3; 3 and 2 from 1 of 2, 0 from 2 of 2. Shares are 2/5 and 3/5.
    told = np.array([1, 1 / 3, 1 / 2, 1 / 2, 1])
    assert parts == pytest.approx(4 / 6 + (told - 4 / 6) / np.array([2 / 5, 2 / 5, 3 / 5, 3 / 5, 3 / 5]))


@pytest.mark.parametrize(
    ("scores", "area"), [([3, 2, 1, 0], 1), ([0, 1, 2, 3], 0), ([1, 0, 1, 0], 1 / 2), ([2, 1, 1, 0], 7 / 8)]
)
def test_areas_of_two_rows_with_and_two_without_the_label(scores, area):
    assert of_one(scores, [True, True, False, False])[0] == area


@pytest.mark.parametrize("with_it", [1, 3, 16])
@pytest.mark.parametrize("score", [0.0, 0.1, -7.3])
def test_constant_scores_are_at_chance_exactly(score, with_it):
    found, parts = of_one([score] * 17, np.arange(17) < with_it)
    assert found == 0.5
    assert (parts == 0.5).all()


@settings(max_examples=60, deadline=None)
@given(scored())
def test_areas_are_those_of_counting_pairs_and_of_scikit_learn(world):
    scores, labels = world
    found, parts = of_one(scores, labels)
    assert found == pytest.approx(area_by_counting(scores, labels), abs=1e-12)
    assert found == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert parts.mean() == pytest.approx(found, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(world, random):
    scores, labels = world
    order = list(range(len(scores)))
    random.shuffle(order)
    found, parts = of_one(scores, labels)
    after, of_after = of_one(scores[order], labels[order])
    assert after == pytest.approx(found, abs=1e-12)
    assert of_after == pytest.approx(parts[order], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored(), st.sampled_from([np.exp, np.cbrt, lambda x: 1e-6 * x + 4, lambda x: x**3 + x]))
def test_only_the_order_of_scores_matters(world, growing):
    scores, labels = world
    for one, other in zip(of_one(scores, labels), of_one(growing(scores), labels), strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=60, deadline=None)
@given(scored())
def test_the_opposite_scores_or_labels_have_the_rest_of_the_area(world):
    scores, labels = world
    found, parts = of_one(scores, labels)
    for opposite, of_opposite in (of_one(-scores, labels), of_one(scores, ~labels)):
        assert opposite == pytest.approx(1 - found, abs=1e-12)
        assert of_opposite == pytest.approx(1 - parts, abs=1e-12)


def test_every_label_is_measured_by_its_own_scores():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(40, 5)), rng.random((40, 5)) < 0.4
    found, parts = areas(scores, labels)
    assert (found.shape, parts.shape) == ((5,), (40, 5))
    for j in range(5):
        one, own = of_one(scores[:, j], labels[:, j])
        assert found[j] == one
        assert np.array_equal(parts[:, j], own)


@pytest.mark.parametrize(("value", "count"), [(True, 4), (False, 0)])
def test_a_label_of_all_rows_or_of_none_is_refused(value, count):
    labels = np.array([[True, value], [False, value], [True, value], [False, value]])
    with pytest.raises(ValueError, match=f"label 1 stands on {count} of 4 rows"):
        areas(np.zeros((4, 2)), labels)


def bootstrapped(scores, labels, samples=700, seed=0):
    """Areas of rows drawn with replacement, float64 [samples]; one column of scores a model."""
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, len(labels), len(labels)) for _ in range(samples)]
    return np.array([areas(scores[rows], np.repeat(labels[rows, None], scores.shape[1], 1))[0] for rows in drawn])


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_parts_vary_as_the_area_does(share):
    """The standard error of the mean of parts against the spread of the area over rows drawn with replacement."""
    rng = np.random.default_rng(3)
    labels = rng.random(200) < share
    signal = np.where(labels, 1.0, 0.0)
    scores = np.stack([signal + rng.normal(size=200), 0.6 * signal + rng.normal(size=200)], axis=1)
    found = bootstrapped(scores, labels)
    parts = areas(scores, np.repeat(labels[:, None], 2, axis=1))[1]
    assert parts.std(axis=0) / np.sqrt(200) == pytest.approx(found.std(axis=0), rel=0.1)
    gain = parts[:, 1] - parts[:, 0]
    assert gain.std() / np.sqrt(200) == pytest.approx((found[:, 1] - found[:, 0]).std(), rel=0.1)


# Prediction


def test_labels_that_are_linear_in_the_vectors_are_read_as_they_are():
    rng = np.random.default_rng(0)
    training, test = rng.random((60, 3)) < 0.5, COMBINATIONS
    found = predict(signs(training), training, signs(test))
    assert found.shape == (8, 3)
    np.testing.assert_allclose(found, test, atol=1e-3)


def test_labels_are_read_through_noise_better_than_by_chance_and_worse_than_without():
    rng = np.random.default_rng(1)
    labels = rng.random((300, 4)) < 0.4
    vectors = noisy(signs(labels), 1.5, seed=2)
    found = areas(predict(vectors[:200], labels[:200], vectors[200:]), labels[200:])[0]
    assert ((found > 0.6) & (found < 0.99)).all()


def test_labels_that_have_nothing_to_do_with_the_vectors_are_read_by_chance():
    labels = np.random.default_rng(4).random((900, 6)) < 0.3
    vectors = unit_rows(900, 12, seed=5)
    found = areas(predict(vectors[:300], labels[:300], vectors[300:]), labels[300:])[0]
    assert found.mean() == pytest.approx(0.5, abs=0.03)


def test_vectors_that_are_all_the_same_tell_nothing():
    labels = np.random.default_rng(6).random((60, 3)) < 0.4
    constant = np.repeat(unit_rows(1, 17, seed=7), 60, axis=0)
    assert (areas(predict(constant[:37], labels[:37], constant[37:]), labels[37:])[0] == 0.5).all()


def test_one_label_is_read_as_it_is_among_others():
    labels = np.random.default_rng(8).random((80, 3)) < 0.5
    vectors = noisy(signs(labels), 1.0, seed=9)
    together = predict(vectors[:50], labels[:50], vectors[50:])
    alone = predict(vectors[:50], labels[:50, 1:2], vectors[50:])
    assert alone.shape == (30, 1)
    np.testing.assert_allclose(alone[:, 0], together[:, 1], atol=1e-6)


def test_a_single_test_row_may_be_asked_for():
    labels = np.random.default_rng(8).random((50, 3)) < 0.5
    assert predict(signs(labels), labels, signs(np.array([[True, False, True]]))) == pytest.approx(
        np.array([[1.0, 0.0, 1.0]]), abs=1e-3
    )


def test_more_dimensions_than_rows_are_read_without_being_learnt_by_heart():
    labels = np.random.default_rng(10).random((220, 2)) < 0.5
    vectors = np.concatenate([signs(labels), 0.3 * unit_rows(220, 198, seed=11)], axis=1)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = areas(predict(vectors[:120], labels[:120], vectors[120:]), labels[120:])[0]
    assert (found > 0.95).all()


def test_reading_is_the_same_again_and_leaves_its_input():
    labels = np.random.default_rng(12).random((40, 2)) < 0.5
    vectors = noisy(signs(labels), 1.0, seed=13)
    kept = vectors.copy(), labels.copy()
    first, again = (predict(vectors, labels, vectors) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert np.array_equal(vectors, kept[0]) and np.array_equal(labels, kept[1])
