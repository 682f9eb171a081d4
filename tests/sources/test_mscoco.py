import json

import pytest
from reading import places, read, rows, texts
from tiny_corpora import coco, png, write

from pipeline.artifacts.schema import Reason
from pipeline.sources import Image, SourceError


def annotations(folder, content, name="train2017"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    write(folder / "annotations" / f"captions_{name}.json", data)
    return folder


def split_file(folder, *entries):
    write(folder / "dataset_coco.json", json.dumps({"images": entries}).encode())
    return folder


def entry(number, split="train", year_folder="val2014", **fields):
    """An image of dataset_coco.json, with one caption."""
    return {
        "cocoid": number,
        "filepath": year_folder,
        "filename": f"COCO_{year_folder}_{number:012d}.jpg",
        "split": split,
        "sentences": [{"raw": f"caption of {number}", "sentid": 100 + number, "tokens": ["caption"]}],
        **fields,
    }


def test_an_image_has_its_captions_in_order_with_their_places(tmp_path):
    images, captions, rejected = rows("mscoco", coco(tmp_path, {42: ["a dog", "a hound"], 7: ["a cat"]}))
    assert list(images) == ["000000000042", "000000000007"]
    assert images["000000000042"].file.read() == png(42)
    assert [(c.id, c.text, c.place) for c in captions] == [
        ("000000000042", "a dog", "captions_train2017.json#1"),
        ("000000000042", "a hound", "captions_train2017.json#2"),
        ("000000000007", "a cat", "captions_train2017.json#3"),
    ]
    assert rejected == []


@pytest.mark.parametrize("order", [("licenses", "images", "annotations"), ("annotations", "images", "licenses")])
def test_licence_and_url_are_kept_in_whatever_order_the_file_has(tmp_path, order):
    content = {
        "licenses": [{"id": 4, "name": "Attribution License", "url": "http://l/4"}],
        "images": [
            {"id": 1, "file_name": "1.jpg", "license": 4, "flickr_url": "http://f/1", "coco_url": "http://c/1"},
            {"id": 2, "file_name": "2.jpg", "license": 5, "coco_url": "http://c/2"},
            {"id": 3, "file_name": "3.jpg", "license": [4], "coco_url": 3},
        ],
        "annotations": [{"id": 8, "image_id": 2, "caption": "a dog"}],
    }
    images, captions, rejected = rows("mscoco", annotations(tmp_path, {name: content[name] for name in order}))
    assert [(i.licence, i.url) for i in images.values()] == [
        ("Attribution License", "http://f/1"),
        ("", "http://c/2"),
        ("", ""),
    ]
    assert (texts(captions), rejected) == ([("000000000002", "a dog")], [])


def test_an_image_that_was_not_downloaded_has_no_file(tmp_path):
    images, _, _ = rows("mscoco", coco(tmp_path, {1: ["a dog"], 2: ["a cat"]}, missing=[2]))
    assert images["000000000001"].file is not None
    assert images["000000000002"].file is None
    assert images["000000000002"].note == "there is no train2017/000000000002.jpg"


def test_2014_and_2017_are_read_beside_each_other(tmp_path):
    coco(tmp_path, {1: ["a dog"]}, name="train2017")
    names = {"images": [{"id": 1, "file_name": "COCO_val2014_000000000001.jpg"}], "annotations": []}
    annotations(tmp_path, names, name="val2014")
    picture = write(tmp_path / "val2014" / "COCO_val2014_000000000001.jpg", png(9))
    found = [r for r in read("mscoco", tmp_path) if isinstance(r, Image)]
    assert [(i.id, i.file.path) for i in found] == [
        ("000000000001", str(tmp_path / "train2017" / "000000000001.jpg")),
        ("000000000001", str(picture)),
    ]


def test_annotations_without_their_folder_have_no_files_beside_some_that_do(tmp_path):
    coco(tmp_path, {1: ["a dog"]}, name="train2017")
    (coco(tmp_path, {2: ["a cat"]}, name="val2017", missing=[2]) / "val2017").rmdir()
    images, captions, _ = rows("mscoco", tmp_path)
    assert images["000000000001"].file is not None
    assert (images["000000000002"].file, images["000000000002"].note) == (None, "there is no folder val2017")
    assert len(captions) == 2


def test_annotations_without_any_image_folder_are_an_error_that_names_what_was_expected(tmp_path):
    for name in ("train2017", "val2017"):
        (coco(tmp_path, {}, name=name) / name).rmdir()
    with pytest.raises(SourceError, match=r"captions_train2017\.json and .*expected train2017 or val2017"):
        rows("mscoco", tmp_path)


@pytest.mark.parametrize("name", ["train2014", "val2014", "train2017"])
def test_the_karpathy_split_is_by_id_whatever_the_folder_is_called(tmp_path, name):
    folder = coco(tmp_path, {1: ["a"], 2: ["b"], 3: ["c"], 4: ["d"]}, name=name)
    split_file(folder, entry(1, "test"), entry(2, "val"), entry(3, "restval"), entry(4, "train"))
    images, captions, _ = rows("mscoco", folder)
    assert [i.evaluation for i in images.values()] == ["test", "val", None, None]
    assert [text for _, text in texts(captions)] == ["a", "b", "c", "d"]


def test_without_annotations_the_captions_are_those_of_the_split_file(tmp_path):
    write(tmp_path / "val2014" / "COCO_val2014_000000000005.jpg", png(5))
    split_file(tmp_path, entry(5, "test"), entry(6), entry(7, year_folder="train2014"))
    images, captions, rejected = rows("mscoco", tmp_path)
    assert images["000000000005"].file.read() == png(5)
    assert [(i.evaluation, i.file is None, i.note) for i in images.values()] == [
        ("test", False, ""),
        (None, True, "there is no val2014/COCO_val2014_000000000006.jpg"),
        (None, True, "there is no folder train2014"),
    ]
    assert [(c.id, c.text, c.place) for c in captions][:1] == [
        ("000000000005", "caption of 5", "dataset_coco.json#105")
    ]
    assert (len(captions), rejected) == (3, [])


def test_the_split_file_alone_is_an_error_that_names_its_folders(tmp_path):
    with pytest.raises(SourceError, match="expected train2014 or val2014"):
        rows("mscoco", split_file(tmp_path, entry(5), entry(6, year_folder="train2014")))


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "\0", "x" * 300, "\ud83d"])
def test_a_split_file_reaches_no_folder_but_those_of_the_corpus(tmp_path, name):
    write(tmp_path / "secret.jpg", b"")
    write(tmp_path / "corpus" / "a" / "b" / "secret.jpg", b"")
    write(tmp_path / "corpus" / "secret.jpg", b"")
    (tmp_path / "corpus" / "val2014").mkdir()
    folder = split_file(tmp_path / "corpus", entry(1), entry(2, year_folder=name, filename="secret.jpg"))
    images, _, _ = rows("mscoco", folder)
    assert images["000000000002"].file is None


