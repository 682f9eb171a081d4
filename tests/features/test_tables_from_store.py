import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_manifest import png, write_manifest
from tiny_models import COMPUTE, picture, tiny_clip

from pipeline.artifacts import shards
from pipeline.artifacts.catalog import BASE_TABLES, ZEROSHOT_EMBEDDINGS
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import BOXES, REGIONS, SPANS, SpanKind, Split
from pipeline.artifacts.tables import ContractError, Table
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode
from pipeline.clip.cached import CachedClip
from pipeline.detector import cached, regions
from pipeline.detector.cached import CachedDetector, Cropping, Detection
from pipeline.detector.detect import Box, crop
from pipeline.features import classes, image_embeddings, texts
from pipeline.images import decoding
from pipeline.machine.batches import batches
from pipeline.spans import table as spans
from pipeline.spans.phrases import Rules
from pipeline.store import keys
from pipeline.zeroshot import accuracy, classifier, embedded, sets

SAMPLES = {
    Split.TRAIN: {"a": ["a dog and a cat", "two moons"], "b": ["a dog and a cat"], "c": ["?!"], "d": ["a red star"]},
    Split.VAL: {"e": ["a red star on a blue sky"]},
    Split.TEST: {"f": ["a cat on a mat", "a dog and a cat"], "g": ["nothing"]},
}
KEYS = list("abcdefg")
DETECTION = Detection(confidence=0.5, iou=0.5, image_size=64, batch=4)
CROPPING = Cropping(cap=2, min_side=0, margin=0.1, side=16, quality=90)
KINDS = (SpanKind.PHRASES, SpanKind.TOKENS)
BOXES_SEEN = {  # none, one, two, and more than are kept
    n: [Box((0.1 * i, 0.25, 0.5 + 0.125 * i, 0.75), 0.5 + 0.125 * i, f"thing {i}") for i in range(n)] for n in range(4)
}


def seen(decoded):
    """The boxes of an image: as many as the red of its middle modulo 4."""
    return BOXES_SEEN[decoded.getpixel((24, 20))[0] % 4]


def look(detector, decoded, **how):
    """In the detector's place."""
    return [seen(p) for p in decoded]


@pytest.fixture(autouse=True)
def no_detector(monkeypatch):
    monkeypatch.setattr(cached, "detect", look)


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("curate"), SAMPLES)


@pytest.fixture(scope="module")
def data(manifest):
    """The bytes of every image."""
    found = dict(manifest.images("read"))
    assert {len(seen(decoding.decode(image))) for image in found.values()} == {0, 1, 2, 3}
    return found


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory):
    """Two classes of one image each in either split; one of them is an image of the manifest."""
    folder = tmp_path_factory.mktemp("zeroshot")
    for seed, place in enumerate(("val/cat", "val/dog", "test/cat", "test/dog")):
        (folder / place).mkdir(parents=True)
        (folder / place / "0.png").write_bytes(png(picture(6 + seed)))
    described = [{"folder": name, "name": name} for name in ("dog", "cat")]
    (folder / "classes.json").write_text(json.dumps({"templates": ["a {}", "one {}"], "classes": described}))
    return folder


def write_regions(root, manifest, out, cropping=CROPPING):
    detector = CachedDetector(None, "w", DETECTION, cropping, "cpu", root, 1)
    return regions.write(detector, manifest, out, {"kind": "regions"})


def write_features(root, clip, manifest, made, zero_shot, kinds=KINDS):
    """Every table of features, beside the tables of regions and spans in `made`; how much was embedded."""
    made_with = CachedClip(clip, COMPUTE, root)
    found = Table(made / "regions.arrow", REGIONS)
    spans.write(Rules(), manifest, made / "spans.arrow", {"kind": "spans"}, cap=4, tokens=clip.context_length - 2)
    written, out = Table(made / "spans.arrow", SPANS), made / "features"
    return (
        image_embeddings.write(made_with, manifest, found, BASE_TABLES, out, {"kind": "features"}),
        texts.write(made_with, manifest, written, kinds, BASE_TABLES, out, {"kind": "features"})[1],
        classes.write(made_with, classes.Contents(zero_shot), BASE_TABLES, out, {"kind": "zero-shot"}),
    )


@pytest.fixture(scope="module")
def cold(tmp_path_factory, clip, manifest, zero_shot):
    """The store that was empty, the tables made from it, and what was counted."""
    root, made = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("cold")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached, "detect", look)
        counts = write_regions(root, manifest, made)
    return root, made, counts, write_features(root, clip, manifest, made, zero_shot)


def tables(made):
    found = {p.relative_to(made).as_posix(): p.read_bytes() for p in made.rglob("*") if p.is_file()}
    assert sorted(found) == [
        "features/captions.arrow", "features/images.arrow", "features/regions.arrow", "features/spans/phrases.arrow",
        "features/spans/tokens.arrow", "features/zeroshot/images.arrow", "features/zeroshot/prompts.arrow",
        "regions.arrow", "spans.arrow", "test_boxes.arrow",
    ]  # fmt: skip
    return found


