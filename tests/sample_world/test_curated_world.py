"""Curation finds every defect that was planted in the sample world, for its reason, and invents none."""

from collections import defaultdict

import pyarrow.parquet as pq
import pytest

from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.sample_world import corpora

IMAGES = {"mscoco": 900, "flickr30k": 700, "conceptual_captions": 700}
SOURCES = tuple(IMAGES)
IMAGE_REASONS = (
    "unreadable_image", "missing_image", "empty_file", "not_an_image", "small_image", "extreme_shape",
    "animated_image", "oversized_image", "evaluation_image",
)  # fmt: skip
CAPTION_REASONS = (
    "empty_caption", "no_words", "short_caption", "long_caption", "duplicate_caption", "not_utf8", "malformed_row",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What was planted; manifest rows by key; rejected rows. The quotas leave nothing out."""
    root = tmp_path_factory.mktemp("curated_world")
    planted = corpora.build(root / "raw", images=IMAGES, test=120, seed=17, workers=2)
    rules = Rules(
        quota=dict.fromkeys(SOURCES, 10_000), test={"flickr30k": "karpathy"}, validation=0.2,
        images=ImageLimits(32, 80_000_000, 4.0), radius=12, merge=True, seed=3,
    )  # fmt: skip
    curate(root / "raw", root / "out", rules, CaptionLimits(2, 100), samples_per_shard=500, workers=2)
    manifest, rejected = (pq.read_table(root / f"out/{name}.parquet").to_pylist() for name in ("manifest", "rejected"))
    return planted, {row["key"]: row for row in manifest}, rejected


def planted_in_all(world, *names):
    return [entry for defects in world[0].values() for name in names for entry in defects.get(name, [])]


def rejected_for(world, kind, *reasons):
    return [row for row in world[2] if row["kind"] == kind and row["reason"] in reasons]


@pytest.mark.parametrize("reason", IMAGE_REASONS)
def test_broken_missing_and_excluded_images_are_found_exactly(world, reason):
    found = [row["key"] for row in rejected_for(world, "image", reason)]
    assert found
    assert sorted(found) == sorted(planted_in_all(world, reason))


@pytest.mark.parametrize("reason", CAPTION_REASONS)
def test_bad_captions_are_found_exactly(world, reason):
    found = [row["place"] for row in rejected_for(world, "caption", reason)]
    assert found
    assert sorted(found) == sorted(planted_in_all(world, reason))


def test_damaged_encoding_is_repaired(world):
    captions = {
        origin.partition(":")[2]: text
        for row in world[1].values()
        for text, origin in zip(row["captions"], row["caption_origins"], strict=True)
    }
    repaired = dict(planted_in_all(world, "mojibake"))
    assert repaired
    assert {place: captions[place] for place in repaired} == repaired


def test_pictures_in_odd_forms_are_kept(world):
    odd = planted_in_all(world, "grey", "cmyk", "palette", "grey16", "exif", "transparent")
    assert len(odd) >= 18
    assert set(odd) <= set(world[1])


def test_byte_copies_are_found_exactly_and_one_of_each_pair_is_kept(world):
    pairs = planted_in_all(world, "duplicate_image")
    lost = {row["key"] for row in rejected_for(world, "image", "duplicate_image")}
    assert len(lost) == len(pairs) > 20
    assert all(len(lost & set(pair)) == 1 and len(set(pair) & set(world[1])) == 1 for pair in pairs)


def test_copies_of_evaluation_images_do_not_train(world):
    planted = {copy for _, copy in planted_in_all(world, "evaluation_copy")}
    found = {row["key"] for row in rejected_for(world, "image", "evaluation_copy")}
    print(
        f"copies of evaluation images: {len(found & planted)} of {len(planted)} found, {len(found - planted)} invented"
    )
    assert len(found & planted) >= 0.98 * len(planted)
    assert len(found & planted) >= 0.99 * len(found)


def test_near_duplicates_are_found_and_twins_are_kept(world):
    pairs = planted_in_all(world, "near_duplicate")
    lost = {row["key"]: row["detail"] for row in rejected_for(world, "image", "near_duplicate")}
    found = [pair for pair in pairs if any(a in lost and b in lost[a] for a, b in (pair, pair[::-1]))]
    recall, precision = len(found) / len(pairs), len(found) / len(lost)
    twins = planted_in_all(world, "twins")
    apart = [pair for pair in twins if set(pair) <= set(world[1])]
    print(
        f"near-duplicates: recall {recall:.3f} of {len(pairs)}, precision {precision:.3f} of {len(lost)}; "
        f"{len(apart)} of {len(twins)} twins kept apart"
    )
    assert len(pairs) > 35
    assert recall >= 0.98
    assert precision >= 0.99
    assert len(apart) == len(twins) > 35


def test_the_first_corpus_keeps_the_picture_and_gets_the_copys_captions(world):
    across = [p for p in planted_in_all(world, "near_duplicate") if p[0].partition("-")[0] != p[1].partition("-")[0]]
    kept = [(world[1][a], b) for a, b in across if a in world[1]]
    assert len(kept) >= 0.9 * len(across) > 8
    merged = [o for row, _ in kept for o in row["caption_origins"] if o.partition(":")[0] != row["source"]]
    assert len(merged) >= len(kept)


def test_nothing_else_is_rejected(world):
    reasons = defaultdict(int)
    for row in world[2]:
        if row["kind"] == "image":
            reasons[row["reason"]] += 1
    assert set(reasons) == {*IMAGE_REASONS, "duplicate_image", "near_duplicate", "evaluation_copy"}