@pytest.mark.parametrize(
    "image",
    [
        "an image", None, {}, {"id": "1", "file_name": "1.jpg"}, {"id": 1.0, "file_name": "1.jpg"},
        {"id": True, "file_name": "1.jpg"}, {"id": -1, "file_name": "1.jpg"}, {"id": 10**12, "file_name": "1.jpg"},
        {"id": 1}, {"id": 1, "file_name": None}, {"file_name": "1.jpg"},
    ],
)  # fmt: skip
def test_an_image_that_is_none_is_rejected_by_its_position(tmp_path, image):
    content = {"images": [{"id": 5, "file_name": "5.jpg"}, image], "annotations": []}
    images, _, (rejected,) = rows("mscoco", annotations(tmp_path, content))
    assert list(images) == ["000000000005"]
    assert (rejected.kind, rejected.reason) == ("image", Reason.MALFORMED_ROW)
    assert rejected.place == "captions_train2017.json#images[1]"


@pytest.mark.parametrize(
    ("annotation", "identity", "place"),
    [
        ("a dog", "", "annotations[1]"),
        ({"id": 9, "caption": "a dog"}, "", "9"),
        ({"id": 9, "image_id": "5", "caption": "a dog"}, "", "9"),
        ({"id": 9, "image_id": 5, "caption": None}, "000000000005", "9"),
        ({"image_id": 5, "caption": ["a dog"]}, "000000000005", "annotations[1]"),
    ],
)
def test_an_annotation_that_is_no_caption_is_rejected(tmp_path, annotation, identity, place):
    good = {"id": 1, "image_id": 5, "caption": "a hound"}
    content = {"images": [{"id": 5, "file_name": "5.jpg"}], "annotations": [good, annotation]}
    _, captions, (rejected,) = rows("mscoco", annotations(tmp_path, content))
    assert texts(captions) == [("000000000005", "a hound")]
    assert (rejected.kind, rejected.id, rejected.reason) == ("caption", identity, Reason.MALFORMED_ROW)
    assert rejected.place == f"captions_train2017.json#{place}"


