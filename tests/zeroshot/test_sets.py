import gzip
import io
import re
import tarfile

import numpy as np
import pytest
from clip_benchmark.datasets.builder import build_wds_dataset
from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES
from PIL import Image
from tiny_corpora import encoded, png
from tiny_models import COMPUTE, picture, tiny_clip
from tiny_zeroshot import put, put_webdataset

from pipeline.errors import InputError
from pipeline.schema import Split
from pipeline.zeroshot import classifier
from pipeline.zeroshot.sets import NoZeroshotData, find, read

SAMPLES = [{"png": png(3), "cls": 1}, {"png": png(4), "cls": 0}, {"png": png(5), "cls": 1}]

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
    with pytest.raises(NoZeroshotData, match=r"no folder .*test; expected pictures as .*<class>/<picture> \(zeroshot"):
        read(tmp_path, Split.TEST)


def test_a_split_without_classes_is_refused(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(NoZeroshotData, match="has no class folders"):
        read(tmp_path, Split.TEST)


@pytest.mark.parametrize("described", [None, {"templates": ["a {}"], "classes": [{"folder": "b", "name": "b"}]}])
def test_a_class_without_pictures_is_named(tmp_path, described):
    with pytest.raises(NoZeroshotData, match=r"b holds no pictures"):
        read(put(tmp_path, {"a": 1, "b": 0}, described), Split.TEST)


def test_a_described_class_without_a_folder_is_named(tmp_path):
    described = {"templates": ["a {}"], "classes": [{"folder": "b", "name": "b"}]}
    with pytest.raises(NoZeroshotData, match=r"b holds no pictures"):
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


def cut(content, where):
    """A tar of 30 samples, damaged at the header of the 21st."""
    at = content.index(b"s0000020.")
    return {
        "boundary": content[:at], "header": content[: at + 100], "zeros": content[:at] + bytes(len(content) - at - 512),
        "noise": content[:at] + b"\xff" * 512 + content[at + 512 :], "end": content.rstrip(b"\0") + bytes(512),
    }[where]  # fmt: skip


@pytest.mark.parametrize("where", ["boundary", "header", "noise", "end"])
def test_a_tar_that_is_not_whole_is_refused(tmp_path, where):
    put_webdataset(tmp_path, [{"png": png(1), "cls": i % 2} for i in range(30)])
    path = tmp_path / "test/0.tar"
    path.write_bytes(cut(path.read_bytes(), where))
    with pytest.raises(NoZeroshotData, match=r"0\.tar is no whole tar .*download it again"):
        find(tmp_path, Split.TEST)


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
    with pytest.raises(NoZeroshotData, match=r"no folder .*nowhere; expected pictures as .*<class>/<picture>"):
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


# WebDataset


def test_a_webdataset_has_names_templates_and_the_numbers_of_its_samples(tmp_path):
    found = find(put_webdataset(tmp_path, SAMPLES[:2], SAMPLES[2:]), Split.TEST)
    assert found.names == ["cat", "red star"]
    assert found.templates == ["a photo of a {}.", "many {}s"]
    assert (found.labels.tolist(), found.labels.dtype) == ([1, 0, 1], np.int64)
    assert found.seen.tolist() == [True, True]
    assert [str(p) for p in found.paths] == [
        f"{tmp_path}/test/0.tar/s0000000.png",
        f"{tmp_path}/test/0.tar/s0000001.png",
        f"{tmp_path}/test/1.tar/s0000002.png",
    ]


@pytest.mark.parametrize("form", ["jpg", "jpeg", "png", "webp"])
def test_members_have_the_bytes_that_were_written(tmp_path, form):
    files = [encoded(picture(i), {"jpg": "JPEG"}.get(form, form.upper())) for i in range(3)]
    samples = [{"cls": i % 2, form: data, "json": {"id": i}, "txt": "a cat"} for i, data in enumerate(files)]
    found = find(put_webdataset(tmp_path, samples), Split.TEST)
    assert [p.read_bytes() for p in found.paths] == files
    assert [p.read_bytes() for p in reversed(found.paths)] == files[::-1]


def test_long_keys_and_folders_within_the_tar(tmp_path):
    keys = ["cats/1", "c" * 150, "d" * 120 + "/" + "e" * 120]
    samples = [{"__key__": key, **sample} for key, sample in zip(keys, SAMPLES, strict=True)]
    found = find(put_webdataset(tmp_path, samples), Split.TEST)
    assert [p.name for p in found.paths] == [f"{key}.png" for key in keys]
    assert [p.read_bytes() for p in found.paths] == [png(3), png(4), png(5)]


def test_splits_of_a_webdataset_are_read_apart(tmp_path):
    put_webdataset(tmp_path, SAMPLES[:1], split="val")
    put_webdataset(tmp_path, SAMPLES[1:])
    assert find(tmp_path, Split.VAL).labels.tolist() == [1]
    assert find(tmp_path, Split.TEST).labels.tolist() == [0, 1]


def test_a_webdataset_is_read_as_clip_benchmark_reads_it(tmp_path):
    put_webdataset(tmp_path, SAMPLES[:2], SAMPLES[2:])
    found, theirs = find(tmp_path, Split.TEST), build_wds_dataset("tiny", np.asarray, "test", str(tmp_path))
    samples = list(theirs)
    assert found.labels.tolist() == [label for _, label in samples]
    clip = tiny_clip()
    to_pixels = clip.pixels()
    assert len(samples) == 3
    for row, (array, _) in zip(classifier.pixels(clip, found), samples, strict=True):
        assert np.array_equal(row, to_pixels(Image.fromarray(array)))
    assert found.names == theirs.classes
    assert classifier.prompts(found) == [t.format(c=name) for name in theirs.classes for t in theirs.templates]


def test_a_webdataset_is_embedded(tmp_path):
    clip = tiny_clip()
    found = classifier.embed(clip, find(put_webdataset(tmp_path / "tars", SAMPLES), Split.TEST), COMPUTE)
    for i, number in enumerate((3, 4, 5)):
        (tmp_path / "files" / str(i)).mkdir(parents=True)
        (tmp_path / "files" / str(i) / "0.png").write_bytes(png(number))
    assert np.array_equal(found, classifier.embed(clip, find(tmp_path / "files", Split.TEST), COMPUTE))


def test_a_member_that_cannot_be_read_is_named(tmp_path):
    folder = put_webdataset(tmp_path, [*SAMPLES, {"png": b"not a picture", "cls": 0}])
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/test/0.tar/s0000003.png is no picture")):
        classifier.embed(tiny_clip(), find(folder, Split.TEST), COMPUTE)


def test_a_number_without_a_name_is_named(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"0\.tar/s0000001\.png: class 2; .*classnames\.txt names 2"):
        find(put_webdataset(tmp_path, [SAMPLES[0], {"png": png(1), "cls": 2}]), Split.TEST)


@pytest.mark.parametrize("cls", [b"-1", b"cat", b"", b"1.0", b"\xff", "¹".encode()])
def test_a_cls_that_is_no_number_is_named(tmp_path, cls):
    with pytest.raises(NoZeroshotData, match=r"0\.tar/s0000000\.cls is .*expected a class's number"):
        find(put_webdataset(tmp_path, [{"png": png(1), "cls": cls}]), Split.TEST)


def test_two_pictures_of_one_sample_are_named(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"0\.tar: s0000000 has two pictures"):
        find(put_webdataset(tmp_path, [{"png": png(1), "jpg": b"another", "cls": 0}]), Split.TEST)


@pytest.mark.parametrize("sample", [{"png": png(1)}, {"cls": 0}, {"gif": b"GIF89a", "cls": 0}])
def test_half_a_sample_is_named(tmp_path, sample):
    with pytest.raises(NoZeroshotData, match=r"0\.tar: s0000001 has a picture or a cls alone"):
        find(put_webdataset(tmp_path, [SAMPLES[0], sample]), Split.TEST)


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_split_without_tars_says_what_was_expected(tmp_path, split):
    put_webdataset(tmp_path, split=split)
    with pytest.raises(NoZeroshotData, match=r"test holds no \*\.tar; expected CLIP_benchmark's layout"):
        find(tmp_path, Split.TEST)


@pytest.mark.parametrize("file", ["classnames.txt", "zeroshot_classification_templates.txt"])
@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b" \n\n", "is empty"), (b"caf\xe9 {c}\n", "cannot be read: .*utf-8")]
)
def test_a_text_that_is_empty_or_no_utf_8_is_named(tmp_path, file, content, reason):
    folder = put_webdataset(tmp_path, SAMPLES)
    (folder / file).write_bytes(content)
    with pytest.raises(NoZeroshotData, match=f"{file} {reason}"):
        find(folder, Split.TEST)


