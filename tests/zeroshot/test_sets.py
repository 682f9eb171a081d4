"""The project's own layout, and ImageFolder's."""

import numpy as np
import pytest
from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES
from tiny_corpora import encoded, png
from tiny_models import picture
from tiny_zeroshot import put

from pipeline.artifacts.schema import Split
from pipeline.errors import InputError
from pipeline.images.bounds import MOST_BYTES
from pipeline.zeroshot.sets import NoZeroshotData, find, read

# The project's own layout


def test_without_a_description_folders_are_the_classes(tmp_path):
    found = read(put(tmp_path, {"red_star": 2, "cat": 1}), Split.TEST)
    assert found.names == ["cat", "red star"]
    assert found.seen.tolist() == [True, True]
    assert [str(p.relative_to(tmp_path)) for p in found.paths] == [
        "test/cat/0.png", "test/red_star/0.png", "test/red_star/1.png",
    ]  # fmt: skip
    assert found.labels.tolist() == [0, 1, 1]
    assert [t.format("cat") for t in found.templates] == [t("cat") for t in SIMPLE_IMAGENET_TEMPLATES]
    assert len(found.templates) == 7


def test_a_description_gives_order_names_templates_and_what_was_seen(tmp_path):
    described = {
        "templates": ["a {}", "one {}"],
        "classes": [{"folder": "b", "name": "blue moon", "seen": False}, {"folder": "a", "name": "ant"}],
    }
    found = read(put(tmp_path, {"a": 1, "b": 2, "not described": 1}, described), Split.TEST)
    assert found.names == ["blue moon", "ant"]
    assert found.seen.tolist() == [False, True]
    assert found.templates == ["a {}", "one {}"]
    assert [p.parent.name for p in found.paths] == ["b", "b", "a"]
    assert found.labels.tolist() == [0, 0, 1]


def test_val_and_test_are_read_apart(tmp_path):
    put(tmp_path, {"cat": 2}, split="val")
    put(tmp_path, {"cat": 3}, split="test")
    assert len(read(tmp_path, Split.VAL).paths) == 2
    assert len(read(tmp_path, Split.TEST).paths) == 3


def test_a_missing_folder_says_what_was_expected(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"no folder .*test; expected images as .*<class>/<image> \(zeroshot"):
        read(tmp_path, Split.TEST)


