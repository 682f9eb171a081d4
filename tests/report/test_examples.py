from types import SimpleNamespace

import numpy as np
from tiny_models import unit_rows

from pipeline.evaluation.comparison import Comparison, Embedded
from pipeline.report.examples import choose

KEYS = [f"mscoco-{i}" for i in range(4)]
MANIFEST = SimpleNamespace(keys=KEYS, texts=["0 a", "0 b", "1 a", "2 a", "3 a", "3 b"], owner=[0, 0, 1, 2, 3, 3])


def chosen(base_ranks, student_ranks, count=3, base=None):
    student = Embedded(unit_rows(4, 8), unit_rows(6, 8))
    result = Comparison(
        {},
        {
            "base": {"text_to_image": {"rank": np.array(base_ranks)}},
            "student": {"text_to_image": {"rank": np.array(student_ranks)}},
        },
    )
    return choose(result, {"base": base or student, "student": student}, MANIFEST, count)


def examples(base_ranks, student_ranks, count=3):
    found = chosen(base_ranks, student_ranks, count)
    return {group: [e.caption for e in own] for group, own in found.items()}


def test_an_example_shows_what_each_model_finds_first():
    # Under the base every caption looks like image 2, then 3; the student has others.
    base = Embedded(np.eye(4, dtype=np.float32), np.tile(np.float32([0, 0.1, 0.9, 0.4]), (6, 1)))
    example = chosen([9, 1, 1, 1, 1, 1], [1] * 6, base=base)["won"][0]
    assert (example.caption, example.key, example.ranks) == ("0 a", "mscoco-0", {"base": 9, "student": 1})
    assert [one.key for one in example.found["base"]] == ["mscoco-2", "mscoco-3", "mscoco-1", "mscoco-0"]
    assert np.allclose([one.similarity for one in example.found["base"]], [0.9, 0.4, 0.1, 0])
    similarity = unit_rows(4, 8) @ unit_rows(6, 8)[0]
    assert [one.key for one in example.found["student"]] == [KEYS[i] for i in np.argsort(-similarity)]
    assert example.keys == set(KEYS)


def test_examples_by_hand():
    # Captions:           0 a 0 b 1 a 2 a 3 a 3 b
    found = examples([9, 1, 4, 1, 2, 3], [1, 1, 2, 3, 8, 2])
    assert found["won"] == ["0 a"], "1 a and 3 b gained too, but are not first; 0 b had nothing to gain"
    assert found["lost"] == ["3 a", "2 a"] or found["lost"] == ["2 a", "3 a"]
    assert found["worst"] == ["3 a", "2 a", "1 a"]


def test_examples_are_ordered_by_the_ratio_of_ranks_and_cut_to_their_number():
    assert examples([2, 1, 8, 4, 1, 1], [1] * 6)["won"] == ["1 a", "2 a", "0 a"]
    assert examples([2, 1, 8, 4, 1, 1], [1] * 6, count=2)["won"] == ["1 a", "2 a"]
    assert examples([1] * 6, [1, 3, 8, 1, 2, 1])["lost"] == ["1 a", "0 b", "3 a"]


def test_a_picture_has_at_most_one_example_in_a_list():
    assert examples([9, 8, 7, 1, 6, 5], [1] * 6)["won"] == ["0 a", "1 a", "3 a"]


def test_equal_models_have_no_wins_and_no_losses():
    found = examples([1] * 6, [1] * 6)
    assert found == {"won": [], "lost": [], "worst": []}
