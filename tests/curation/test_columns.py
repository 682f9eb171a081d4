"""Rewrites, negatives, boxes and images without captions, from files to tables."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_corpora import coco, encoded, picture, png, write

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Reason, Split
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.sources import Box, Negative, Rejected, Rewrite, Source, SourceError, registry, side_files

MSCOCO = registry.CORPORA["mscoco"]
IMAGES = {i: [f"number {i}"] for i in range(1, 21)}
"""1 is Karpathy's test image, 2 its val image; 18, 19 and 20 have no caption."""


def written(folder, name, *records):
    return write(folder / name, "".join(json.dumps(record) + "\n" for record in records).encode()).name


def read(column, folder, *names):
    return list(side_files.read(column, "mscoco", names, folder, MSCOCO.identify))


def run(corpora, out, *, columns=None, uncaptioned=(), **changes):
    rules = {
        "quota": {"mscoco": 30}, "test": {"mscoco": "karpathy"}, "validation": 0.3,
        "images": ImageLimits(8, 10**6, 10), "radius": 12, "merge": True, "seed": 17,
        "uncaptioned": frozenset(uncaptioned), **changes,
    }  # fmt: skip
    return curate(
        corpora, out, Rules(**rules), CaptionLimits(2, 50), samples_per_shard=50, workers=1,
        given={"mscoco": Source("mscoco", corpora / "mscoco", beside=columns or {})},
    )  # fmt: skip


@pytest.fixture
def corpora(tmp_path):
    captions = {i: texts if i < 18 else [] for i, texts in IMAGES.items()}
    coco(tmp_path / "mscoco", captions, karpathy={1: "test", 2: "val"})
    return tmp_path


def table(out, artifact):
    return pq.read_table(out / artifact.name).to_pylist()


def reasons(out, kind):
    rows = pq.read_table(out / "rejected.parquet").to_pylist()
    return sorted((row["place"], row["reason"]) for row in rows if row["kind"] == kind)


def test_one_record_is_read_alike_from_every_kind_of_file(tmp_path):
    written(tmp_path, "a.jsonl", {"id": 7, "rewrites": ["a dog", "a hound"]})
    write(tmp_path / "b.csv", b'id,text\n7,"a dog"\n7,a hound\n')
    write(tmp_path / "c.tsv", b"key\ttext\nmscoco-000000000007\ta dog\n7\n000000000007\ta hound")
    write(tmp_path / "d.txt", b"7\ta dog\n000000000007\ta hound\n")
    pq.write_table(pa.table({"id": [7], "rewrites": [["a dog", "a hound"]]}), tmp_path / "e.parquet")
    found = {name: read("rewrites", tmp_path, name) for name in ("a.jsonl", "b.csv", "d.txt", "e.parquet")}
    for rows in found.values():
        texts = [row.text.decode() if isinstance(row.text, bytes) else row.text for row in rows]
        assert (texts, {row.id for row in rows}) == (["a dog", "a hound"], {"000000000007"})
    assert [row.place for row in found["a.jsonl"]] == ["a.jsonl:1[0]", "a.jsonl:1[1]"]
    first, short, other = read("rewrites", tmp_path, "c.tsv")
    assert (first.id, first.text) == ("000000000007", b"a dog")
    assert (short.reason, other.reason) == (Reason.MALFORMED_ROW, Reason.MALFORMED_ROW)  # a field, and no key's


def test_boxes_of_json_lines_and_of_coco_are_the_same(tmp_path):
    ours = [
        {"id": 7, "box": [1, 2, 11, 22], "phrase": "dog", "score": 0.5},
        {"id": 7, "box": [0, 0, 4, 4], "phrase": "a"},
    ]
    annotations = [{"image_id": 3, "bbox": [1, 2, 10, 20], "category_id": 9, "score": 0.5}]
    annotations += [{"image_id": 3, "bbox": [0, 0, 4, 4], "phrase": "a"}, {"image_id": 4, "bbox": [0, 0, 1, 1]}]
    content = {"images": [{"id": 3, "file_name": "COCO_val2014_000000000007.jpg"}], "annotations": annotations}
    write(tmp_path / "coco.json", json.dumps(content | {"categories": [{"id": 9, "name": "dog"}]}).encode())
    *found, lost = read("boxes", tmp_path, "coco.json")
    alike = read("boxes", tmp_path, written(tmp_path, "a.jsonl", *ours))
    assert [(b.id, b.box, b.phrase, b.score) for b in found] == [(b.id, b.box, b.phrase, b.score) for b in alike]
    assert found[0] == Box("000000000007", (1, 2, 11, 22), "dog", 0.5, "coco.json#annotations[0]")
    assert isinstance(lost, Rejected)


