import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.retrieval.bootstrap import paired_interval


def interval(base, other, image, samples=400, seed=0):
    base, other = np.array(base, np.float64), np.array(other, np.float64)
    return paired_interval(base, other, np.array(image), samples=samples, seed=seed)


def test_identical_models_differ_by_nothing():
    hits = [1, 0, 1, 1, 0, 1]
    assert interval(hits, hits, [0, 0, 1, 1, 2, 2]) == {"value": 0, "low": 0, "high": 0}


def test_a_gain_of_every_query_has_no_spread():
    found = interval([0.25, 0.5, 0.0, 0.5], [0.5, 0.75, 0.25, 0.75], [0, 0, 1, 2])
    assert found == {"value": 0.25, "low": 0.25, "high": 0.25}


def test_two_images_by_hand():
    # Drawing two of two images gives both, or twice the better, or twice the worse: means 1/2, 1 and 0.
    assert interval([0, 0], [1, 0], [0, 1]) == {"value": 0.5, "low": 0, "high": 1}


def test_five_images_by_hand():
    # One of five images gains. The number of times it is drawn is binomial(5, 1/5): 0 with .328, 3 or more with .058,
    # 4 or more with .0067. So the 2.5 % quantile is 0 and the 97.5 % quantile is 3/5.
    assert interval([0] * 5, [1, 0, 0, 0, 0], range(5), samples=4000) == {"value": 0.2, "low": 0, "high": 0.6}


def test_the_captions_of_an_image_stay_together():
    # 500 captions of image 0 gain 1, 500 of image 1 lose 1. Drawn one by one they would always nearly balance.
    gain = [1] * 500 + [-1] * 500
    assert interval([0] * 1000, gain, [0] * 500 + [1] * 500) == {"value": 0, "low": -1, "high": 1}


def test_an_image_weighs_as_much_as_it_has_captions():
    # As above, but the image that gains has four captions and each other image one: drawn 3 of 5 times it has
    # 12 captions of 14. With equal weights that would be 3/5.
    found = interval([0] * 8, [1] * 4 + [0] * 4, [0, 0, 0, 0, 1, 2, 3, 4], samples=4000)
    assert found == {"value": 0.5, "low": 0, "high": 12 / 14}


@pytest.mark.parametrize(("gains", "value"), [([1, 0, 0], 1 / 3), ([1, 1, 0], 2 / 3)])
def test_the_interval_holds_95_per_cent(gains, value):
    # One image in three is drawn three times of three with probability 1/27 = .037: more than 2.5 %, less than 5 %.
    assert interval([0] * 3, gains, range(3), samples=4000) == {"value": pytest.approx(value), "low": 0, "high": 1}


def test_captions_of_one_image_need_not_stand_together():
    together = interval([0, 0, 0, 0, 0], [1, 0.5, 0, 0.25, 0], [0, 0, 0, 1, 2])
    apart = interval([0, 0, 0, 0, 0], [1, 0.25, 0.5, 0, 0], [0, 1, 0, 2, 0])
    assert apart == together


def test_an_image_without_a_query_is_not_drawn():
    assert interval([0, 0, 0], [1, 0.5, 0.5], [0, 2, 9]) == interval([0, 0, 0], [1, 0.5, 0.5], [0, 1, 2])


def test_draws_are_seeded():
    rng = np.random.default_rng(0)
    base, other, image = rng.random(60), rng.random(60), np.repeat(np.arange(12), 5)
    assert interval(base, other, image, seed=3) == interval(base, other, image, seed=3)
    assert interval(base, other, image, seed=3) != interval(base, other, image, seed=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=20))
def test_exchanging_the_models_mirrors_the_interval(queries):
    base, other, image = zip(*queries, strict=True)
    there, back = interval(base, other, image, 100), interval(other, base, image, 100)
    assert there["low"] <= there["high"]
    assert there["low"] >= -1 and there["high"] <= 1
    assert back["value"] == pytest.approx(-there["value"])
    assert (back["low"], back["high"]) == pytest.approx((-there["high"], -there["low"]))


def test_runs_are_drawn_too():
    # Two runs, one gains everything and one nothing: both, twice the better or twice the worse are drawn.
    found = interval([0, 0, 0], [[1, 1, 1], [0, 0, 0]], [0, 1, 2])
    assert found == {"value": 0.5, "low": 0, "high": 1}


def test_runs_are_paired():
    # Both runs of one model are 1/2 better than those of the other, however different the runs are.
    found = interval([[0, 0], [0.5, 0.5]], [[0.5, 0.5], [1, 1]], [0, 1])
    assert found == {"value": 0.5, "low": 0.5, "high": 0.5}