def test_templates_that_are_missing_are_named(tmp_path):
    folder = put_webdataset(tmp_path, SAMPLES)
    (folder / "zeroshot_classification_templates.txt").unlink()
    with pytest.raises(NoZeroshotData, match=r"zeroshot_classification_templates\.txt cannot be read"):
        find(folder, Split.TEST)


@pytest.mark.parametrize("line", [b"a photo", b"{c} and {c}", b"a {name}", b"a {c"])
def test_a_template_of_a_webdataset_that_cannot_name_a_class_is_refused(tmp_path, line):
    with pytest.raises(NoZeroshotData, match=r"zeroshot_classification_templates\.txt: templates are"):
        find(put_webdataset(tmp_path, SAMPLES, templates=b"a {c}\n" + line), Split.TEST)


def test_names_beyond_ascii_and_windows_ends_of_line(tmp_path):
    found = find(put_webdataset(tmp_path, SAMPLES, names="café\r\n  red star \r\n".encode()), Split.TEST)
    assert found.names == ["café", "red star"]


def test_an_empty_line_does_not_move_the_names_after_it(tmp_path):
    folder = put_webdataset(tmp_path, SAMPLES, names=b"cat\n\ndog\nhorse\n")
    try:
        found = find(folder, Split.TEST)
    except NoZeroshotData:
        return
    assert found.names == build_wds_dataset("tiny", None, "test", str(folder)).classes


