"""Real photographs, given once and given twice: all of them are read, and every copy is recognised."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_corpora import conceptual, encoded

from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.images.decoding import decode

REAL = os.environ.get("DCLIP_REAL_DATA")
pytestmark = pytest.mark.skipif(not REAL, reason="DCLIP_REAL_DATA names no folder with real photographs")


def copied(image, rng):
    """Compressed again, resized, and cropped by up to 3 % of every side."""
    left, top, right, bottom = rng.uniform(0, 0.03, 4)
    w, h = image.size
    part = image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))
    size = [round(side * rng.uniform(0.6, 1.2)) for side in part.size]
    return encoded(part.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=int(rng.integers(50, 90)))


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The photographs' paths, and counts, manifest and rejected rows where each is given thrice: as it is, by its bytes
    again under a second corpus, and changed a little there."""
    root = tmp_path_factory.mktemp("twice")
    raw = root / "raw"
    raw.mkdir()
    (raw / "mscoco").symlink_to(Path(REAL) / "mscoco")
    (raw / "flickr30k").symlink_to(Path(REAL) / "flickr")
    photographs = sorted([*(raw / "mscoco/train2017").iterdir(), *(raw / "flickr30k/images").iterdir()])
    rng = np.random.default_rng(0)
    pairs = {}
    for path in photographs:
        data = path.read_bytes()
        pairs[f"http://bytes/{path.name}"] = (b"the same bytes", data)
        pairs[f"http://near/{path.name}"] = (b"the same image", copied(decode(data), rng))
    conceptual(raw / "conceptual_captions", pairs)
    rules = Rules(
        quota={"mscoco": 1000, "flickr30k": 1000, "conceptual_captions": 1000}, test={"flickr30k": 0.2},
        validation=0.2, images=ImageLimits(32, 80_000_000, 4.0), radius=12, merge=True, seed=1,
    )  # fmt: skip
    counts = curate(raw, root / "out", rules, CaptionLimits(2, 100), samples_per_shard=200, workers=2)
    manifest, rejected = (pq.read_table(root / f"out/{name}.parquet").to_pylist() for name in ("manifest", "rejected"))
    shutil.rmtree(raw / "conceptual_captions")
    return photographs, counts, manifest, rejected


def test_every_photograph_and_caption_is_kept(twice):
    photographs, counts, _, _ = twice
    assert counts["image"]["mscoco"] == {"read": 80, "kept": 80}
    assert counts["image"]["flickr30k"] == {"read": 260, "kept": 260}
    assert len(photographs) == 340
    captions = json.loads((Path(REAL) / "mscoco/annotations/captions_train2017.json").read_text())["annotations"]
    assert counts["caption"]["mscoco"]["read"] == len(captions)


def test_photographs_given_again_by_their_bytes_are_all_recognised(twice):
    photographs, _, _, rejected = twice
    lost = [r for r in rejected if r["kind"] == "image" and "same bytes" in r["detail"]]
    assert len(lost) == len(photographs)
    assert {r["reason"] for r in lost} == {"duplicate_image", "evaluation_copy"}


def test_photographs_given_again_with_small_changes_are_recognised(twice):
    photographs, _, manifest, rejected = twice
    near = [r for r in rejected if r["kind"] == "image" and "same image" in r["detail"]]
    left = [row for row in manifest if row["source"] == "conceptual_captions"]
    print(f"changed copies of photographs: {len(near)} of {len(photographs)} found")
    assert len(near) + len(left) == len(photographs)
    assert len(near) >= 0.98 * len(photographs)


def test_a_copy_of_a_test_photograph_never_trains(twice):
    _, _, manifest, rejected = twice
    test = {row["key"] for row in manifest if row["split"] == "test"}
    copies = [r for r in rejected if r["kind"] == "image" and any(f"as {key}" in r["detail"] for key in test)]
    assert len(test) > 30
    assert len(copies) >= 1.96 * len(test)
    assert {r["reason"] for r in copies} == {"evaluation_copy"}
