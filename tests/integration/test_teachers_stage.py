"""The stage that makes teachers, on the tiny world."""

import copy
import json

import pytest
from tiny_models import tiny_clip
from tiny_world import execute, linked

from pipeline.artifacts import catalog
from pipeline.artifacts.weights import WrongWeights
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.training import objectives

SCALED = 42.0


@pytest.fixture
def started(world, tmp_path, monkeypatch):
    """What the stage reads, with no checkpoint, and parameters of two teachers, of which one is of another width."""
    given, params = world
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    data = linked(tmp_path / "data", given, ["sample", "models"])
    tiny_clip(seed=5, embed_dim=24).save(tmp_path / "other")
    changed = copy.deepcopy(params)
    changed["teachers"]["other"] = {"kind": "directory", "path": str(tmp_path / "other"), "scale": SCALED}
    return data, changed, Workspace(data)


def teacher(ws, name):
    return towers.load(ws.path(catalog.TEACHER_CLIPS) / name)


def test_every_teacher_has_a_folder_and_its_hash_width_input_and_scale_are_told(started):
    data, params, ws = started
    execute(["teachers"], params, data)
    large, other = teacher(ws, "large"), teacher(ws, "other")
    assert other.weights == tiny_clip(seed=5, embed_dim=24).weights
    assert ws.summary("teachers") == {
        "large": {"weights": large.weights, "dimension": 128, "image_size": 96, "scale": large.scale},
        "other": {"weights": other.weights, "dimension": 24, "image_size": 32, "scale": SCALED},
    }
    assert large.scale != SCALED
    rows = ws.rows(catalog.TEACHERS_HISTORY, "teacher", "epoch", "loss")
    assert [(row["teacher"], row["epoch"]) for row in rows] == [("large", "1")]


def test_a_teacher_that_is_named_no_longer_goes_and_nothing_trained_leaves_an_empty_history(started):
    data, params, ws = started
    execute(["teachers"], params, data)
    del params["teachers"]["large"]
    execute(["teachers"], params, data)
    assert [path.name for path in ws.path(catalog.TEACHER_CLIPS).iterdir()] == ["other"]
    assert ws.path(catalog.TEACHERS_HISTORY).read_text().split() == ["teacher,epoch,loss"]
    assert ws.rows(catalog.TEACHERS_HISTORY, "teacher") == []
    params["student"]["recipe"] = "preserving_regions"  # the default one has to have a teacher
    execute(["teachers"], params | {"teachers": {}}, data)
    assert list(ws.path(catalog.TEACHER_CLIPS).iterdir()) == []
    assert ws.summary("teachers") == {}


def test_a_killed_training_goes_on_to_the_same_bytes(started, tmp_path, monkeypatch):
    data, params, ws = started
    params["teachers"]["large"]["epochs"] = 2
    with monkeypatch.context() as patched:
        patched.setenv("DCLIP_HOME", str(tmp_path / "another"))
        execute(["teachers"], params, data)
    expected, history = teacher(ws, "large").weights, ws.path(catalog.TEACHERS_HISTORY).read_bytes()
    taken, original = [], objectives.contrastive

    def dying(*given, **more):
        taken.append(given)
        if len(taken) == 7:  # of 5 steps an epoch
            raise KeyboardInterrupt
        return original(*given, **more)

    monkeypatch.setattr(objectives, "contrastive", dying)
    with pytest.raises(KeyboardInterrupt):
        execute(["teachers"], params, data)
    assert not ws.has(catalog.summary("teachers")) or not ws.has(catalog.sums("teachers"))
    execute(["teachers"], params, data)
    assert len(taken) == 7 + 5
    assert teacher(ws, "large").weights == expected
    assert ws.path(catalog.TEACHERS_HISTORY).read_bytes() == history


def test_a_teacher_that_cannot_be_read_is_named(started, tmp_path):
    data, params, _ = started
    path = tmp_path / "other" / towers.CONFIG
    config = json.loads(path.read_text())
    config["model_cfg"]["embed_dim"] = 8
    path.write_text(json.dumps(config))
    del params["teachers"]["large"]
    with pytest.raises(WrongWeights, match=r"^teachers\.other: .*does not fit"):
        execute(["teachers"], params, data)
