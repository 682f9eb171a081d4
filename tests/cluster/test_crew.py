"""What a crew makes of actors that fail, die, hang or never start: with a stand-in for Ray, an actor a step."""

from collections import Counter
from types import SimpleNamespace

import pytest

from pipeline.cluster import crew
from pipeline.cluster.crew import DEATHS, MOST_FAILED, TRIES, Crew, Patience
from pipeline.cluster.work import ClusterError, Done, Task
from pipeline.errors import InputError


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class Ray:
    """Does the oldest of what it was asked for at every `wait`; `plan` says what becomes of an actor's given."""

    def __init__(self, plan=lambda given, nth: Done(1, ()), load=lambda nth: None):
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.plan, self.load = plan, load
        self.asked, self.results = Counter(), {}
        self.started = self.killed = 0
        self.most = 0

    def start(self):
        self.started += 1
        self.most = max(self.most, self.started - self.killed)
        handle = SimpleNamespace(number=self.started, run=SimpleNamespace(remote=self._run))
        return handle, self._kept(("load", self.started), lambda: self.load(handle.number))

    def _run(self, given):
        self.asked[given] += 1
        nth = self.asked[given]
        return self._kept((given, nth), lambda: self.plan(given, nth))

    def _kept(self, reference, result):
        self.results[reference] = result
        return reference

    def wait(self, references, timeout):
        for reference in references:
            if self.results[reference] is not HANGS and self.results[reference]() is not HANGS:
                return [reference], []
        return [], references

    def get(self, reference):
        found = self.results[reference]()
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, handle):
        self.killed += 1


HANGS = object()


def hasten(monkeypatch):
    """Ten seconds pass whenever somebody looks at the clock."""
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr(crew.time, "monotonic", lambda: float(next(clock)))


def tasks(*names):
    return [Task(name, "letter", 1, lambda name=name: name) for name in names]


def run(ray, names, count=2, patience=None):
    made = Crew(ray, ray.start, count, lambda: "2 CPUs", patience)
    try:
        return sorted(task.name for task, _ in made.run(tasks(*names)))
    finally:
        made.close()


def test_every_task_is_done_once_by_no_more_actors_than_there_may_be():
    ray = Ray()
    assert run(ray, "abcde") == list("abcde")
    assert set(ray.asked.values()) == {1}
    assert (ray.started, ray.killed, ray.most) == (2, 2, 2)


def test_no_more_actors_are_started_than_there_are_tasks():
    ray = Ray()
    assert run(ray, "a", count=8) == ["a"]
    assert ray.started == 1


def test_actors_are_kept_for_the_next_tasks():
    ray = Ray()
    made = Crew(ray, ray.start, 2, str)
    for names in ("abc", "def"):
        assert sorted(task.name for task, _ in made.run(tasks(*names))) == list(names)
    assert (ray.started, ray.killed) == (2, 0)


def test_what_is_given_to_an_actor_is_made_when_it_is_free():
    ray, made = Ray(), []
    given = [Task(name, "letter", 1, lambda name=name: made.append(name) or name) for name in "abcdef"]
    found = iter(Crew(ray, ray.start, 2, str).run(given))
    next(found)
    assert len(made) <= 2


@pytest.mark.parametrize("error", [RayTaskError(InputError("bad")), RayError("lost")])
def test_what_fails_once_is_done_by_a_second_try(error, capsys):
    ray = Ray(lambda given, nth: error if (given, nth) == ("b", 1) else Done(1, ()))
    assert run(ray, "abc") == list("abc")
    assert ray.asked == {"a": 1, "b": 2, "c": 1}
    assert "b: " in capsys.readouterr().err


def test_an_actor_lives_on_after_an_error_and_is_replaced_after_its_death():
    for error, started in ((RayTaskError(InputError("bad")), 1), (RayError("lost"), 2)):
        ray = Ray(lambda given, nth, error=error: error if nth == 1 else Done(1, ()))
        assert run(ray, "a") == ["a"]
        assert ray.started == started


@pytest.mark.parametrize(("error", "tries"), [(RayTaskError(InputError("bad")), TRIES), (RayError("lost"), DEATHS)])
def test_what_always_fails_is_given_up_and_named_when_all_others_are_done(error, tries):
    ray = Ray(lambda given, nth: error if given == "b" else Done(1, ()))
    with pytest.raises(ClusterError, match=r"1 of 4 could not be computed \(b: .*(bad|lost)"):
        run(ray, "abcd")
    assert ray.asked == {"a": 1, "b": tries, "c": 1, "d": 1}


def test_where_everything_fails_it_stops_soon():
    ray = Ray(lambda given, nth: RayTaskError(ValueError("no such code")))
    names = [f"task {i}" for i in range(1000)]
    with pytest.raises(ClusterError, match=r"of 1000 could not .*ValueError: no such code"):
        run(ray, names)
    assert len(ray.asked) <= MOST_FAILED + 3


def test_a_model_that_cannot_be_loaded_is_told_at_once():
    ray = Ray(load=lambda nth: RayTaskError(InputError("wrong weights")))
    with pytest.raises(ClusterError, match="actors cannot be started: wrong weights"):
        run(ray, "ab")
    assert ray.started <= TRIES + 1
    assert ray.started == ray.killed


def test_actors_that_die_while_they_start_are_replaced():
    ray = Ray(load=lambda nth: RayError("lost") if nth <= 3 else None)
    assert run(ray, "ab") == ["a", "b"]


def test_a_stuck_actor_is_replaced_and_its_task_given_to_another(monkeypatch):
    ray = Ray(lambda given, nth: HANGS if (given, nth) == ("a", 1) else Done(1, ()))
    hasten(monkeypatch)
    assert run(ray, "a", patience=Patience(100, 100, 100)) == ["a"]
    assert (ray.asked["a"], ray.started) == (2, 2)


def test_a_task_may_take_many_times_as_long_a_row_as_those_before_it_and_twice_as_long_after_a_death():
    made = Crew(Ray(), None, 1, str, Patience(start=5, first=1000, least=10))
    shard, texts = (Task(kind, kind, 100, str) for kind in ("shard", "texts"))
    assert [made._limit(task) for task in (None, shard, texts)] == [5, 1000, 1000]
    made._slowest["shard"] = 3.0
    assert [made._limit(task) for task in (None, shard, texts)] == [5, 6000, 1000]
    made._deaths["shard"] = 2
    assert made._limit(shard) == 24000
    made._slowest["texts"] = 1e-6
    assert made._limit(texts) == 10


def test_where_some_actors_find_no_room_the_others_do_it_all(monkeypatch, capsys):
    ray = Ray(load=lambda nth: HANGS if nth > 1 else None)
    hasten(monkeypatch)
    assert run(ray, "abcdefghijkl", count=3, patience=Patience(100, 100, 100)) == list("abcdefghijkl")
    assert "going on with 1" in capsys.readouterr().err


def test_where_no_actor_finds_room_it_says_what_there_is(monkeypatch):
    ray = Ray(load=lambda nth: HANGS)
    hasten(monkeypatch)
    with pytest.raises(ClusterError, match=r"no actor has started .* The cluster has 2 CPUs"):
        run(ray, "ab", patience=Patience(100, 100, 100))