def test_a_file_that_is_not_there_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"there is no file .*gone\.jsonl"):
        read("rewrites", tmp_path, "gone.jsonl")
    write(tmp_path / "a.csv", b"id,box\n")
    with pytest.raises(SourceError, match=r"boxes are read from \.jsonl, \.parquet, \.json"):
        read("boxes", tmp_path, "a.csv")


def test_an_image_outside_the_corpus_is_refused(tmp_path):
    name = written(tmp_path, "n.jsonl", {"id": 7, "text": "a cat", "image": "../secret.jpg"})
    assert [row.reason for row in read("negatives", tmp_path, name)] == [Reason.MALFORMED_ROW]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "key", "text", "rewrites", "negatives", "image", "box", "boxes", "phrase", "score"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize("column", side_files.COLUMNS)
@settings(max_examples=40, deadline=None)
@given(records=st.lists(json_values | st.binary(max_size=8), max_size=5))
def test_whatever_a_line_holds_it_is_a_row_or_rejected(column, records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("side")
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    write(folder / "a.jsonl", b"\n".join(lines))
    found = read(column, folder, "a.jsonl")
    full = [line for line in b"\n".join(lines).split(b"\n") if line.strip()]
    assert len(found) >= len(full) and all(isinstance(row, Rewrite | Negative | Box | Rejected) for row in found)
    assert {row.place.partition("[")[0].partition(".boxes")[0].split(".")[1] for row in found} <= {
        f"jsonl:{n}" for n in range(1, len(lines) + 10)
    }


def test_columns_of_training_images_are_kept_with_their_origin_and_all_others_rejected(corpora, tmp_path):
    folder, out = corpora / "mscoco", tmp_path / "out"
    texts = [{"id": i, "rewrites": [f"it is number {i}", "nothing" if i == 5 else f"see {i} here"]} for i in IMAGES]
    columns = {"rewrites": [written(folder, "r.jsonl", *texts, {"id": 99, "rewrites": "no such image"})]}
    counts = run(corpora, out, columns=columns)
    manifest = Manifest(out)
    split = {row["key"]: row["split"] for row in manifest.rows}
    rows = table(out, catalog.REWRITES)
    keys = [key for key in manifest.keys if split[key] == Split.TRAIN]
    assert [row["key"] for row in rows] == [key for key in keys for _ in range(2)]
    assert {row["origin"] for row in rows} <= {f"mscoco:r.jsonl:{i}[{k}]" for i in IMAGES for k in (0, 1)}
    assert counts["rewrite"]["mscoco"]["read"] == 41 == len(rows) + len(reasons(out, "rewrite"))
    assert counts["rewrite"]["mscoco"]["kept"] == len(rows)
    found = dict(reasons(out, "rewrite"))
    assert found["r.jsonl:21"] == Reason.MALFORMED_ROW
    assert found["r.jsonl:1[0]"] == Reason.HELD_OUT  # the test image
    assert found["r.jsonl:2[0]"] == Reason.EVALUATION_IMAGE
    assert found["r.jsonl:20[0]"] == Reason.NO_CAPTION
    short = [row["text"] for row in rows if row["key"] == "mscoco-000000000005"]
    assert short in ([], ["it is number 5", ""])
    assert pq.read_schema(out / catalog.REWRITES.name).metadata[b"manifest"].decode() == manifest.fingerprint


def test_boxes_are_in_shares_of_their_image_and_what_lies_outside_is_rejected(corpora, tmp_path):
    boxes = [[12, 9, 24, 18], [-5, -5, 12, 9], [100, 100, 110, 110], [5, 5, 5, 9]]  # of 48 x 36
    records = [{"id": i, "box": box, "phrase": " a  dog ", "score": 0.5} for i in IMAGES for box in boxes]
    columns = {"boxes": [written(corpora / "mscoco", "b.jsonl", *records)]}
    counts = run(corpora, tmp_path / "out", columns=columns)["box"]["mscoco"]
    rows = table(tmp_path / "out", catalog.GIVEN_BOXES)
    assert [row["box"] for row in rows[:2]] == [[0.25, 0.25, 0.5, 0.5], [0, 0, 0.25, 0.25]]
    assert {(row["phrase"], row["score"]) for row in rows} == {("a dog", 0.5)}
    assert counts["kept"] == len(rows) and counts["read"] == len(records)
    assert counts["malformed_row"] == len(IMAGES) + len(rows) / 2


def test_negatives_carry_an_image_unless_it_is_broken_or_evaluates(corpora, tmp_path):
    folder = corpora / "mscoco"
    write(folder / "n/good.png", png(900))
    write(folder / "n/broken.png", png(901)[:120])
    write(folder / "n/leak.png", png(1))  # the test image
    names = ["n/broken.png", "n/good.png", "n/leak.png", "train2017/000000000004.jpg", None]
    records = [{"id": 5 + k, "negatives": "a blue cat", "image": names[k % 5]} for k in range(13)]
    records += [{"id": 5 + k, "negatives": "a red cat", "image": names[(k + 1) % 5]} for k in range(13)]
    counts = run(corpora, tmp_path / "out", columns={"negatives": [written(folder, "n.jsonl", *records)]})
    kept = {
        (int(row["key"][-2:]) - 5 + (row["text"] == "a red cat")) % 5: row["image"]
        for row in table(tmp_path / "out", catalog.NEGATIVES)
    }
    assert kept == {1: png(900), 3: png(4), 4: None}
    found = reasons(tmp_path / "out", "negative")
    assert counts["negative"]["mscoco"]["kept"] + len(found) == 26
    assert {reason for _, reason in found} == {Reason.UNREADABLE_IMAGE, Reason.HELD_OUT}


def test_images_without_captions_train_where_they_may_and_never_evaluate(corpora, tmp_path):
    plain, out = run(corpora, tmp_path / "plain"), tmp_path / "out"
    found = run(corpora, out, uncaptioned=["mscoco"])
    assert plain["image"]["mscoco"]["no_caption"] == 3
    assert "no_caption" not in found["image"]["mscoco"]
    before, after = Manifest(tmp_path / "plain"), Manifest(out)
    bare = [row for row in after.rows if not row["captions"]]
    assert [row["split"] for row in bare] == ["train"] * 3
    assert {r["key"]: r["split"] for r in before.rows} == {r["key"]: r["split"] for r in after.rows if r["captions"]}
    assert after.captions.count([]) == 3 and len(after.owner) == len(after.texts)


def test_an_image_without_captions_drawn_for_a_test_split_by_share_trains_instead(corpora, tmp_path):
    found = run(corpora, tmp_path / "out", uncaptioned=["mscoco"], test={"mscoco": 0.5})
    rows = Manifest(tmp_path / "out").rows
    assert found["kept"]["test"] and {row["split"] for row in rows if not row["captions"]} == {"train"}


def test_one_without_captions_that_copies_link_to_val_is_not_kept(tmp_path):
    scene, step = range(6), range(8)
    captions = {10 * n + k: [f"number {n} {k}"] if k < 2 else [] for n in scene for k in step}
    coco(tmp_path / "mscoco", captions | {99: ["number 99"]}, karpathy={99: "test"})
    for n in scene:
        image = picture(n, size=(192, 144))
        for k in step:  # further and further in: each is a copy of the one before, the last is none of the first
            part = image.crop((4 * k, 3 * k, 192 - 4 * k, 144 - 3 * k))
            write(tmp_path / f"mscoco/train2017/{10 * n + k:012d}.jpg", encoded(part))
    run(tmp_path, tmp_path / "out", uncaptioned=["mscoco"], validation=0.5, radius=20, quota={"mscoco": 90})
    kept = [
        (int(row["source_id"]) // 10, row["split"], bool(row["captions"])) for row in Manifest(tmp_path / "out").rows
    ]
    by_scene = [{split for n, split, _ in kept if n == one} - {"test"} for one in scene]
    assert len(kept) > len(scene) and all(len(splits) <= 1 for splits in by_scene)
    assert all(split == "train" for _, split, captioned in kept if not captioned)
    rejected = pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert any("no caption, and copies link it to" in row["detail"] for row in rejected)
