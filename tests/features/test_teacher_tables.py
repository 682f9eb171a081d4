import json
import shutil
from collections import Counter

import numpy as np
import pytest
from tiny_material import CROPS, SAMPLES, VIEWS, embed_all, embedding, lay_out
from tiny_models import COMPUTE, save_worded_clip, tiny_clip
from tiny_teachers import state_teachers

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import check_unit
from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import encode, towers
from pipeline.errors import InputError
from pipeline.views.table import ViewsOf

TRAIN = list(SAMPLES[Split.TRAIN])
KEYS = [key for split in Split for key in SAMPLES[split]]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A data folder with everything embedded, and the feature store."""
    ws, store = lay_out(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("store")
    embed_all(ws, store)
    return ws, store


@pytest.fixture
def copied(embedded, tmp_path):
    ws, store = embedded
    shutil.copytree(ws.data, tmp_path / "data")
    shutil.copytree(store, tmp_path / "store")
    return type(ws)(tmp_path / "data"), tmp_path / "store"


def digests(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.arrow")}


class Rows:
    """How many images and texts every model computes, by its weights."""

    def __init__(self, monkeypatch):
        self.counted = Counter()
        for name in ("images", "texts"):
            forward = f"forward_{name}"
            monkeypatch.setattr(encode, forward, self._counting(getattr(encode, forward), name))

    def _counting(self, forward, name):
        def counted(clip, rows, compute):
            self.counted[clip.weights, name] += len(rows)
            return forward(clip, rows, compute)

        return counted


@pytest.mark.parametrize("name", ["twin", "worded"])
def test_a_teacher_has_the_bases_tables_of_its_own_width_and_views(embedded, name):
    ws, _ = embedded
    manifest, clip = ws.manifest(), towers.load(ws.path(catalog.clip_of(name)))
    mine, theirs = catalog.tables_of(name), catalog.BASE_TABLES
    pairs = [
        (mine.images, theirs.images),
        (mine.regions, theirs.regions),
        (mine.captions, theirs.captions),
        (mine.spans[SpanKind.PHRASES], theirs.spans[SpanKind.PHRASES]),
        *zip(mine.zeroshot, theirs.zeroshot, strict=True),
    ]
    for own, base in pairs:
        found, wanted = ws.table(own, weights=clip.weights), ws.table(base)
        index = found.columns.schema.names[:-1]
        assert found.columns.select(index).equals(wanted.columns.select(index)), own.path
        assert found.vectors().shape == (len(wanted), clip.dimension)
        check_unit(found)
    views = ws.table(mine.views, manifest, weights=clip.weights)
    assert views.strings("key") == [key for key in TRAIN for _ in range(VIEWS)]
    assert not ws.has(mine.spans[SpanKind.TOKENS]), "which nobody asked for"


@pytest.mark.parametrize("name", ["twin", "worded"])
def test_vectors_of_views_are_those_of_what_the_views_show(embedded, name):
    ws, _ = embedded
    train, clip = ws.manifest(Split.TRAIN), towers.load(ws.path(catalog.clip_of(name)))
    views = ViewsOf(train, ws.table(catalog.VIEWS, train))
    from pipeline.distillation.pixels import Decoded

    pixels = Decoded(clip, views)[np.arange(len(views))]
    wanted = np.concatenate([encode.images(clip, pixels[i : i + 4], COMPUTE) for i in range(0, len(views), 4)])
    assert np.array_equal(ws.table(catalog.tables_of(name).views).vectors(), wanted.astype(np.float16))


def test_metadata_says_whose_rows_they_are_and_how_they_are_compared(embedded):
    ws, _ = embedded
    for name, scale in (("twin", tiny_clip(seed=1).scale), ("worded", 50.0)):
        clip = towers.load(ws.path(catalog.clip_of(name)))
        tables = catalog.tables_of(name)
        for artifact in (tables.images, tables.views, tables.captions, *tables.zeroshot):
            found = ws.table(artifact, weights=clip.weights, scale=scale)
            assert found.json("preprocessing") == {**clip.config["preprocess_cfg"], "size": clip.image_size}
            assert found.metadata["model"] == f"data/teachers/clips/{name}"
    origins = {ws.table(catalog.tables_of(name).images).metadata["features"] for name in ("base", "twin", "worded")}
    assert len(origins) == 3


def test_the_bases_tables_know_nothing_of_teachers(copied, tmp_path):
    ws, _ = copied
    before = digests(ws.data / "features")
    of_base = {name: content for name, content in before.items() if not name.startswith(("teachers/", "views"))}
    assert len(of_base) == 8
    shutil.rmtree(ws.data / "features")
    embed_all(ws, tmp_path / "new", teachers=())
    assert digests(ws.data / "features") == of_base | {"views.arrow": before["views.arrow"]}


def test_another_teacher_computes_its_own_rows_and_nothing_else(copied, monkeypatch):
    ws, store = copied
    before = digests(ws.data / "features")
    rows = Rows(monkeypatch)
    embed_all(ws, store)
    assert not rows.counted, "nothing is new"
    save_worded_clip(ws.path(catalog.clip_of("worded")), seed=9, embed_dim=12)
    state_teachers(ws.data)
    embed_all(ws, store)
    weights = towers.load(ws.path(catalog.clip_of("worded"))).weights
    crops, texts = sum(CROPS.values()), {text for own in SAMPLES.values() for group in own.values() for text in group}
    assert set(rows.counted) == {(weights, "images"), (weights, "texts")}
    assert rows.counted[weights, "images"] == 7 + crops + 4 + VIEWS * len(TRAIN)
    assert rows.counted[weights, "texts"] > len(texts)
    after = digests(ws.data / "features")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {name for name in after if name.startswith("teachers/worded/")}


def test_other_views_compute_no_other_rows(copied, monkeypatch):
    ws, store = copied
    before = digests(ws.data / "features")
    rows = Rows(monkeypatch)
    embed_all(ws, store, count=VIEWS + 1)
    after = digests(ws.data / "features")
    names = {"views.arrow", "teachers/twin/views.arrow", "teachers/worded/views.arrow"}
    assert {name for name in after if after[name] != before[name]} == names
    weights = {towers.load(ws.path(catalog.clip_of(name))).weights for name in ("twin", "worded")}
    assert rows.counted == {(w, "images"): len(TRAIN) for w in weights}


def test_tokens_of_a_teacher_that_has_none_are_refused(copied):
    ws, store = copied
    embedding(ws, store).teacher("twin", list(SpanKind))
    assert ws.has(catalog.tables_of("twin").spans[SpanKind.TOKENS])
    with pytest.raises(InputError, match=r"set teacher\.spans to phrases"):
        embedding(ws, store).teacher("worded", list(SpanKind))


def test_another_folder_than_the_stage_wrote_is_refused_with_both_hashes(copied):
    ws, store = copied
    shutil.copytree(ws.path(catalog.BASE_CLIP), ws.path(catalog.clip_of("twin")), dirs_exist_ok=True)
    stated = json.loads((ws.data / "teachers/metrics.json").read_text())["twin"]["weights"]
    with pytest.raises(WrongWeights, match=rf"{tiny_clip().weights}, expected {stated}; run: dvc repro -sf teachers"):
        embedding(ws, store).teacher("twin", [SpanKind.PHRASES])


def test_half_a_teacher_is_refused(copied):
    ws, store = copied
    path = ws.path(catalog.clip_of("twin")) / towers.WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WrongWeights, match="teachers/clips/twin"):
        embedding(ws, store).teacher("twin", [SpanKind.PHRASES])
