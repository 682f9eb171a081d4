"""Boxes that were given in place of the detector's: given the detector's own, the tables are the same bytes."""

import json

import pytest
from tiny_corpora import coco
from tiny_detector import tiny_detector

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import REGIONS, Split
from pipeline.artifacts.tables import Table
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.detector import cached, regions
from pipeline.detector.cached import CachedDetector, Cropping, Detection
from pipeline.detector.detect import detect
from pipeline.detector.given import GivenBoxes
from pipeline.errors import InputError
from pipeline.sources import Source

DETECTION = Detection(confidence=1e-6, iou=0.5, image_size=64, batch=4)
CROPPING = Cropping(cap=3, min_side=0, margin=0.1, side=16, quality=90)


def curated(corpora, out, **columns):
    rules = Rules({"mscoco": 20}, {"mscoco": 0.2}, 0.2, ImageLimits(8, 10**6, 10), radius=12, merge=True, seed=3)
    given = {"mscoco": Source("mscoco", corpora / "mscoco", beside=columns)}
    curate(corpora, out, rules, CaptionLimits(1, 50), samples_per_shard=50, workers=1, given=given)
    return Manifest(out), Manifest(out, (Split.TRAIN,))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    coco(folder / "mscoco", {i: [f"number {i}"] for i in range(1, 13)})
    return folder


def made(model, manifest, root, folder, given=None):
    detector = CachedDetector(model, "w", DETECTION, CROPPING, "cpu", root, 1, given)
    counts = regions.write(detector, manifest, folder, {"kind": "regions"})
    return counts, {path.name: path.read_bytes() for path in folder.iterdir()}, detector


def test_given_the_detectors_own_boxes_the_tables_are_the_detectors(model, corpora, tmp_path, monkeypatch):
    manifest, train = curated(corpora, tmp_path / "plain")
    counts, tables, detector = made(model, manifest, tmp_path / "store", tmp_path / "yolo")
    with (corpora / "mscoco/boxes.jsonl").open("w") as out:
        for row, found in zip(train.rows, detector.boxes(train.image_keys), strict=True):
            for b in reversed(found):  # in any order
                box = [v * side for v, side in zip(b.corners, [row["width"], row["height"]] * 2, strict=True)]
                out.write(json.dumps({"id": row["source_id"], "box": box, "phrase": b.name, "score": b.score}) + "\n")
    again, training = curated(corpora, tmp_path / "given", boxes=["boxes.jsonl"])
    assert again.fingerprint == manifest.fingerprint
    looked_at = []

    def counted(detector, images, **how):
        looked_at.append(len(images))
        return detect(detector, images, **how)

    monkeypatch.setattr(cached, "detect", counted)
    boxes = GivenBoxes(training)
    found, same, _ = made(model, again, tmp_path / "empty", tmp_path / "ours", boxes)
    assert same == tables
    assert sum(looked_at) == len(manifest) - len(train)
    assert found == counts | {"images_with_given_boxes": len(train)}


def test_boxes_of_ones_own_are_cut_out_and_named_by_their_phrase(model, corpora, tmp_path):
    lines = [{"id": i, "box": [0, 0, 24, 36], "phrase": "left half"} for i in range(1, 13)]
    (corpora / "mscoco/own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest, train = curated(corpora, tmp_path / "given", boxes=["own.jsonl"])
    made(model, manifest, tmp_path / "store", tmp_path / "out", GivenBoxes(train))
    rows = Table(tmp_path / "out/regions.arrow", REGIONS).columns.to_pylist()
    of_train = [r for r in rows if r["key"] in train.keys and r["region_index"] > 0]
    assert [r["box"] for r in of_train] == [[0, 0, 0.5, 1]] * len(train)
    assert {(r["class_name"], r["score"]) for r in of_train} == {("left half", 1)}
    assert all(r["class_name"] != "left half" for r in rows if r["key"] not in train.keys)


def test_boxes_are_asked_for_and_none_were_given(corpora, tmp_path):
    _, train = curated(corpora, tmp_path / "plain")
    with pytest.raises(InputError, match=r"regions\.boxes is given, and no training image was given a box"):
        GivenBoxes(train)
