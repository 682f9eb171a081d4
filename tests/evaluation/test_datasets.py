import json

import numpy as np
import pytest
import tiny_manifest
from tiny_corpora import png, write
from tiny_manifest import write_manifest
from tiny_models import picture

from pipeline.artifacts.schema import Split
from pipeline.errors import InputError
from pipeline.evaluation.datasets import NoRetrievalData, read

COCO, FLICKR = "dataset_coco.json", "dataset_flickr30k.json"


def contents(found):
    """The files of all images."""
    return [shown.read_bytes() for shown in found.image_files]


def entry(number, *captions, split="test", **fields):
    """An image of dataset_flickr30k.json."""
    sentences = [{"raw": text, "sentid": number * 10 + i, "tokens": text.split()} for i, text in enumerate(captions)]
    return {"filename": f"{number}.jpg", "imgid": number, "split": split, "sentences": sentences, **fields}


def coco_entry(number, *captions, year_folder="val2014", **fields):
    name = f"COCO_{year_folder}_{number:012d}.jpg"
    return entry(number, *captions, **{"filename": name, "filepath": year_folder, "cocoid": number, **fields})


def flickr(folder, *entries, images="flickr30k_images", missing=()):
    """The split file with images beside it; that of image n is png(n)."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    for one in entries:
        if one["imgid"] not in missing:
            write(folder / images / one["filename"], png(one["imgid"]))
    write(folder / FLICKR, json.dumps({"images": entries, "dataset": "flickr30k"}).encode())
    return folder


def coco(folder, *entries):
    for one in entries:
        write(folder / one["filepath"] / one["filename"], png(one["cocoid"]))
    write(folder / COCO, json.dumps({"images": entries, "dataset": "coco"}).encode())
    return folder


THREE = (entry(7, "a red star", "a star"), entry(3, "a cat"), entry(5, "a dog", "two dogs", "a dog"))

# Curated shards

SAMPLES = {"mscoco-1": ["a red star", "a star"], "cc-2": ["a blue moon"], "flickr30k-3": ["a cat", "a", "two cats"]}


def test_a_split_of_curated_shards(tmp_path):
    write_manifest(tmp_path, {Split.TRAIN: {"cc-0": ["a sun"]}, Split.VAL: {"cc-1": ["a sea"]}, Split.TEST: SAMPLES})
    found = read(tmp_path)
    assert (found.keys, found.texts) == (list(SAMPLES), list(SAMPLES.values()))
    assert found.captions == ["a red star", "a star", "a blue moon", "a cat", "a", "two cats"]
    assert (found.owner.tolist(), found.owner.dtype) == ([0, 0, 1, 2, 2, 2], np.int64)
    assert contents(found) == [tiny_manifest.png(picture(i)) for i in (2, 3, 4)]
    assert read(tmp_path, Split.VAL).keys == ["cc-1"]


def test_a_curated_split_without_pictures_is_named(tmp_path):
    write_manifest(tmp_path, {Split.TEST: SAMPLES})
    with pytest.raises(NoRetrievalData, match="has no val images"):
        read(tmp_path, Split.VAL)


# Karpathy's split files


@pytest.mark.parametrize("given", [".", FLICKR], ids=["folder", "file"])
def test_flickr30k_in_the_order_of_the_file(tmp_path, given):
    found = read(flickr(tmp_path, *THREE) / given)
    assert found.keys == ["7", "3", "5"]
    assert found.texts == [["a red star", "a star"], ["a cat"], ["a dog", "two dogs", "a dog"]]
    assert found.captions == ["a red star", "a star", "a cat", "a dog", "two dogs", "a dog"]
    assert (found.owner.tolist(), found.owner.dtype) == ([0, 0, 1, 2, 2, 2], np.int64)
    assert contents(found) == [png(7), png(3), png(5)]


@pytest.mark.parametrize("given", [".", COCO], ids=["folder", "file"])
def test_coco_in_the_folders_that_its_entries_name(tmp_path, given):
    entries = (coco_entry(42, "a dog", "a hound"), coco_entry(7, "a cat", year_folder="train2014"))
    found = read(coco(tmp_path, *entries) / given)
    assert found.keys == ["COCO_val2014_000000000042", "COCO_train2014_000000000007"]
    assert (found.captions, found.owner.tolist()) == (["a dog", "a hound", "a cat"], [0, 0, 1])
    assert contents(found) == [png(42), png(7)]


def test_an_equal_file_name_in_another_folder_of_coco_is_another_picture(tmp_path):
    write(tmp_path / "train2014/1.jpg", png(9))
    coco(tmp_path, coco_entry(1, "a", filename="1.jpg"))
    assert contents(read(tmp_path)) == [png(1)]


def test_only_the_split_that_is_asked(tmp_path):
    splits = {1: "train", 2: "test", 3: "restval", 4: "val", 5: "test", 6: "val"}
    flickr(tmp_path, *(entry(i, f"caption of {i}", split=split) for i, split in splits.items()))
    assert (read(tmp_path).keys, read(tmp_path).captions) == (["2", "5"], ["caption of 2", "caption of 5"])
    assert read(tmp_path, Split.VAL).keys == ["4", "6"]
    assert contents(read(tmp_path, Split.VAL)) == [png(4), png(6)]


def test_every_caption_has_its_picture_however_many_there_are(tmp_path):
    counts = [5, 1, 7, 6, 5, 2]
    entries = [entry(n, *(f"{n}.{i}" for i in range(count))) for n, count in enumerate(counts)]
    found = read(flickr(tmp_path, *entries))
    assert len(found.captions) == len(found.owner) == 26
    for text, owner in zip(found.captions, found.owner, strict=True):
        assert found.keys[owner] == text.partition(".")[0]
    assert np.bincount(found.owner).tolist() == counts


def test_captions_are_the_raw_ones(tmp_path):
    raw = "  A dog\t— “running” , fast .\u00e9\n"
    assert read(flickr(tmp_path, entry(1, raw))).captions == [raw]


@pytest.mark.parametrize(
    "images", ["flickr30k_images", "flickr30k-images", "images", "flickr30k_images/flickr30k_images"]
)
def test_flickr30k_comes_in_one_of_several_folders(tmp_path, images):
    assert contents(read(flickr(tmp_path, *THREE, images=images))) == [png(7), png(3), png(5)]


def test_flickr30k_may_lie_in_two_folders(tmp_path):
    flickr(tmp_path, *THREE, images="images", missing=[3])
    write(tmp_path / "flickr30k-images/3.jpg", png(3))
    assert contents(read(tmp_path)) == [png(7), png(3), png(5)]


@pytest.mark.parametrize(("missing", "example"), [([3], "3"), ([5, 7], "7"), ([3, 5, 7], "7")])
def test_missing_pictures_are_counted_with_an_example(tmp_path, missing, example):
    flickr(tmp_path, *THREE, entry(8, "not asked", split="val"), missing=[*missing, 8])
    expected = rf"{len(missing)} of 3 test images of .*{FLICKR} are not there, such as .*/{example}\.jpg"
    with pytest.raises(NoRetrievalData, match=expected):
        read(tmp_path)


def test_a_missing_picture_of_coco_is_named_with_its_folder(tmp_path):
    folder = coco(tmp_path, coco_entry(1, "a"), coco_entry(2, "b"))
    (folder / "val2014/COCO_val2014_000000000002.jpg").unlink()
    with pytest.raises(NoRetrievalData, match=r"1 of 2 test .* such as .*/val2014/COCO_val2014_000000000002\.jpg"):
        read(folder)


def test_a_picture_without_a_caption_is_named(tmp_path):
    with pytest.raises(NoRetrievalData, match=rf"{FLICKR} has no caption of 3\.jpg"):
        read(flickr(tmp_path, entry(7, "a star"), entry(3), entry(5, "a dog")))


def test_a_picture_of_another_split_needs_no_caption(tmp_path):
    assert read(flickr(tmp_path, entry(7, "a star"), entry(3, split="val"))).keys == ["7"]


@pytest.mark.parametrize("name", [COCO, FLICKR])
def test_a_split_file_without_that_split_is_named(tmp_path, name):
    write(tmp_path / name, json.dumps({"images": [coco_entry(1, "a", split="train")]}).encode())
    with pytest.raises(NoRetrievalData, match=f"{name} has no test images"):
        read(tmp_path)


@pytest.mark.parametrize("given", [".", "nowhere", "dataset_flickr8k.json", "dataset_coco.json/"])
def test_neither_layout_says_what_was_expected(tmp_path, given):
    write(tmp_path / "dataset_flickr8k.json", json.dumps({"images": [entry(1, "a")]}).encode())
    expected = rf"holds no manifest\.parquet, {COCO} or {FLICKR}; expected a folder with curated shards"
    with pytest.raises(NoRetrievalData, match=expected):
        read(tmp_path / given)


@pytest.mark.parametrize("name", [COCO, FLICKR])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"images": null}', b'{"images": [{"filename": "1.jpg"}]}', b"\xff\xfe{}"],
)
def test_a_damaged_split_file_is_named(tmp_path, name, content):
    write(tmp_path / name, content)
    with pytest.raises(InputError, match=name):
        read(tmp_path)


def test_half_a_split_file_is_named(tmp_path):
    path = flickr(tmp_path, *THREE) / FLICKR
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"{FLICKR}: found no valid JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"sentences": None}, {"sentences": ["a dog"]}, {"sentences": [{"tokens": ["a"]}]}, {"sentences": [None]},
        {"filename": "x" * 300},
    ],
    ids=["null", "a text", "no raw", "none", "a long name"],
)  # fmt: skip
def test_an_entry_in_another_form_is_an_error_that_names_the_file(tmp_path, fields):
    flickr(tmp_path, *THREE)
    write(tmp_path / FLICKR, json.dumps({"images": [*THREE, entry(3, "a cat", **fields)]}).encode())
    with pytest.raises(InputError, match=FLICKR):
        read(tmp_path)


@pytest.mark.parametrize("name", ["sentences", "filename", "filepath"])
def test_an_entry_that_lacks_a_field_is_an_error_that_names_the_file(tmp_path, name):
    coco(tmp_path, coco_entry(1, "a cat"))
    bare = {key: value for key, value in coco_entry(1, "a cat").items() if key != name}
    write(tmp_path / COCO, json.dumps({"images": [bare]}).encode())
    with pytest.raises(InputError, match=COCO):
        read(tmp_path)


@pytest.mark.parametrize("raw", [None, 3, ["a dog"]])
def test_what_is_no_text_becomes_no_caption(tmp_path, raw):
    with pytest.raises(InputError, match=FLICKR):
        read(flickr(tmp_path, entry(1, "a dog", sentences=[{"raw": raw, "sentid": 1}])))