def embeddings_of(strings, clip):
    return encode.texts(clip, strings, COMPUTE).numpy().astype(np.float16)


# The same tables, whatever the store held


def test_a_warm_store_gives_the_same_bytes_and_computes_nothing(cold, clip, manifest, zero_shot, tmp_path):
    root, made, counts, _ = cold
    assert write_regions(root, manifest, tmp_path) == counts
    assert write_features(root, clip, manifest, tmp_path, zero_shot) == (0, 0, 0)
    assert tables(tmp_path) == tables(made)


@pytest.mark.parametrize("first", [(Split.TRAIN,), (Split.VAL, Split.TEST)])
def test_a_half_filled_store_gives_the_same_bytes(cold, clip, manifest, zero_shot, tmp_path, first):
    _, made, counts, computed = cold
    root, part = tmp_path / "store", tmp_path / "part"
    some = Manifest(manifest.folder, first)
    write_regions(root, some, part)
    write_features(root, clip, some, part, zero_shot, [SpanKind.PHRASES])

    assert write_regions(root, manifest, tmp_path / "all") == counts
    more = write_features(root, clip, manifest, tmp_path / "all", zero_shot)
    assert 0 < more[0] < computed[0]
    assert more[2] == 0
    assert tables(tmp_path / "all") == tables(made)


def test_a_store_filled_by_another_detector_and_model_gives_the_same_bytes(cold, clip, manifest, zero_shot, tmp_path):
    _, made, counts, computed = cold
    root = tmp_path / "store"
    CachedDetector(None, "v", DETECTION, CROPPING, "cpu", root, 1).fill(manifest)
    CachedClip(tiny_clip(seed=1), COMPUTE, root).embed_texts(["a dog and a cat"], "texts", tokens=True)
    assert write_regions(root, manifest, tmp_path / "all") == counts
    assert write_features(root, clip, manifest, tmp_path / "all", zero_shot) == computed
    assert tables(tmp_path / "all") == tables(made)


def test_how_many_rows_are_in_memory_at_a_time_changes_no_row(cold, clip, manifest, zero_shot, tmp_path, monkeypatch):
    root, made, counts, _ = cold
    for module in (regions, image_embeddings, texts):
        monkeypatch.setattr(module, "_CHUNK", 2)
    assert write_regions(root, manifest, tmp_path) == counts
    assert write_features(root, clip, manifest, tmp_path, zero_shot) == (0, 0, 0)
    for path in tables(made):
        assert Table(tmp_path / path).columns.equals(Table(made / path).columns), path


# Regions


def test_regions_are_the_picture_and_then_its_boxes_with_their_crops(cold, data):
    rows = Table(cold[1] / "regions.arrow", REGIONS, kind="regions").columns.to_pylist()
    expected = []
    for key in KEYS:
        expected.append((key, 0, [0, 0, 1, 1], 1.0, "image", None))
        decoded = decoding.decode(data[key])
        for i, box in enumerate(seen(decoded)[: CROPPING.cap]):
            cut = decoding.encode_jpeg(crop(decoded, box.corners, 0.1, 16), 90)
            expected.append((key, i + 1, pytest.approx(box.corners), box.score, box.name, cut))
    assert [tuple(row.values()) for row in rows] == expected


def test_counts_of_regions_are_of_the_boxes_that_are_kept(cold, data):
    found = [len(seen(decoding.decode(image))) for image in data.values()]
    boxes = sum(min(n, CROPPING.cap) for n in found)
    assert cold[2] == {
        "images": 7, "boxes": boxes, "boxes_too_small": 0, "images_without_boxes": found.count(0),
        "images_capped": found.count(3), "boxes_per_image": boxes / 7,
    }  # fmt: skip


def test_small_boxes_are_no_regions_are_counted_and_take_no_place(manifest, tmp_path, capsys, monkeypatch):
    """Images are 48 pixels wide: the boxes seen are 24, 25.2 and 26.4 pixels wide, and 20 high."""
    root = tmp_path / "store"
    write_regions(root, manifest, tmp_path)
    capsys.readouterr()
    monkeypatch.setattr(cached, "detect", lambda *_, **how: pytest.fail("what was detected is detected again"))
    for side, left, cap in ((25, (1, 2), 2), (26, (2,), 1), (27, (), 2)):
        counts = write_regions(root, manifest, tmp_path, replace(CROPPING, min_side=side, cap=cap))
        rows = Table(tmp_path / "regions.arrow", REGIONS).columns.to_pylist()
        found = [len(seen(decoding.decode(data))) for _, data in manifest.images("read")]
        wanted = [["image", *(f"thing {i}" for i in range(n) if i in left)][: 1 + cap] for n in found]
        assert [row["class_name"] for row in rows] == [name for own in wanted for name in own]
        small = sum(i not in left for n in found for i in range(n))
        assert counts["boxes_too_small"] == small
        assert counts["images_without_boxes"] == sum(len(own) == 1 for own in wanted)
        assert f"regions: {small} of " in capsys.readouterr().err


