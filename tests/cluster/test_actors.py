"""An actor in this process: what it leaves in the shared store, and what a driver makes of it."""

import pickle
import sys

import numpy as np
import pytest
from tiny_cluster import BLOCK, Here, Toys, check, nothing, opened, tasks_of, texts_of

from pipeline.cluster.actor import Actor
from pipeline.cluster.connection import Actors, Cluster
from pipeline.cluster.work import Carried, ClusterError
from pipeline.store import collection, remote

NOTHING = Carried({})


@pytest.fixture(params=["folder", "own"])
def here(request, tmp_path):
    """A cluster whose shared store is another folder than the driver's, or the same."""
    return Here(tmp_path / "mine", str(tmp_path / "shared") if request.param == "folder" else "")


def fill(here, blocks):
    held = opened(here.root)
    return here.fill(Toys(), [held], lambda: tasks_of(held, blocks), "toys", NOTHING), held


def loaded(url):
    actor = Actor(str(url), "")
    actor.load(pickle.dumps(nothing), pickle.dumps(Toys()), {})
    return actor


def test_the_driver_finds_every_row_that_an_actor_computed(here):
    rows, held = fill(here, 3)
    assert rows == 3 * BLOCK
    check(held, 3)
    check(opened(here.root), 3)


def test_only_what_is_lacking_is_computed(here):
    fill(here, 2)
    here.done.clear()
    fill(here, 4)
    assert here.done == {"block 2": BLOCK, "block 3": BLOCK}
    here.done.clear()
    assert fill(here, 4)[0] == 0


def test_what_another_driver_had_computed_is_fetched_and_not_computed_again(tmp_path):
    fill(Here(tmp_path / "first", str(tmp_path / "shared")), 3)
    second = Here(tmp_path / "second", str(tmp_path / "shared"))
    rows, held = fill(second, 3)
    assert rows == 0
    check(held, 3)


def test_a_task_that_is_done_twice_leaves_one_segment_however_long_it_took(tmp_path, monkeypatch):
    moments = iter(range(0, 10**6, 100))
    monkeypatch.setattr(collection.time, "monotonic", lambda: float(next(moments)))
    first, second = (loaded(tmp_path / "shared").run(texts_of(0)) for _ in range(2))
    assert first == second
    assert (first.rows, len(first.segments)) == (BLOCK, 1)
    assert len(opened(tmp_path / "shared")) == BLOCK


def test_an_actor_leaves_nothing_on_its_own_disk(tmp_path):
    (tmp_path / "scratch").mkdir()
    actor = Actor(str(tmp_path / "shared"), str(tmp_path / "scratch"))
    actor.load(pickle.dumps(nothing), pickle.dumps(Toys()), {"model/weights": np.arange(3, dtype=np.uint8)})
    actor.run(texts_of(0))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_rows_that_are_not_there_in_the_end_are_named_by_their_task(here, monkeypatch):
    monkeypatch.setattr(remote, "send", lambda root, url: [])
    with pytest.raises(ClusterError, match="lacks rows that actors have computed, of block 0, block 1; run it again"):
        fill(here, 2)


def test_files_of_a_folder_travel_by_their_names(tmp_path):
    (tmp_path / "deeper").mkdir()
    for name in ("a", "deeper/b"):
        (tmp_path / name).write_text(name)
    assert Carried.folder(tmp_path).files == {name: tmp_path / name for name in ("a", "deeper/b")}


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    held = opened(tmp_path)
    with (
        pytest.raises(ClusterError, match=r"pip install 'ray>=.*the extra \[ray\]"),
        Cluster(Actors("127.0.0.1:1", 1, "cpu", 1, 0, nothing), tmp_path, "", "") as cluster,
    ):
        cluster.fill(Toys(), [held], lambda: tasks_of(held, 1), "toys", NOTHING)


def test_where_nothing_is_lacking_ray_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    fill(Here(tmp_path), 2)
    held = opened(tmp_path)
    with Cluster(Actors("127.0.0.1:1", 1, "cpu", 1, 0, nothing), tmp_path, "", "") as cluster:
        assert cluster.fill(Toys(), [held], lambda: tasks_of(held, 2), "toys", NOTHING) == 0
