import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.retrieval import bootstrap
from pipeline.retrieval.bootstrap import drawn_means, paired_interval


def paired_intervals(base, other, image, *, samples, seed):
    """Of every figure of `base`, all from one set of draws."""
    rows = {name: other[name] - own for name, own in base.items()}
    means = drawn_means(rows, image, samples=samples, seed=seed)
    return {name: bootstrap.interval(own.mean(), means[name]) for name, own in rows.items()}


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


def figures_of_two_models(images=17, queries=60, seed=0):
    """Several figures of both, and the image of each query; some images have none."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, images, queries)
    base = {
        "recall@1": rng.integers(0, 2, queries).astype(float),
        "map": rng.random(queries),
        "mrr": rng.random(queries),
    }
    other = {name: np.clip(values + rng.normal(0.1, 0.3, queries), 0, 1) for name, values in base.items()}
    return base, other, image


def close(interval):
    return pytest.approx(interval, rel=0, abs=1e-12)


def by_resampling(base, other, image, samples, seed):
    """The definition, one draw after the other: all queries of every image that is drawn, as often as it is drawn."""
    names = np.unique(image)
    means = []
    for drawn in np.random.default_rng(seed).integers(0, len(names), (samples, len(names))):
        queries = np.concatenate([np.flatnonzero(image == names[i]) for i in drawn])
        means.append((other[queries] - base[queries]).mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": (other - base).mean(), "low": low, "high": high}


def test_intervals_of_several_figures_are_those_of_each_alone():
    base, other, image = figures_of_two_models()
    found = paired_intervals(base, other, image, samples=300, seed=5)
    assert list(found) == list(base)
    for name, of_figure in found.items():
        assert of_figure == close(paired_interval(base[name], other[name], image, samples=300, seed=5))


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_plain_resampling(seed):
    base, other, image = figures_of_two_models(seed=seed)
    for name, found in paired_intervals(base, other, image, samples=200, seed=seed).items():
        assert found == close(by_resampling(base[name], other[name], image, 200, seed))


def test_all_figures_see_the_same_draws():
    base, other, image = figures_of_two_models()
    twice = paired_intervals(
        {"a": base["map"], "b": base["map"]}, {"a": other["map"], "b": other["map"]}, image, samples=50, seed=1
    )
    assert twice["a"] == close(twice["b"])


@pytest.mark.parametrize("cells", [1, 16, 17, 18, 40, 1000, 10**6])
def test_chunks_of_draws_change_nothing(monkeypatch, cells):
    base, other, image = figures_of_two_models()
    runs = np.stack([other["map"], other["mrr"], base["mrr"]])
    whole = paired_intervals(base, other, image, samples=301, seed=2)
    of_runs = paired_interval(base["map"], runs, image, samples=301, seed=2)
    monkeypatch.setattr(bootstrap, "_CELLS", cells)
    in_chunks = paired_intervals(base, other, image, samples=301, seed=2)
    for name, found in whole.items():
        assert in_chunks[name] == close(found)
    assert paired_interval(base["map"], runs, image, samples=301, seed=2) == close(of_runs)


def test_no_more_draws_than_that_are_in_memory(monkeypatch):
    monkeypatch.setattr(bootstrap, "_CELLS", 50)
    shapes = [drawn.shape for drawn in bootstrap._drawn(20, 7, seed=0)]
    assert shapes == [(2, 20), (2, 20), (2, 20), (1, 20)]


def test_every_draw_draws_as_many_images_as_there_are():
    drawn = np.concatenate(list(bootstrap._drawn(9, 4000, seed=0)))
    assert drawn.shape == (4000, 9)
    assert (drawn.sum(axis=1) == 9).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(9), abs=0.1)
    assert drawn.var() == pytest.approx(8 / 9, rel=0.1)  # binomial(9, 1/9)


def test_equal_runs_are_as_one():
    base, other, image = figures_of_two_models()
    once = paired_interval(base["map"], other["map"], image, samples=300, seed=5)
    runs = np.stack([other["map"]] * 3)
    assert paired_interval(base["map"], runs, image, samples=300, seed=5) == close(once)
    assert paired_interval(base["map"], runs[:1], image, samples=300, seed=5) == close(once)


def test_a_run_more_weighs_as_any_other():
    # Of three runs one gains everything: drawn 0 to 3 times of 3, with 8/27 and 1/27 at the ends, both over 2.5 %.
    gains = [[1, 1], [0, 0], [0, 0]]
    found = interval([0, 0], gains, [0, 1], samples=4000)
    assert found == {"value": pytest.approx(1 / 3), "low": 0, "high": 1}