def test_the_boxes_of_the_test_pictures_are_theirs_alone_without_crops(cold):
    of_test = Table(cold[1] / "test_boxes.arrow", BOXES, kind="regions").columns.to_pylist()
    every = Table(cold[1] / "regions.arrow", REGIONS).columns.drop_columns("crop").to_pylist()
    assert of_test == [row for row in every if row["key"] in SAMPLES[Split.TEST]]
    assert {row["key"] for row in of_test} == set(SAMPLES[Split.TEST])


def test_without_test_pictures_there_are_no_test_boxes(manifest, tmp_path):
    write_regions(tmp_path / "store", Manifest(manifest.folder, (Split.TRAIN,)), tmp_path)
    assert len(Table(tmp_path / "test_boxes.arrow", BOXES)) == 0
    assert len(Table(tmp_path / "regions.arrow", REGIONS)) > 4


# Vectors


def test_a_distinct_picture_crop_and_text_is_embedded_once(cold, manifest):
    of_pictures, of_texts, of_zero_shot = cold[3]
    every = Table(cold[1] / "regions.arrow", REGIONS)
    assert of_pictures == 7 + len({c for c in every.columns["crop"].to_pylist() if c is not None})
    captions = {text for own in manifest.captions for text in own}
    phrases = {
        row["text"] for row in [
            {"text": manifest.captions[KEYS.index(s["key"])][s["caption_index"]][s["start"] : s["end"]]}
            for s in Table(cold[1] / "spans.arrow", SPANS).columns.to_pylist() if s["kind"] == "phrases"
        ]
    }  # fmt: skip
    assert of_texts == len(captions | phrases)
    prompts = {"a dog", "one dog", "a cat", "one cat"}
    assert of_zero_shot == 3 + len(prompts - captions - phrases), "the first zero-shot image stands in the manifest"


def test_a_regions_vector_is_that_of_its_crop_and_region_0_that_of_the_picture(cold, clip, data):
    table = Table(cold[1] / "features/regions.arrow", kind="features")
    rows = Table(cold[1] / "regions.arrow", REGIONS).columns.to_pylist()
    assert table.strings("key") == [row["key"] for row in rows]
    assert table.integers("region_index").tolist() == [row["region_index"] for row in rows]
    to_pixels = clip.pixels()
    pixels = [to_pixels(decoding.decode(row["crop"] or data[row["key"]])) for row in rows]
    wanted = np.concatenate([encode.images(clip, part, COMPUTE) for part in batches(pixels, COMPUTE.batch)])
    assert np.array_equal(table.vectors(), wanted.astype(np.float16))
    whole = Table(cold[1] / "features/images.arrow")
    assert whole.strings("key") == KEYS
    assert np.array_equal(whole.vectors(), table.vectors()[table.integers("region_index") == 0])


def test_a_captions_vector_is_its_own_in_manifest_order(cold, clip, manifest):
    table = Table(cold[1] / "features/captions.arrow", kind="features")
    places = [(key, i, text) for key, own in zip(KEYS, manifest.captions, strict=True) for i, text in enumerate(own)]
    assert table.strings("key") == [key for key, _, _ in places]
    assert table.integers("caption_index").tolist() == [i for _, i, _ in places]
    assert np.array_equal(table.vectors(), embeddings_of([text for _, _, text in places], clip))


@pytest.mark.parametrize("kind", KINDS)
def test_a_spans_vector_is_its_own_in_the_order_of_the_spans(cold, clip, manifest, kind):
    table = Table(cold[1] / f"features/spans/{kind}.arrow", kind="features")
    rows = [r for r in Table(cold[1] / "spans.arrow", SPANS).columns.to_pylist() if r["kind"] == kind]
    for name in ("key", "caption_index", "span_index"):
        assert table.columns[name].to_pylist() == [row[name] for row in rows]
    captions = [manifest.captions[KEYS.index(row["key"])][row["caption_index"]] for row in rows]
    if kind == SpanKind.PHRASES:
        wanted = embeddings_of([c[row["start"] : row["end"]] for c, row in zip(captions, rows, strict=True)], clip)
    else:
        wanted = np.stack([
            encode.texts_with_tokens(clip, [c], COMPUTE)[1][0, 1 + row["span_index"]].numpy().astype(np.float16)
            for c, row in zip(captions, rows, strict=True)
        ])  # fmt: skip
    assert np.array_equal(table.vectors(), wanted)


