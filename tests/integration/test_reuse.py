"""What the regions and features stages compute again, and what they read from the feature store."""

import copy
import json
import logging
import shutil

import pyarrow as pa
import pytest
from counting import Forwards
from test_stages import digests
from tiny_world import execute, quotas

from pipeline.artifacts.schema import REGIONS
from pipeline.artifacts.tables import Table
from pipeline.clip import towers
from pipeline.disk import sums
from pipeline.images import decoding
from pipeline.store.inventory import collections

pytestmark = pytest.mark.faults

FROZEN = ("regions", "spans", "features")


@pytest.fixture
def frozen(world, tmp_path, monkeypatch):
    """The tiny world without teachers up to what is frozen, parameters, forwards counted, an empty store."""
    data, params = world
    params = copy.deepcopy(params) | {"teachers": {}}
    params["student"] |= {"recipe": "preserving_regions"}
    for stage in ("sample", "curate", "models"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / stage).symlink_to(data / stage)
    execute(["teachers"], params, tmp_path / "data")
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    return tmp_path / "data", params, Forwards(monkeypatch)


def anew(data, stage):
    """Give a stage a folder of its own."""
    (data / stage).unlink()
    (data / stage).mkdir()


def test_a_second_run_computes_nothing_and_writes_the_same_bytes(frozen):
    data, params, forwards = frozen
    execute(FROZEN, params, data)
    assert set(forwards.taken()[0]) == {"detect", "pictures", "texts"}
    first = {stage: digests(data / stage) for stage in FROZEN}
    execute(FROZEN, params, data)
    assert forwards.taken()[0] == {}
    assert {stage: digests(data / stage) for stage in FROZEN} == first


def test_five_per_cent_new_samples_cost_at_most_six_per_cent_of_the_forwards(frozen, monkeypatch, tmp_path):
    data, params, forwards = frozen
    params["regions"]["batch"] = params["compute"]["batch"] = 4
    execute(FROZEN, params, data)
    forwards.taken()
    more = copy.deepcopy(params)
    more["sources"]["of"] = quotas(mscoco=73, flickr30k=53, conceptual_captions=42)  # 160 before
    anew(data, "curate")
    execute(["curate", *FROZEN], more, data)
    rows, batches = forwards.taken()
    warm = digests(data / "features")

    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "empty"))
    execute(FROZEN, more, data)
    all_rows, all_batches = forwards.taken()
    assert digests(data / "features") == warm
    for kind in ("detect", "pictures", "texts"):
        assert 0 < rows[kind] <= 0.06 * all_rows[kind], kind
        assert 0 < batches[kind] <= 0.06 * all_batches[kind] + 1, kind  # the last batch is padded
    assert sum(batches.values()) <= 0.06 * sum(all_batches.values())


def test_another_size_of_crop_embeds_every_crop_anew_and_detects_nothing(frozen):
    data, params, forwards = frozen
    execute(FROZEN, params, data)
    before, _ = forwards.taken()
    changed = copy.deepcopy(params)
    changed["regions"] |= {"crop_side": 24}
    execute(["regions"], changed, data)
    assert forwards.taken()[0] == {}, "the boxes are the same"
    crops = [c for c in Table(data / "regions/regions.arrow", REGIONS).columns["crop"].to_pylist() if c]
    execute(["features"], changed, data)
    after, _ = forwards.taken()
    assert after == {"pictures": len(set(crops))}, "every crop, and nothing that did not change"
    assert before["pictures"] > after["pictures"] > 0


def test_rows_of_other_code_make_tables_of_another_origin(frozen, monkeypatch):
    data, params, forwards = frozen
    execute(FROZEN, params, data)
    before, _ = forwards.taken()
    tables = sorted([*(data / "features").rglob("*.arrow"), data / "regions/regions.arrow"])
    tables.remove(data / "features/views.arrow")  # which are drawn, not computed
    origins = {path: Table(path).metadata["fingerprint"] for path in tables}
    for module, kept in ((towers, {"regions"}), (decoding, set())):
        with monkeypatch.context() as patched:
            patched.setattr(module, "CODE", "raised")
            execute(FROZEN, params, data)
        assert forwards.taken()[0]["pictures"] == before["pictures"]
        same = {path.parent.name for path in tables if Table(path).metadata["fingerprint"] == origins[path]}
        assert same == kept


@pytest.mark.parametrize("model", ["detector", "clip"])
def test_other_weights_compute_everything_anew_and_read_nothing_old(frozen, model, tmp_path, monkeypatch):
    data, params, forwards = frozen
    execute(FROZEN, params, data)
    before, _ = forwards.taken()
    other = tmp_path / "other"
    (other / "sample").mkdir(parents=True)
    (other / "sample/base").symlink_to(data.resolve() / "sample/base")
    execute(["models"], params | {"seed": params["seed"] + 1}, other)
    replaced = data / "models"
    original = replaced.resolve()
    replaced.unlink()
    shutil.copytree(original, replaced)
    name = "detector.pt" if model == "detector" else "clip/open_clip_model.safetensors"
    shutil.copyfile(other / "models" / name, replaced / name)
    stated, of_other = (json.loads((folder / "metrics.json").read_text()) for folder in (replaced, other / "models"))
    (replaced / "metrics.json").write_text(json.dumps(stated | {model: of_other[model]}))
    sums.write(replaced)
    execute(FROZEN, params, data)
    after, _ = forwards.taken()
    if model == "detector":
        assert after["detect"] == before["detect"]
    else:
        assert "detect" not in after
        assert after["texts"] == before["texts"] and after["pictures"] == before["pictures"]
    found = digests(data / "features")
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "empty"))
    execute(FROZEN, params, data)
    assert digests(data / "features") == found, "as if there had never been other weights"


def test_a_damaged_segment_is_named_and_only_its_rows_are_computed_anew(frozen, tmp_path, caplog, monkeypatch):
    data, params, forwards = frozen
    monkeypatch.setattr("pipeline.store.collection.SEGMENT_BYTES", 8000)
    execute(FROZEN, params, data)
    forwards.taken()
    wanted = digests(data / "features")
    (folder,) = (tmp_path / "home/store").glob("pictures-*")
    segments = sorted(folder.glob("*.arrow"))
    assert len(segments) > 3
    (before,) = collections(tmp_path / "home/store", ["pictures"])
    damaged = segments[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        execute(["features"], params, data)
    assert damaged.stem in caplog.text
    assert digests(data / "features") == wanted
    rows, _ = forwards.taken()
    (after,) = collections(tmp_path / "home/store", ["pictures"])
    assert rows == {"pictures": before.rows - sum(map(rows_of, set(segments) - {damaged}))}
    assert after.rows == before.rows
    assert [p.stem for p in after.damaged] == [damaged.stem]


def rows_of(path):
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all().num_rows
