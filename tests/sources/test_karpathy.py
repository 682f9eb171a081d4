import json

import pytest

from pipeline.artifacts.schema import Reason
from pipeline.sources import Caption, Image, Rejected, SourceError, karpathy

IMAGES = [
    {"name": "a", "split": "test", "sentences": [{"raw": "a dog", "sentid": 4}, {"raw": None, "sentid": 5}, "a cat"]},
    {"name": "b", "split": "val"},
    {"name": "c", "split": "restval", "sentences": []},
    {"name": "d", "split": "train"},
    {"split": "train"},
]


def written(folder, content):
    path = folder / "split.json"
    path.write_text(json.dumps(content))
    return path


def name(image):
    if "name" not in image:
        raise ValueError("no name")
    return image["name"]


def test_val_and_test_are_for_evaluation(tmp_path):
    assert karpathy.read(written(tmp_path, {"images": IMAGES}), name) == {"a": "test", "b": "val"}


def test_images_are_counted_by_split(tmp_path):
    assert karpathy.counts(written(tmp_path, {"images": IMAGES})) == {"test": 1, "val": 1, "restval": 1, "train": 2}


def test_no_file_is_no_split(tmp_path):
    assert karpathy.read(tmp_path / "split.json", name) == {}
    assert karpathy.counts(tmp_path / "split.json") == {}


@pytest.mark.parametrize("image", ["a", None, {}, {"name": "a"}, {"name": "a", "split": None}])
def test_an_image_without_a_split_is_an_error(tmp_path, image):
    path = written(tmp_path, {"images": [IMAGES[0], image]})
    for read in (karpathy.counts, lambda path: karpathy.read(path, name)):
        with pytest.raises(SourceError, match=r"split\.json: images\[1\] has no split"):
            read(path)


def test_an_evaluation_image_without_an_id_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"split\.json: images\[0\]: no name"):
        karpathy.read(written(tmp_path, {"images": [{"split": "test"}]}), name)


def test_its_sentences_are_captions(tmp_path):
    found = list(karpathy.rows(written(tmp_path, {"images": IMAGES}), lambda image: Image(name(image), None)))
    assert [(r.id, r.text, r.place) for r in found if isinstance(r, Caption)] == [("a", "a dog", "split.json#4")]
    assert [r.id for r in found if isinstance(r, Image)] == ["a", "b", "c", "d"]
    assert [(r.kind, r.id, r.place, r.reason) for r in found if isinstance(r, Rejected)] == [
        ("caption", "a", "split.json#5", Reason.MALFORMED_ROW),
        ("caption", "a", "split.json#images[0].sentences[2]", Reason.MALFORMED_ROW),
        ("caption", "b", "split.json#images[1]", Reason.MALFORMED_ROW),
        ("caption", "d", "split.json#images[3]", Reason.MALFORMED_ROW),
        ("image", "", "split.json#images[4]", Reason.MALFORMED_ROW),
        ("caption", "", "split.json#images[4]", Reason.MALFORMED_ROW),
    ]


@pytest.mark.parametrize("split", ["Test", "dev", "", "\ud83d", "train | <script>", 1, ["test"]])
def test_a_split_that_is_none_of_karpathys_is_an_error(tmp_path, split):
    path = written(tmp_path, {"images": [IMAGES[0], {"name": "a", "split": split}]})
    with pytest.raises(SourceError, match=r"images\[1\] has split .* one of train, restval, val, test"):
        karpathy.counts(path)
