from collections import Counter
from pathlib import Path

import pytest

from pipeline.params import load
from pipeline.sources import File
from pipeline.trial.rates import Detected, Rate, Rates, Step, Tower, timed
from pipeline.trial.sources import Tried, Usable
from pipeline.trial.whole import Counts, counts, estimates

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


def tried(usable=8, inspected=10, **values):
    default = {"quota": 100, "pool": 1000, "test": 20, "evaluation": 5, "inspecting": 0.1, "reading": 2.0}
    images = [Usable(File("a.jpg"), 50_000, ["a dog", "a cat"])] * usable
    faults = Counter({"missing_image": inspected - usable})
    return Tried("mine", **(default | values), inspected=inspected, usable=images, faults=faults)


def tower(**values):
    default = {"dimension": 10, "image_size": 20, "parameters": 1000, "batch": 16}
    rates = {"decode": Rate(0.002, 5), "image": Rate(0.01, 32), "text": Rate(0.001, 32)}
    return Tower(**(default | rates | values))


def test_a_full_quota_takes_as_many_looks_as_rejects_need():
    assert counts([tried()]) == Counts(looked_at=25 + 125, kept=100 + 16, trained=100, captions=2, image_bytes=50_000)


def test_a_small_source_gives_what_it_has():
    assert counts([tried(pool=50)]) == Counts(25 + 50, 40 + 16, 40, 2, 50_000)


def test_a_source_without_usable_images_keeps_nothing_and_all_of_it_is_looked_at():
    assert counts([tried(usable=0)]) == Counts(25 + 1000, 0, 0, 0, 0)


def test_sources_add_up():
    both = counts([tried(), tried(pool=50)])
    assert (both.looked_at, both.kept, both.trained, both.captions) == (225, 172, 140, 2)


def test_every_estimate_is_a_rate_times_a_count():
    rates = Rates({"base": tower()}, Step(Rate(0.5, 16), 10**6, 600), Detected(Rate(0.2, 5), 3.0, 1000.0))
    rates.phrases = Rate(0.0001, 64), 2.0
    found = {(line.kind, line.what): line.value for line in estimates([tried()], rates, PARAMS)}
    workers, student = PARAMS.compute.workers, PARAMS.student
    assert found["time", "curate"] == pytest.approx(2.0 + 150 * 0.01 / workers)
    assert found["time", "regions"] == pytest.approx(116 * (0.2 + 0.002 / workers))
    assert found["time", "spans"] == pytest.approx(232 * 0.0001)
    assert found["time", "features, base"] == pytest.approx(116 * 4 * (0.01 + 0.002 / workers) + 232 * 3 * 0.001)
    assert found["time", "student"] == pytest.approx(student.epochs * 100 * 2 * 0.5)  # an image and a region of it
    assert found["disk", "data/curate"] == 116 * 50_000
    assert found["disk", "regions"] == 2 * 116 * 3 * 1000
    assert found["disk", "features, base"] == pytest.approx(2 * 116 * (1 + 3 + 2 * 3) * 10 * 2)
    assert found["disk", "decoded images"] == 100 * 4 * 3 * 20**2
    weights = 1000 * 4 + 600 * 3 * 4 + 1000 * 4  # the third: the moving average
    assert found["memory", "student"] == weights + student.batch * 2 * 10**6


def test_what_was_not_measured_has_no_estimate():
    assert {line.what for line in estimates([tried()], Rates(), PARAMS)} == {"curate", "data/curate"}
    assert estimates([], Rates(), PARAMS)


@pytest.mark.parametrize(("count", "measured"), [(3, 3), (4, 4), (10, 6)])
def test_the_first_part_warms_up_unless_it_is_the_only_one(count, measured):
    parts = []
    rate = timed(parts.append, range(count), 4)
    assert rate.measured == measured
    assert sum(map(len, parts)) == count