@pytest.mark.parametrize("samples", [[], [{"txt": "a cat"}]], ids=["nothing", "only texts"])
def test_tars_without_pictures_are_refused(tmp_path, samples):
    with pytest.raises(NoZeroshotData):
        find(put_webdataset(tmp_path, samples), Split.TEST)


@pytest.mark.parametrize("folder", ["./", "v1.0/"])
def test_a_dot_in_a_folder_ends_no_key(tmp_path, folder):
    put_webdataset(tmp_path, [])
    with tarfile.open(tmp_path / "test/0.tar", "w") as tar:
        for name, data in (("0.png", png(3)), ("0.cls", b"1"), ("1.png", png(4)), ("1.cls", b"0")):
            member = tarfile.TarInfo(folder + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    found = find(tmp_path, Split.TEST)
    assert found.labels.tolist() == [1, 0]
    assert [p.read_bytes() for p in found.paths] == [png(3), png(4)]


@pytest.mark.parametrize("damage", ["empty", "text", "half", "gzip"])
def test_a_file_that_is_no_whole_plain_tar_is_named(tmp_path, damage):
    shard = put_webdataset(tmp_path, SAMPLES) / "test/0.tar"
    data = shard.read_bytes()
    made = {"empty": b"", "text": b"<html>404</html>" * 99, "half": data[: len(data) // 2], "gzip": gzip.compress(data)}
    shard.write_bytes(made[damage])
    with pytest.raises(NoZeroshotData, match=r"test/0\.tar"):
        find(tmp_path, Split.TEST)
