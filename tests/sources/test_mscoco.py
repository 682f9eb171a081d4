import json

import pytest
from tiny_corpora import coco, png, write

from pipeline.schema import Reason
from pipeline.sources import Rejected, Sample, SourceError, read


def rows(folder):
    found = list(read("mscoco", folder))
    return {r.key: r for r in found if isinstance(r, Sample)}, [r for r in found if isinstance(r, Rejected)]


def annotations(folder, content, name="train2017"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    write(folder / "annotations" / f"captions_{name}.json", data)
    return folder


def test_an_image_has_its_captions_in_order_with_their_places(tmp_path):
    samples, rejected = rows(coco(tmp_path, {42: ["a dog", "a hound"], 7: ["a cat"]}))
    assert list(samples) == ["mscoco-000000000042", "mscoco-000000000007"]
    dog = samples["mscoco-000000000042"]
    assert dog.path.read_bytes() == png(42)
    assert [(c.text, c.place) for c in dog.captions] == [
        ("a dog", "captions_train2017.json#1"),
        ("a hound", "captions_train2017.json#2"),
    ]
    assert rejected == []


def test_licence_and_url_are_kept(tmp_path):
    content = {
        "licenses": [{"id": 4, "name": "Attribution License"}],
        "images": [
            {"id": 1, "file_name": "1.jpg", "license": 4, "flickr_url": "http://f/1", "coco_url": "http://c/1"},
            {"id": 2, "file_name": "2.jpg", "coco_url": "http://c/2"},
        ],
        "annotations": [],
    }
    samples, _ = rows(annotations(tmp_path, content))
    assert [(s.licence, s.url) for s in samples.values()] == [("Attribution License", "http://f/1"), ("", "http://c/2")]


def test_an_image_that_was_not_downloaded_has_no_path(tmp_path):
    samples, _ = rows(coco(tmp_path, {1: ["a dog"], 2: ["a cat"]}, missing=[2]))
    assert samples["mscoco-000000000001"].path is not None
    assert samples["mscoco-000000000002"].path is None


def test_captions_of_an_unknown_image_are_rejected(tmp_path):
    folder = coco(tmp_path, {1: ["a dog"]})
    path = folder / "annotations" / "captions_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"].append({"id": 99, "image_id": 5, "caption": "an orphan"})
    path.write_text(json.dumps(content))
    samples, (orphan,) = rows(folder)
    assert list(samples) == ["mscoco-000000000001"]
    assert (orphan.kind, orphan.reason, orphan.place) == (
        "caption",
        Reason.MALFORMED_ROW,
        "captions_train2017.json#99",
    )
    assert orphan.key == "mscoco-000000000005"


def test_an_image_id_that_was_already_read_is_rejected_with_its_captions(tmp_path):
    coco(tmp_path, {1: ["a dog"]}, name="train2014")
    samples, rejected = rows(coco(tmp_path, {1: ["a hound", "a pet"], 2: ["a cat"]}, name="val2014"))
    assert [c.text for c in samples["mscoco-000000000001"].captions] == ["a dog"]
    assert "mscoco-000000000002" in samples
    assert [(r.kind, r.reason) for r in rejected] == [
        ("image", Reason.DUPLICATE_IMAGE),
        ("caption", Reason.DUPLICATE_IMAGE),
        ("caption", Reason.DUPLICATE_IMAGE),
    ]


@pytest.mark.parametrize("name", ["train2014", "val2014", "train2017"])
def test_the_karpathy_split_is_by_id_whatever_the_folder_is_called(tmp_path, name):
    folder = coco(tmp_path, {1: ["a"], 2: ["b"], 3: ["c"], 4: ["d"]}, name=name)
    entries = [
        {"cocoid": 1, "filename": "COCO_val2014_000000000001.jpg", "split": "test"},
        {"cocoid": 2, "filename": "COCO_val2014_000000000002.jpg", "split": "val"},
        {"cocoid": 3, "filename": "COCO_val2014_000000000003.jpg", "split": "restval"},
        {"cocoid": 4, "filename": "COCO_train2014_000000000004.jpg", "split": "train"},
    ]
    write(folder / "dataset_coco.json", json.dumps({"images": entries}).encode())
    samples, _ = rows(folder)
    assert [s.evaluation for s in samples.values()] == ["test", "val", None, None]


def test_a_caption_with_half_a_surrogate_pair_is_rejected(tmp_path):
    folder = coco(tmp_path, {1: ["a dog", "a cat \ud83d"]})  # json writes it as \ud83d, as broken exports have it
    samples, rejected = rows(folder)
    assert [c.text for c in samples["mscoco-000000000001"].captions] == ["a dog"]
    assert [(r.reason, r.place) for r in rejected] == [(Reason.NOT_UTF8, "captions_train2017.json#2")]


def test_a_caption_that_is_null_is_not_the_word_none(tmp_path):
    samples, _ = rows(coco(tmp_path, {1: ["a dog", None]}))
    assert "None" not in [c.text for c in samples["mscoco-000000000001"].captions]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"images": [], "annot',
        b"\xff\xfe{}",
        b"null",
        b"[]",
        {"images": []},
        {"images": [{"id": 1}], "annotations": []},
        {"images": [{"id": "one", "file_name": "1.jpg"}], "annotations": []},
        {"images": [], "annotations": [{"id": 1, "caption": "a dog"}]},
        {"images": [], "annotations": ["a dog"]},
    ],
)
def test_a_corrupt_annotation_file_is_named(tmp_path, content):
    with pytest.raises(SourceError, match=r"captions_train2017\.json"):
        rows(annotations(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"images": null}',
        b'{"images": [{"split": "val"}]}',
        b'{"images": [{"cocoid": 1}]}',
    ],
)
def test_a_corrupt_split_file_is_named(tmp_path, content):
    folder = coco(tmp_path, {1: ["a dog"]})
    write(folder / "dataset_coco.json", content)
    with pytest.raises(SourceError, match=r"dataset_coco\.json"):
        rows(folder)


def test_a_folder_without_annotations_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"captions_\*\.json"):
        rows(tmp_path)


def test_annotations_without_their_image_folder_are_an_error(tmp_path):
    folder = coco(tmp_path, {})
    (folder / "train2017").rmdir()
    with pytest.raises(SourceError, match=r"captions_train2017\.json belongs to .*train2017"):
        rows(folder)
