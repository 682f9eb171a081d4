"""Every stage on real photographs and captions, with real YOLO11n weights and the real spaCy model.

The base CLIP is the tiny world's: no pretrained one can be had without a network.
"""

import copy
import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_world import STAGES, execute, quotas

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import Table
from pipeline.images import decoding

REAL = os.environ.get("DCLIP_REAL_DATA")
YOLO11N = "3e6f511d42e2c24df5d23a141d42b789648017a6dcb8c6989b56cc4f3eb2e46e"

pytestmark = pytest.mark.skipif(not REAL, reason="DCLIP_REAL_DATA names no folder with real photographs")


@pytest.fixture(scope="module")
def real(world, tmp_path_factory):
    tiny_data, tiny_params = world
    source = Path(REAL)
    root = tmp_path_factory.mktemp("real")
    corpora = root / "corpora"
    corpora.mkdir()
    for name, folder in (("mscoco", "mscoco"), ("flickr30k", "flickr"), ("conceptual_captions", "conceptual_captions")):
        (corpora / name).symlink_to(source / folder)
    zeroshot = root / "zeroshot"
    names = sorted((source / "mscoco/train2017").iterdir())
    for split, start in (("val", 0), ("test", 4)):
        for label, name in enumerate(("a photo taken outdoors", "a photo taken indoors")):
            folder = zeroshot / split / name.replace(" ", "_")
            folder.mkdir(parents=True)
            for photo in names[start + 2 * label : start + 2 * label + 2]:
                (folder / photo.name).symlink_to(photo)
    params = copy.deepcopy(tiny_params)
    params["sources"] = {
        "sample": [], "path": str(corpora),
        "of": quotas(mscoco=10_000, flickr30k=10_000, conceptual_captions=10_000),
    }  # fmt: skip
    params["curate"] |= {"test": {"flickr30k": 0.2}}
    params["models"] = {
        "path": str(source / "weights"),
        "clip": {"kind": "directory", "path": str(tiny_data / "models/clip")},
        "detector": {"kind": "weights", "path": str(source / "weights/yolo11n.pt"), "sha256": YOLO11N},
    }
    teacher = tiny_data / "teachers/clips/large"
    params["teachers"] = {"large": {"kind": "directory", "path": str(teacher), "scale": "own"}}
    params["regions"] |= {"image_size": 320, "confidence": 0.25, "max_regions": 5}
    params["spans"]["parser"] = str(source / "en_core_web_sm")
    params["zeroshot"]["path"] = str(zeroshot)
    params["concepts"]["enabled"] = True
    data = root / "data"
    execute([stage for stage in STAGES if stage != "sample"], params, data)
    return data, params


def test_every_photograph_is_kept_or_rejected_with_a_reason(real):
    data, _ = real
    manifest = Manifest(data / "curate")
    rejected = pq.read_table(data / "curate/rejected.parquet").to_pylist()
    for source, count in (("mscoco", 80), ("flickr30k", 260)):
        kept = [row for row in manifest.rows if row["source"] == source]
        not_kept = [row for row in rejected if row["kind"] == "image" and row["source"] == source]
        assert len(kept) + len(not_kept) == count
        assert all(row["reason"] and row["detail"] for row in not_kept)
        shown = {row["key"] for row in not_kept if "zero-shot image" in row["detail"]}
        assert len(shown) == (8 if source == "mscoco" else 0), "the zero-shot set is made of eight of the photographs"
        assert len(kept) >= 0.95 * (count - len(shown))


def test_captions_whose_images_were_never_downloaded_are_rejected_as_such(real):
    data, _ = real
    rejected = pq.read_table(data / "curate/rejected.parquet").to_pylist()
    captions = [row for row in rejected if row["kind"] == "caption" and row["source"] == "conceptual_captions"]
    assert len(captions) == 3000
    assert {row["reason"] for row in captions} == {"missing_image"}


def test_the_detector_finds_what_coco_annotators_found(real):
    data, _ = real
    annotations = json.loads((Path(REAL) / "mscoco/annotations/instances_train2017.json").read_text())
    names = {c["id"]: c["name"] for c in annotations["categories"]}
    annotated = {}
    for a in annotations["annotations"]:
        annotated.setdefault(f"mscoco-{a['image_id']:012d}", set()).add(names[a["category_id"]])
    rows = Table(data / "regions/regions.arrow").columns.to_pylist()
    found = [r for r in rows if r["region_index"] > 0 and r["key"].startswith("mscoco")]
    right = sum(r["class_name"] in annotated.get(r["key"], set()) for r in found)
    print(f"{right} of {len(found)} boxes have a class that the photograph's annotation names")
    assert len(found) > 80
    assert right / len(found) > 0.8


