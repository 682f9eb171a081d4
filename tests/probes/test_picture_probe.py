import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tiny_models import unit_rows
from tiny_probes import attribute_set, noisy, signs

from pipeline.errors import InputError
from pipeline.probes.attributes import measurable
from pipeline.probes.images import EVERY, read
from pipeline.probes.linear import predict

GROUPS = ["colour", "shape", "colour", "size"]


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(0).random((120, 4)) < 0.4


@pytest.fixture(scope="module")
def data(labels):
    """Training and test images stand in any order."""
    return attribute_set(labels, np.random.default_rng(1).random(120) < 0.5, GROUPS)


def test_measurable_are_attributes_that_some_pictures_of_both_parts_have_and_some_have_not():
    labels = [
        # both ways in both parts; all of training; none of training; all of test; none of test; both ways again
        [1, 1, 0, 0, 1, 0],
        [0, 1, 0, 1, 0, 1],
        [1, 0, 1, 1, 0, 1],
        [0, 1, 0, 1, 0, 0],
    ]
    assert measurable(attribute_set(labels, [1, 1, 0, 0])).tolist() == [0, 5]


def test_attributes_that_are_linear_in_the_vectors_are_read(data, labels):
    found, parts = read(signs(labels), data)
    assert found.tolist() == [1, 1, 1, 1]
    assert list(parts) == [EVERY, "colour", "shape", "size"]
    assert all((rows == 1).all() for rows in parts.values())


def test_attributes_that_vectors_do_not_tell_are_read_by_chance():
    labels = np.random.default_rng(2).random((800, 8)) < 0.4
    found, parts = read(unit_rows(800, 6, seed=3), attribute_set(labels, np.arange(800) < 200))
    assert found.mean() == pytest.approx(0.5, abs=0.03)
    assert parts[EVERY].mean() == pytest.approx(found.mean())


def test_every_attribute_has_the_area_of_the_test_pictures(data, labels):
    vectors = noisy(signs(labels), 1.0, seed=4)
    scores = predict(vectors[data.training], labels[data.training], vectors[~data.training])
    found, _ = read(vectors, data)
    assert found == pytest.approx(roc_auc_score(labels[~data.training], scores, average=None))
    assert 0.5 < found.mean() < 1


def test_parts_are_of_the_test_pictures_and_average_to_the_mean_area_of_a_group(data, labels):
    found, parts = read(noisy(signs(labels), 1.0, seed=4), data)
    wanted = {
        EVERY: found.mean(), "colour": (found[0] + found[2]) / 2, "shape": found[1], "size": found[3],
    }  # fmt: skip
    assert {len(rows) for rows in parts.values()} == {int((~data.training).sum())}
    assert {name: rows.mean() for name, rows in parts.items()} == pytest.approx(wanted)


def test_an_attribute_that_cannot_be_measured_changes_no_other(data, labels):
    vectors = noisy(signs(labels), 1.0, seed=4)
    only_in_training = np.where(data.training, labels[:, 0], False)
    more = attribute_set(np.column_stack([only_in_training, labels]), data.training, ["rare", *GROUPS])
    found, parts = read(vectors, more)
    wanted, of_wanted = read(vectors, data)
    np.testing.assert_allclose(found, wanted)
    assert "rare" not in parts
    for name, rows in of_wanted.items():
        np.testing.assert_allclose(parts[name], rows)


def test_the_order_of_test_pictures_is_that_of_their_parts(data, labels):
    vectors = noisy(signs(labels), 1.0, seed=4)
    order = np.arange(120)
    order[np.flatnonzero(~data.training)] = np.flatnonzero(~data.training)[::-1]
    turned = attribute_set(labels[order], data.training[order], GROUPS)
    found, parts = read(vectors, data)
    after, of_after = read(vectors[order], turned)
    np.testing.assert_allclose(after, found)
    np.testing.assert_allclose(of_after[EVERY], parts[EVERY][::-1], rtol=1e-6)


def test_attributes_without_groups_have_one_figure(data, labels):
    found, parts = read(signs(labels), attribute_set(labels, data.training))
    assert list(parts) == [EVERY]
    assert parts[EVERY].mean() == found.mean()


def test_attributes_without_a_group_beside_others_leave_the_figure_of_all(data, labels):
    """CUB's layout with a name that has no '::' in it."""
    some = attribute_set(labels, data.training, ["colour", "shape", "colour", ""])
    found, parts = read(noisy(signs(labels), 1.0, seed=4), some)
    assert list(parts) == [EVERY, "colour", "shape"]
    assert parts[EVERY].mean() == pytest.approx(found.mean())


def test_attributes_of_which_none_can_be_measured_are_refused_with_a_reason():
    """AWA2 with a single training class: every attribute is one that all training images have, or none."""
    data = attribute_set([[1, 0], [1, 0], [0, 1], [1, 1]], [1, 1, 0, 0])
    with pytest.raises(InputError, match="attribute"):
        read(unit_rows(4, 3), data)
