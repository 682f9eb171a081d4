"""What actors compute, in this process and shard by shard, is what a stage computes itself: the same tables."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tiny_cluster import Here
from tiny_detector import tiny_detector
from tiny_language import save_encoder
from tiny_material import embed_all, embedding, lay_out

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.clip import encode
from pipeline.cluster import clips, language, regions, texts
from pipeline.concepts.cached import CachedLanguage
from pipeline.concepts.language import LanguageModel, Source
from pipeline.detector import cached, weights
from pipeline.detector.cached import CachedDetector, Cropping, Detection
from pipeline.detector.regions import write
from pipeline.disk import files
from pipeline.features.clip_tables import Embedding

DETECTION = Detection(confidence=1e-6, iou=0.5, image_size=64, batch=4)
CROPPING = Cropping(cap=3, min_side=0, margin=0.1, side=16, quality=90)


@pytest.fixture
def nothing_computed_here(monkeypatch):
    """Call it, and a forward fails the test."""

    def refuse(*_, **__):
        raise AssertionError("a frozen model was run by the driver")

    def forbid():
        monkeypatch.setattr(cached, "detect", refuse)
        monkeypatch.setattr(cached, "crop", refuse)
        monkeypatch.setattr(LanguageModel, "embed", refuse)
        for name in ("images", "texts", "texts_with_tokens"):
            monkeypatch.setattr(encode, name, refuse)

    return forbid


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data folder before features, and a detector's file."""
    ws = lay_out(tmp_path_factory.mktemp("data"))
    path = ws.data / "models/detector.pt"
    weights.save(tiny_detector(tmp_path_factory.mktemp("detector")).model, path)
    return ws, path


def detector(path, root, cropping=CROPPING):
    sha256 = files.sha256(path)
    return CachedDetector(weights.load(path, sha256), sha256, DETECTION, cropping, "cpu", root, 1)


def tables(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.arrow")}


def detected(ws, path, root, out, cropping=CROPPING):
    write(detector(path, root, cropping), ws.manifest(), out, {"fingerprint": "r"})
    return tables(out)


def by_actors(ws, path, here, cropping=CROPPING):
    regions.fill(here, detector(path, here.root, cropping), path, files.sha256(path), ws.manifest())
    return here.done


def test_regions_are_the_same_bytes(world, tmp_path, nothing_computed_here):
    ws, path = world
    alone = detected(ws, path, tmp_path / "alone", tmp_path / "a")
    here = Here(tmp_path / "mine", str(tmp_path / "shared"))
    assert by_actors(ws, path, here) == {"train/000000.tar": 4, "val/000000.tar": 1, "test/000000.tar": 2}
    nothing_computed_here()
    assert detected(ws, path, here.root, tmp_path / "b") == alone


def test_other_crops_are_cut_by_actors_and_nothing_is_detected_again(world, tmp_path, monkeypatch):
    ws, path = world
    smaller = Cropping(**vars(CROPPING) | {"side": 8})
    alone = detected(ws, path, tmp_path / "alone", tmp_path / "a", smaller)
    here = Here(tmp_path / "mine", str(tmp_path / "shared"))
    by_actors(ws, path, here)
    before = list(here.segments)
    monkeypatch.setattr(cached, "detect", None)
    by_actors(ws, path, here, smaller)
    assert {segment.partition("-")[0] for segment in here.segments[len(before) :]} == {"crops"}
    monkeypatch.setattr(cached, "crop", None)
    assert detected(ws, path, here.root, tmp_path / "b", smaller) == alone


def test_shards_may_be_at_a_url(world, tmp_path, monkeypatch):
    ws, path = world
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    MemoryFileSystem().put(f"{ws.folder('curate')}/", "/corpora/", recursive=True)
    here = Here(tmp_path / "mine", "memory://shared", "memory://corpora")
    moved = type(ws)(tmp_path / "data")
    (moved.data / "curate").mkdir(parents=True)
    shutil.copy(ws.path(catalog.MANIFEST), moved.path(catalog.MANIFEST))
    by_actors(moved, path, here)
    assert sum(here.done.values()) == len(ws.manifest())
    assert len(detector(path, here.root).lacking(moved.manifest())) == 0


def by_actors_embedded(ws, here):
    made = embedding(ws, here.root)
    before = clips.Embedder(here, lambda name: ws.path(catalog.clip_of(name)))
    made = Embedding(made.material, ws, made.compute, here.root, before)
    made.base(list(SpanKind))
    for name in ("twin", "worded"):
        made.teacher(name, [SpanKind.PHRASES])


def test_tables_of_base_and_teachers_are_the_same_bytes(world, tmp_path, monkeypatch, nothing_computed_here):
    ws, _ = world
    monkeypatch.setattr(texts, "BLOCK", 3)
    embed_all(ws, tmp_path / "alone")
    alone = tables(ws.data / "features")
    here = Here(tmp_path / "mine", str(tmp_path / "shared"))
    by_actors_embedded(ws, here)
    assert tables(ws.data / "features") == alone
    assert {"train/000000.tar", "zero-shot images 0 to 3", "captions 0 to 2", "captions 3 to 5"} <= set(here.done)

    nothing_computed_here()
    here.done.clear()
    by_actors_embedded(ws, here)
    assert (here.done, tables(ws.data / "features")) == ({}, alone)


def test_a_language_models_embeddings_are_the_same(tmp_path, monkeypatch, nothing_computed_here):
    monkeypatch.setattr(texts, "BLOCK", 4)
    source = Source("transformers", str(save_encoder(tmp_path / "encoder")))
    strings = ["a cat", "a red dog on a mat", "moon", "cat " * 20, "a blue star on a red sky", "sky"]
    alone, filled = (CachedLanguage(LanguageModel(source, "cpu"), source, 4, tmp_path / name) for name in ("a", "b"))
    alone.embed(strings)
    here = Here(tmp_path / "b", str(tmp_path / "shared"))
    language.fill(here, filled, source, strings)
    assert here.done == {"captions 0 to 3": 4, "captions 4 to 5": 2}
    nothing_computed_here()
    assert filled.embed(strings) == 0
    assert filled.vectors(strings).tobytes() == alone.vectors(strings).tobytes()


def test_a_part_of_a_manifest_reads_its_own_images_alone(world):
    ws, _ = world
    manifest = ws.manifest()
    part = manifest.only([1, 3, 5])
    assert (part.keys, part.in_shards) == (["b", "d", "f"], [("train", 0), ("test", 0)])
    assert list(part.images("read")) == [(manifest.keys[i], manifest.image(i)) for i in (1, 3, 5)]
    assert list(part.images("read", [2])) == [("f", manifest.image(5))]
    assert np.array_equal(part.image_keys, manifest.image_keys[[1, 3, 5]])


def test_a_part_of_a_manifest_finds_a_shard_that_differs(world, tmp_path):
    ws, _ = world
    shutil.copytree(ws.folder("curate"), tmp_path / "curate")
    shutil.copy(tmp_path / "curate/test/000000.tar", tmp_path / "curate/train/000000.tar")
    part = Manifest(tmp_path / "curate", (Split.TRAIN,)).only([3])
    with pytest.raises(ValueError, match="holds 'f' where the manifest has 'a'"):
        list(part.images("read"))
