"""A tiny sample world, and what curation makes of the defects that were planted in it."""

import json
import re
from collections import Counter

import pyarrow.parquet as pq
import pytest

from pipeline.curation.curate import curate
from pipeline.sample_world import corpora
from pipeline.sample_world.vocabulary import UNSEEN_COLOURS, UNSEEN_SHAPES

IMAGES = {"mscoco": 60, "flickr30k": 60, "conceptual_captions": 60}
SOURCES = tuple(IMAGES)


def build(out, seed=17):
    return corpora.build(out, images=IMAGES, test=12, seed=seed, workers=1)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder of the corpora, and what was planted."""
    out = tmp_path_factory.mktemp("world")
    return out, build(out)


@pytest.fixture(scope="module")
def curated(world, tmp_path_factory):
    """Manifest rows, rejected rows, counts; the quotas leave nothing out."""
    out = tmp_path_factory.mktemp("curated")
    counts = curate(
        world[0], out, quota=dict.fromkeys(SOURCES, 1000), test={"flickr30k": "karpathy"}, validation=0.2,
        samples_per_shard=100, seed=3, workers=1,
    )  # fmt: skip
    manifest, rejected = (pq.read_table(out / f"{n}.parquet").to_pylist() for n in ("manifest", "rejected"))
    return manifest, rejected, counts


def texts(folder):
    """All captions as they stand in the files, by source."""
    annotations = json.loads((folder / "mscoco/annotations/captions_train2017.json").read_bytes())["annotations"]
    token = (folder / "flickr30k/results_20130124.token").read_bytes().splitlines()
    table = (folder / "conceptual_captions/Train_GCC-training.tsv").read_bytes().splitlines()
    return {
        "mscoco": [a["caption"].encode() for a in annotations],
        "flickr30k": [line.partition(b"\t")[2] for line in token],
        "conceptual_captions": [line.partition(b"\t")[0] for line in table],
    }


def test_the_same_seed_makes_the_same_bytes(world, tmp_path):
    folder, planted = world
    assert build(tmp_path) == planted
    assert contents(tmp_path) == contents(folder)


def test_another_seed_makes_another_world(world, tmp_path):
    build(tmp_path, seed=18)
    assert texts(tmp_path)["mscoco"] != texts(world[0])["mscoco"]


def test_what_was_planted_can_be_written_as_json(world):
    assert json.loads(json.dumps(world[1])) == world[1]


def test_every_kind_of_defect_is_planted_somewhere(world):
    found = {defect for defects in world[1].values() for defect in defects}
    assert found == {
        "unreadable_image", "missing_image", "grey", "cmyk", "near_duplicate", "evaluation_image", "duplicate_image",
        "empty_caption", "not_utf8", "malformed_row",
    }  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("reason", ["unreadable_image", "missing_image", "evaluation_image"])
def test_curation_finds_the_planted_images_and_no_others(world, curated, source, reason):
    _, rejected, _ = curated
    found = sorted(r["key"] for r in rejected if (r["kind"], r["reason"], r["source"]) == ("image", reason, source))
    assert found
    assert found == sorted(world[1][source][reason])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("reason", ["empty_caption", "not_utf8", "malformed_row"])
def test_curation_finds_the_planted_captions_and_no_others(world, curated, source, reason):
    _, rejected, _ = curated
    found = sorted(r["place"] for r in rejected if (r["kind"], r["reason"], r["source"]) == ("caption", reason, source))
    assert found == sorted(world[1][source].get(reason, []))


def test_of_planted_byte_copies_the_later_corpus_loses_its_own(world, curated):
    manifest, rejected, _ = curated
    pairs = [pair for defects in world[1].values() for pair in defects.get("duplicate_image", [])]
    assert pairs
    assert sorted(r["key"] for r in rejected if (r["kind"], r["reason"]) == ("image", "duplicate_image")) == sorted(
        copy for _, copy in pairs
    )
    assert {original for original, _ in pairs} <= {row["key"] for row in manifest}


def test_grey_and_cmyk_pictures_are_kept(world, curated):
    kept = {row["key"] for row in curated[0]}
    odd = {key for defects in world[1].values() for form in ("grey", "cmyk") for key in defects[form]}
    assert odd
    assert odd <= kept


def test_near_duplicates_have_near_hashes(world, curated):
    hashes = {row["key"]: row["phash"] for row in curated[0]}
    pairs = [pair for defects in world[1].values() for pair in defects["near_duplicate"] if set(pair) <= set(hashes)]
    assert pairs
    assert max((hashes[a] ^ hashes[b]).bit_count() for a, b in pairs) <= 8


def test_every_row_of_the_files_is_counted(world, curated):
    counts = curated[2]
    assert {s: counts["caption"][s]["read"] for s in SOURCES} == {s: len(t) for s, t in texts(world[0]).items()}
    assert {s: counts["image"][s]["read"] for s in SOURCES} == {**IMAGES, "flickr30k": 72}


def test_the_test_split_is_flickrs(curated):
    test = [row for row in curated[0] if row["split"] == "test"]
    assert Counter(row["source"] for row in test) == {"flickr30k": 12}


def test_the_corpora_never_name_what_only_the_base_has_seen(world):
    words = set(re.findall(rb"\w+", b" ".join(text for own in texts(world[0]).values() for text in own)))
    assert {b"red", b"star"} <= words
    assert not words & {w.encode() for w in (*UNSEEN_COLOURS, *UNSEEN_SHAPES)}


def test_boxes_of_coco_lie_in_the_picture(world):
    content = json.loads((world[0] / "mscoco/annotations/instances_train2017.json").read_bytes())
    assert {a["image_id"] for a in content["annotations"]} == {i["id"] for i in content["images"]}
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= 0
        assert min(w, h) > 0
        assert max(x + w, y + h) <= 192
        assert annotation["area"] == pytest.approx(w * h, abs=1)