def test_a_caption_keeps_half_a_surrogate_pair_for_curation_to_see(tmp_path):
    folder = coco(tmp_path, {1: ["a dog", "a cat \ud83d"]})  # json writes it as \ud83d, as broken exports have it
    _, captions, _ = rows("mscoco", folder)
    assert [c.text for c in captions] == ["a dog", "a cat \ud83d"]


def test_a_caption_of_an_unknown_image_is_left_to_curation(tmp_path):
    content = {"images": [], "annotations": [{"id": 99, "image_id": 5, "caption": "an orphan"}]}
    images, captions, rejected = rows("mscoco", annotations(tmp_path, content))
    assert (images, texts(captions), rejected) == ({}, [("000000000005", "an orphan")], [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"images": [], "annot',
        b'{"images": [], "annotations": [{"id": 1, "image_id": 1, "caption": "a d',
        b"\xff\xfe{}",
        b"null",
        b"[]",
        {"images": []},
        {"annotations": []},
        {"images": None, "annotations": []},
        {"licenses": [{"id": 1}], "images": [], "annotations": []},
    ],
)
def test_a_corrupt_annotation_file_is_named(tmp_path, content):
    with pytest.raises(SourceError, match=r"captions_train2017\.json: .*expected a COCO captions file"):
        rows("mscoco", annotations(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"images": null}',
        b'{"images": [{"split": "val"}]}',
        b'{"images": [{"split": "test", "cocoid": "12"}]}',
        b'{"images": [{"cocoid": 1}]}',
        b'{"images": ["train"]}',
    ],
)
def test_a_corrupt_split_file_is_named(tmp_path, content):
    folder = coco(tmp_path, {1: ["a dog"]})
    write(folder / "dataset_coco.json", content)
    with pytest.raises(SourceError, match=r"dataset_coco\.json"):
        rows("mscoco", folder)


def test_an_entry_of_the_split_file_that_cannot_be_read_is_rejected(tmp_path):
    (tmp_path / "val2014").mkdir()
    folder = split_file(tmp_path, entry(1), entry(2, filename=None), entry(3, cocoid="x"), entry(4, sentences=None))
    images, captions, rejected = rows("mscoco", folder)
    assert (list(images), len(captions)) == (["000000000001", "000000000004"], 1)
    assert places(rejected) == [
        ("image", "dataset_coco.json#images[1]"),
        ("caption", "dataset_coco.json#102"),
        ("image", "dataset_coco.json#images[2]"),
        ("caption", "dataset_coco.json#103"),
        ("caption", "dataset_coco.json#images[3]"),
    ]


def test_a_folder_without_annotations_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"captions_\*\.json nor dataset_coco\.json"):
        rows("mscoco", tmp_path)