def test_noun_chunks_come_from_the_real_parser(real):
    data, _ = real
    manifest = Manifest(data / "curate")
    captions = dict(zip(manifest.keys, manifest.captions, strict=True))
    table = Table(data / "spans/spans.arrow")
    assert "core_web_sm" in table.metadata["model"]
    phrases = {
        captions[r["key"]][r["caption_index"]][r["start"] : r["end"]]
        for r in table.columns.to_pylist()
        if r["kind"] == "phrases"
    }
    assert len(phrases) > 500
    assert any(phrase.lower().startswith(("a ", "the ", "two ")) for phrase in phrases)


def test_sizes_in_the_manifest_are_those_of_the_upright_photograph(real):
    data, _ = real
    manifest = Manifest(data / "curate")
    for row, (_, picture) in zip(manifest.rows, manifest.images("sizes"), strict=True):
        assert decoding.decode(picture).size == (row["width"], row["height"])


def test_targets_index_and_results_cover_every_kept_photograph(real):
    data, _ = real
    train = Manifest(data / "curate", (Split.TRAIN,))
    targets = Table(data / "targets/targets.arrow", manifest=train.fingerprint)
    assert len(targets) == len(train) + sum(map(len, train.captions))
    assert np.isfinite(targets.vectors("z").astype(np.float32)).all()
    test = Manifest(data / "curate", (Split.TEST,))
    assert json.loads((data / "index/metrics.json").read_text())["images"] == len(test)
    assert "difference" in json.loads((data / "evaluate/metrics.json").read_text())


def test_the_report_shows_photographs_with_their_boxes(real):
    data, _ = real
    page = (data / "evaluate/report/index.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert 'title="person' in page
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:|url\(["']?https?:""", page)


def test_concepts_of_real_captions_are_told_by_words_and_photographs(real):
    data, _ = real
    page = (data / "evaluate/report/concepts.html").read_text()
    concepts = Table(data / "concepts/concepts.arrow").columns.drop_columns(["centre"]).to_pylist()
    assert page.count("<section") == len(concepts)
    assert page.count("data:image/jpeg;base64,") >= 20
    dogs = [row for row in concepts if row["words"][:1] in (["dog"], ["dogs"])]
    assert dogs
    assert all(re.search(r"(?i)\b(dog|puppy|hound)", caption) for row in dogs for caption in row["captions"])


def test_a_student_learns_from_the_language_model_and_its_concepts(real, tmp_path):
    given, params = real
    changed = copy.deepcopy(params)
    changed["student"] |= {"recipe": "knowledge_clip", "text": "trainable"}
    data = tmp_path / "data"
    data.mkdir()
    for stage in ("curate", "models", "teachers", "regions", "features", "targets", "teacher", "concepts"):
        (data / stage).symlink_to(given / stage)
    execute(("student", "embed", "index", "probe", "evaluate"), changed, data)
    found = json.loads((data / "probe/metrics.json").read_text())
    assert set(found["difference"]) == {"student", "end_point"}
    assert found["language"]["captions"]["words"] > found["base"]["captions"]["words"]
    assert json.loads((data / "student/metrics.json").read_text())["recipe"] == "knowledge_clip"


def test_a_wrong_detector_hash_stops_before_the_pickle_is_opened(real, tmp_path):
    _, params = real
    wrong = copy.deepcopy(params)
    wrong["models"]["detector"]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="it was not"):
        execute(["models"], wrong, tmp_path)
    assert not (tmp_path / "models/detector.pt").exists()


def test_a_crop_is_the_square_around_its_box_a_tenth_wider_each_way(real):
    data, params = real
    assert params["regions"]["margin"] == 0.1
    manifest = Manifest(data / "curate")
    pictures = dict(list(manifest.images("pictures"))[:60])
    checked = 0
    for row in Table(data / "regions/regions.arrow").columns.to_pylist():
        if row["region_index"] == 0 or row["key"] not in pictures:
            continue
        picture = decoding.decode(pictures[row["key"]])
        x0, y0, x1, y1 = (v * s for v, s in zip(row["box"], picture.size * 2, strict=True))
        half = 0.6 * max(x1 - x0, y1 - y0)
        corners = ((x0 + x1) / 2 - half, (y0 + y1) / 2 - half, (x0 + x1) / 2 + half, (y0 + y1) / 2 + half)
        if corners[0] < 0 or corners[1] < 0 or corners[2] > picture.width or corners[3] > picture.height:
            continue  # moved inside the image, or padded
        if half < 50:
            continue  # a pixel of rounding shows
        wanted = picture.crop(tuple(round(v) for v in corners)).resize((12, 12), Image.Resampling.BOX)
        found = decoding.decode(row["crop"]).resize((12, 12), Image.Resampling.BOX)
        assert np.abs(np.asarray(wanted, dtype=float) - np.asarray(found, dtype=float)).mean() < 8
        checked += 1
    assert checked >= 10
