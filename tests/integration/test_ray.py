"""Stages on a Ray cluster of four actors on this machine: the same bytes, whoever of them is killed."""

import copy
import os
import random
import secrets
import subprocess
import sys
from functools import partial
from pathlib import Path

import mortal
import pytest
from test_stages import digests
from tiny_cluster import BLOCK, Toys, check, opened, tasks_of
from tiny_world import execute, linked

import stages.engine
from pipeline.artifacts.manifest import Manifest
from pipeline.cluster.connection import Actors, Cluster
from pipeline.cluster.work import Carried

ACTORS, BLOCKS = 4, 40
ACTOR_KILLS, DRIVER_KILLS, STAGE_KILLS = 20, 5, 5
PATH = os.pathsep.join(
    str(path) for path in (Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2])
)

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a cluster of four CPUs, to which this process is connected, too."""
    with pytest.MonkeyPatch.context() as patch:
        if "RAY_ADDRESS" not in os.environ:
            patch.setenv("RAY_AUTH_MODE", "token")
            patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
            patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", PATH)
        ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
        if "RAY_ADDRESS" in os.environ:
            ray.init(log_to_driver=False)
        else:
            with Cluster(Actors("local", ACTORS, "cpu", 1, 0, stages.engine.quiet), Path("none"), "", "") as cluster:
                cluster._connected()
                yield ray.get_runtime_context().gcs_address
            return
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def on_ray(params):
    changed = copy.deepcopy(params)
    changed["compute"] |= {"engine": "ray", "actors": ACTORS, "threads": 1}
    return changed


LINES = {"curate": 12, "regions": 40, "features": 40, "concepts": 5}
"""Of the journals that actors write in each stage, how many lines there are at least, however often they die."""


@pytest.mark.parametrize("stage", LINES)
def test_a_stage_on_ray_writes_the_same_bytes_though_actors_die(request, address, tmp_path, monkeypatch, stage):
    given, params = request.getfixturevalue("knowing" if stage == "concepts" else "world")
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    journal = tmp_path / "journal"
    random.seed(stage)
    moments = tuple(random.sample(range(1, LINES[stage] + 1), STAGE_KILLS))
    monkeypatch.setattr(stages.engine, "quiet", partial(mortal.begin, str(journal), moments, 0))
    monkeypatch.setattr(stages.engine, "computing", partial(mortal.begin_computing, str(journal), moments, 0))
    before = ("sample", "models", "teachers", "curate", "regions", "spans")
    data = linked(tmp_path / "data", given, before[: before.index(stage)] if stage in before else before)
    execute([stage], on_ray(params), data)
    assert digests(data / stage) == digests(given / stage)
    assert mortal.happened(journal) == STAGE_KILLS
    if stage == "regions":
        images = len(Manifest(given / "curate"))
        assert mortal.computed(journal)["boxes"] <= images + STAGE_KILLS * params["curate"]["samples_per_shard"]


def moments(seed, count):
    """Of filling a store with toys: one a row, and four a block, when it is written and sent.

    There are blocks enough that hardly one is met so often that it is given up.
    """
    random.seed(seed)
    return random.sample(range(1, BLOCKS * (BLOCK + 4)), count)


def test_an_actor_may_die_at_any_moment(address, tmp_path):
    journal, held = tmp_path / "journal", opened(tmp_path / "store")
    setup = partial(mortal.begin, str(journal), tuple(moments("actors", ACTOR_KILLS)), 0)
    with Cluster(Actors(address, ACTORS, "cpu", 1, 0, setup), tmp_path / "store", "", "") as cluster:
        cluster.fill(Toys(), [held], lambda: tasks_of(held, BLOCKS), "toys", Carried({}))
    assert mortal.happened(journal) == ACTOR_KILLS
    check(held, BLOCKS)
    assert (len(held), len(held.segments)) == (BLOCKS * BLOCK, BLOCKS), "a block that is done twice is one segment"
    twice = mortal.computed(journal)["toys"] - BLOCKS * BLOCK
    assert 0 < twice <= ACTOR_KILLS * BLOCK


def test_a_driver_may_be_killed_at_any_moment(address, tmp_path):
    journal, root = tmp_path / "journal", tmp_path / "store"
    drawn = [str(moment) for moment in moments("driver", DRIVER_KILLS)]
    program = [sys.executable, str(Path(__file__).parent / "ray_driver.py"), address, str(root), str(BLOCKS)]
    runs = 0
    while subprocess.run([*program, str(journal), *drawn]).returncode:
        runs += 1
        assert runs <= DRIVER_KILLS
    assert mortal.happened(journal) == DRIVER_KILLS
    held = opened(root)
    check(held, BLOCKS)
    assert (len(held), len(held.segments)) == (BLOCKS * BLOCK, BLOCKS)
    assert mortal.computed(journal)["toys"] - BLOCKS * BLOCK <= DRIVER_KILLS * ACTORS * BLOCK