def test_only_the_wanted_kinds_of_span_are_embedded(cold, clip, manifest, zero_shot, tmp_path):
    root, made = cold[0], tmp_path / "made"
    write_regions(root, manifest, made)
    write_features(tmp_path / "store", clip, manifest, made, zero_shot, [SpanKind.PHRASES])
    assert [p.name for p in (made / "features/spans").iterdir()] == ["phrases.arrow"]
    assert not list((tmp_path / "store").glob("tokens-*"))


def test_a_token_that_the_text_tower_does_not_read_is_named(cold, clip, tmp_path):
    manifest = write_manifest(tmp_path / "curate", {Split.TRAIN: {"x": ["two moons", "cow " * 20]}})
    spans.write(Rules(), manifest, tmp_path / "spans.arrow", {}, cap=4, tokens=15)
    made_with = CachedClip(clip, COMPUTE, tmp_path / "store")
    with pytest.raises(ContractError, match=r"token 14 of caption 1 of x is not one of the 14 .* dvc repro -sf spans"):
        texts.write(made_with, manifest, Table(tmp_path / "spans.arrow", SPANS), KINDS, BASE_TABLES, tmp_path, {})


def test_the_zero_shot_vectors_are_those_of_the_model(cold, clip, zero_shot):
    ws = Workspace(cold[1])
    for split in classes.SPLITS:
        found = sets.read(zero_shot, split)
        rows, weights = embedded.read(ws, ZEROSHOT_EMBEDDINGS, zero_shot, found, kind="zero-shot")
        wanted = classifier.embed(clip, found, COMPUTE).half().float()
        assert np.array_equal(rows, wanted)
        prompts = embeddings_of(accuracy.prompts(found), clip).astype(np.float32)
        assert accuracy.prompts(found) == ["a dog", "one dog", "a cat", "one cat"]
        means = prompts.reshape(2, 2, -1).mean(axis=1)
        np.testing.assert_allclose(weights, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-5)
    with pytest.raises(ContractError, match="kind is 'zero-shot'"):
        embedded.read(ws, ZEROSHOT_EMBEDDINGS, zero_shot, found, kind="another")


# The images of a manifest


@settings(max_examples=25, deadline=None)
@given(rows=st.sets(st.integers(0, 6)))
def test_the_wanted_images_come_in_order_whichever_they_are(manifest, data, rows):
    wanted = [(KEYS[i], data[KEYS[i]]) for i in sorted(rows)]
    assert list(manifest.images("read", sorted(rows))) == wanted
    assert list(manifest.images("read", np.array(sorted(rows), dtype=np.int64))) == wanted


def test_only_shards_with_a_wanted_image_are_opened(manifest, data, monkeypatch):
    opened = []
    read_one = shards.read_one
    monkeypatch.setattr(shards, "read_one", lambda path: opened.append(path.parent.name) or read_one(path))
    for rows, splits in (
        ([0, 3], ["train"]),
        ([4], ["val"]),
        ([1, 6], ["train", "test"]),
        ([], []),
        (None, ["train", "val", "test"]),
    ):
        opened.clear()
        found = dict(manifest.images("read", rows))
        assert opened == splits
        assert found == {KEYS[i]: data[KEYS[i]] for i in (range(7) if rows is None else rows)}


def test_an_image_that_is_not_the_manifests_is_refused_with_both_hashes(tmp_path):
    manifest = write_manifest(tmp_path, {Split.TRAIN: {"a": ["one"], "b": ["two"]}})
    kept = dict(manifest.images("read"))["a"]
    other = [shards.record("a", "png", kept), shards.record("b", "png", png(picture(99)))]
    shards.write(tmp_path / "train", other, per_shard=100)
    assert list(manifest.images("read", [0])) == [("a", kept)]
    for rows in ([1], None):
        with pytest.raises(ContractError) as caught:
            list(manifest.images("read", rows))
        for part in ("000000.tar", "image of b", manifest.rows[1]["image_sha256"], "dvc repro -sf curate"):
            assert part in str(caught.value)


@pytest.mark.parametrize("there", [["a"], ["a", "b", "x"], ["b", "a"]])
def test_a_shard_with_other_samples_is_refused(tmp_path, there):
    manifest = write_manifest(tmp_path, {Split.TRAIN: {"a": ["one"], "b": ["two"]}})
    kept = dict(manifest.images("read"))
    shards.write(tmp_path / "train", [shards.record(k, "png", kept.get(k, b"")) for k in there], per_shard=100)
    with pytest.raises(ContractError, match="where the manifest has"):
        list(manifest.images("read", [0, 1]))


def test_an_image_has_the_key_of_its_bytes(manifest, data):
    assert keys.unpack(manifest.image_keys) == [keys.from_bytes(data[key]) for key in KEYS]