def test_a_split_without_classes_is_refused(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(NoZeroshotData, match="has no class folders"):
        read(tmp_path, Split.TEST)


@pytest.mark.parametrize("described", [None, {"templates": ["a {}"], "classes": [{"folder": "b", "name": "b"}]}])
def test_a_class_without_pictures_is_named(tmp_path, described):
    with pytest.raises(NoZeroshotData, match=r"b holds no images"):
        read(put(tmp_path, {"a": 1, "b": 0}, described), Split.TEST)


def test_a_described_class_without_a_folder_is_named(tmp_path):
    described = {"templates": ["a {}"], "classes": [{"folder": "b", "name": "b"}]}
    with pytest.raises(NoZeroshotData, match=r"b holds no images"):
        read(put(tmp_path, {"a": 1}, described), Split.TEST)


@pytest.mark.parametrize(
    "described",
    [
        {"classes": [{"folder": "a", "name": "a"}]},
        {"templates": ["a {}"]},
        {"templates": ["a {}"], "classes": [{"folder": "a"}]},
        {"templates": ["a {}"], "classes": ["a"]},
        ["a"],
    ],
    ids=["no templates", "no classes", "no name", "a class is a word", "a list"],
)
def test_a_description_in_another_form_says_what_was_expected(tmp_path, described):
    with pytest.raises(NoZeroshotData, match=r"classes\.json: .*expected templates, and classes with folder and name"):
        read(put(tmp_path, {"a": 1}, described), Split.TEST)


@pytest.mark.parametrize(
    "templates", [[], ["a photo"], ["a {} and a {}"], ["a {", "{name}"], "a {}", [3], ["a {}", None], ["a {:d}"]]
)
def test_templates_that_cannot_name_a_class_are_refused(tmp_path, templates):
    described = {"templates": templates, "classes": [{"folder": "a", "name": "a"}]}
    with pytest.raises(NoZeroshotData, match="templates"):
        read(put(tmp_path, {"a": 1}, described), Split.TEST)


def test_a_description_that_is_not_json_is_refused(tmp_path):
    put(tmp_path, {"a": 1})
    (tmp_path / "classes.json").write_text("{")
    with pytest.raises(InputError, match=r"classes\.json is not valid JSON"):
        read(tmp_path, Split.TEST)


def test_the_own_layout_is_found_too(tmp_path):
    put(tmp_path, {"cat": 2}, split="val")
    put(tmp_path, {"cat": 1, "dog": 1}, split="test")
    assert find(tmp_path, Split.VAL).names == ["cat"]
    assert [p.relative_to(tmp_path).as_posix() for p in find(tmp_path, Split.TEST).paths] == [
        "test/cat/0.png", "test/dog/0.png",
    ]  # fmt: skip


def test_folders_are_read_as_torchvision_reads_them(tmp_path):
    for name in ("cat/a.JPG", "cat/nested/b.jpeg", "cat/.hidden.png", "cat/.cache/c.png", "cat/readme.txt", "dog/x.png",
                 ".ipynb_checkpoints/y.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    found = find(tmp_path, Split.TEST)
    assert found.names == ["cat", "dog"]
    assert [p.relative_to(tmp_path).as_posix() for p in found.paths] == ["cat/a.JPG", "cat/nested/b.jpeg", "dog/x.png"]
    assert found.labels.tolist() == [0, 0, 1]


def test_a_class_may_be_called_test(tmp_path):
    put(tmp_path, {"cat": 1, "test": 2}, split="")
    found = find(tmp_path, Split.TEST)
    assert (found.names, found.labels.tolist()) == (["cat", "test"], [0, 1, 1])


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc"])
def test_a_class_lies_below_its_folder(tmp_path, folder):
    described = {"templates": ["a {}"], "classes": [{"folder": folder, "name": "cat"}]}
    with pytest.raises(NoZeroshotData, match="expected one below"):
        find(put(tmp_path, {"cat": 1}, described), Split.TEST)


@pytest.mark.parametrize("wrong", [{"folder": 5}, {"folder": None}, {"name": None}, {"name": " "}])
def test_a_class_whose_names_are_no_texts_is_named(tmp_path, wrong):
    described = {"templates": ["a {}"], "classes": [{"folder": "cat", "name": "cat", **wrong}]}
    with pytest.raises(NoZeroshotData, match="expected texts"):
        find(put(tmp_path, {"cat": 1}, described), Split.TEST)


@pytest.mark.parametrize("seen", ["false", 0, None])
def test_seen_is_true_or_false(tmp_path, seen):
    described = {"templates": ["a {}"], "classes": [{"folder": "cat", "name": "cat", "seen": seen}]}
    with pytest.raises(NoZeroshotData, match=r"class 'cat' has seen .*; expected true or false"):
        find(put(tmp_path, {"cat": 1}, described), Split.TEST)


@pytest.mark.parametrize("again", ["cat", "./cat", "cat/"])
def test_a_folder_is_one_class(tmp_path, again):
    classes = [{"folder": "cat", "name": "cat"}, {"folder": again, "name": "tom"}]
    described = {"templates": ["a {}"], "classes": classes}
    with pytest.raises(NoZeroshotData, match="folder 'cat' stands there twice"):
        find(put(tmp_path, {"cat": 1}, described), Split.TEST)


def test_another_split_than_is_there_is_no_image_folder(tmp_path):
    with pytest.raises(NoZeroshotData, match="has no test split with class folders; it has val"):
        find(put(tmp_path, {"cat": 1, "dog": 1}, split="val"), Split.TEST)


# ImageFolder


@pytest.mark.parametrize("split", [Split.VAL, Split.TEST])
def test_an_image_folder_is_one_split_whichever_is_asked(tmp_path, split):
    found = find(put(tmp_path, {"red_star": 2, "cat": 1}, split=""), split)
    assert found.names == ["cat", "red star"]
    assert found.seen.tolist() == [True, True]
    assert [p.relative_to(tmp_path).as_posix() for p in found.paths] == [
        "cat/0.png", "red_star/0.png", "red_star/1.png",
    ]  # fmt: skip
    assert (found.labels.tolist(), found.labels.dtype) == ([0, 1, 1], np.int64)
    assert [t.format("cat") for t in found.templates] == [t("cat") for t in SIMPLE_IMAGENET_TEMPLATES]


def test_an_image_folder_may_be_described(tmp_path):
    described = {"templates": ["a {}"], "classes": [{"folder": "n2", "name": "dog"}, {"folder": "n1", "name": "cat"}]}
    found = find(put(tmp_path, {"n1": 1, "n2": 2}, described, split=""), Split.TEST)
    assert (found.names, found.templates, found.labels.tolist()) == (["dog", "cat"], ["a {}"], [0, 0, 1])


def test_no_folder_says_what_was_expected(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"no folder .*nowhere; expected images as .*<class>/<image>"):
        find(tmp_path / "nowhere", Split.TEST)


def test_an_empty_folder_has_no_classes(tmp_path):
    with pytest.raises(NoZeroshotData, match="has no class folders"):
        find(tmp_path, Split.TEST)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """val/ with 1,000 synsets, created in another order than that of their names, one tiny file each."""
    folder = tmp_path_factory.mktemp("imagenet")
    for number in np.random.default_rng(0).permutation(1000):
        own = folder / "val" / f"n{1440764 + 17 * number:08d}"
        own.mkdir(parents=True)
        (own / "0.JPEG").write_bytes(b"%d" % number)
    return folder


@pytest.mark.parametrize("given", [".", "val"], ids=["imagenet", "imagenet/val"])
def test_a_thousand_synsets_are_imagenet(imagenet, given):
    found = find(imagenet / given, Split.VAL)
    assert found.names == list(IMAGENET_CLASSNAMES)
    assert found.names[:3] == ["tench", "goldfish", "great white shark"]
    assert len(found.templates) == 80
    assert [t.format("cat") for t in found.templates] == [t("cat") for t in OPENAI_IMAGENET_TEMPLATES]
    assert found.labels.tolist() == list(range(1000))
    assert [int(path.read_bytes()) for path in found.paths] == list(range(1000)), "in the order of the synsets"
    assert found.seen.all()


def test_999_synsets_are_not_imagenet(imagenet, tmp_path):
    for path in sorted((imagenet / "val").iterdir())[1:]:
        (tmp_path / path.name).symlink_to(path)
    found = find(tmp_path, Split.TEST)
    assert (len(found.names), found.names[0], len(found.templates)) == (999, "n01440781", 7)


def test_a_thousand_folders_that_are_no_synsets_are_not_imagenet(imagenet, tmp_path):
    for path in sorted((imagenet / "val").iterdir())[1:]:
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "other").symlink_to(imagenet / "val/n01440764")
    found = find(tmp_path, Split.TEST)
    assert (len(found.names), found.names[-1], len(found.templates)) == (1000, "other", 7)


@pytest.mark.parametrize("form", ["gif", "avif", "jfif", "GIF"])
def test_whatever_is_decoded_elsewhere_is_a_picture_here(tmp_path, form):
    put(tmp_path, {"cat": 1}, split="")
    data = encoded(picture(3), {"jfif": "JPEG"}.get(form, form.upper()))
    (tmp_path / f"cat/1.{form}").write_bytes(data)
    assert [path.read_bytes() for path in find(tmp_path, Split.TEST).paths][1:] == [data]


def test_what_is_not_named_as_a_picture_is_left_out_with_a_word(tmp_path, capsys):
    put(tmp_path, {"cat": 1, "dog": 1}, split="")
    for name in ("cat/a.heic", "dog/notes.txt", "dog/.hidden"):
        (tmp_path / name).write_bytes(b"")
    assert len(find(tmp_path, Split.TEST).paths) == 2
    assert "2 files are not named as images and left out, such as a.heic" in capsys.readouterr().err


def test_a_class_of_other_files_names_one(tmp_path):
    put(tmp_path, {"cat": 0}, split="")
    (tmp_path / "cat/a.heic").write_bytes(b"")
    with pytest.raises(NoZeroshotData, match=r"cat holds no images, such as a\.heic"):
        find(tmp_path, Split.TEST)


def test_a_picture_larger_than_any_is_named_and_not_read(tmp_path):
    put(tmp_path, {"cat": 1}, split="")
    with (tmp_path / "cat/huge.jpg").open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    with pytest.raises(NoZeroshotData, match=r"huge\.jpg has 536,870,913 bytes, at most 536,870,912"):
        find(tmp_path, Split.TEST)


def test_every_name_that_torchvision_takes_for_an_image_is_one():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    from pipeline.zeroshot import sets

    assert set(IMG_EXTENSIONS) <= sets._NAMES
