"""WebDatasets as CLIP_benchmark publishes them."""

import gzip
import io
import re
import tarfile

import numpy as np
import pytest
from clip_benchmark.datasets.builder import build_wds_dataset
from PIL import Image
from tiny_corpora import encoded, png
from tiny_models import COMPUTE, picture, tiny_clip
from tiny_zeroshot import put_webdataset

from pipeline.artifacts.schema import Split
from pipeline.clip import image_files
from pipeline.errors import InputError
from pipeline.zeroshot import accuracy, classifier
from pipeline.zeroshot.sets import NoZeroshotData, find

SAMPLES = [{"png": png(3), "cls": 1}, {"png": png(4), "cls": 0}, {"png": png(5), "cls": 1}]


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
    for row, (array, _) in zip(image_files.pixels(clip, found.paths, "decode"), samples, strict=True):
        assert np.array_equal(row, to_pixels(Image.fromarray(array)))
    assert found.names == theirs.classes
    assert accuracy.prompts(found) == [t.format(c=name) for name in theirs.classes for t in theirs.templates]


def test_a_webdataset_is_embedded(tmp_path):
    clip = tiny_clip()
    found = classifier.embed(clip, find(put_webdataset(tmp_path / "tars", SAMPLES), Split.TEST), COMPUTE)
    for i, number in enumerate((3, 4, 5)):
        (tmp_path / "files" / str(i)).mkdir(parents=True)
        (tmp_path / "files" / str(i) / "0.png").write_bytes(png(number))
    assert np.array_equal(found, classifier.embed(clip, find(tmp_path / "files", Split.TEST), COMPUTE))


def test_a_member_that_cannot_be_read_is_named(tmp_path):
    folder = put_webdataset(tmp_path, [*SAMPLES, {"png": b"not an image", "cls": 0}])
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/test/0.tar/s0000003.png is no image")):
        classifier.embed(tiny_clip(), find(folder, Split.TEST), COMPUTE)


def test_a_number_without_a_name_is_named(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"0\.tar/s0000001\.png: class 2; .*classnames\.txt names 2"):
        find(put_webdataset(tmp_path, [SAMPLES[0], {"png": png(1), "cls": 2}]), Split.TEST)


@pytest.mark.parametrize("cls", [b"-1", b"cat", b"", b"1.0", b"\xff", "¹".encode()])
def test_a_cls_that_is_no_number_is_named(tmp_path, cls):
    with pytest.raises(NoZeroshotData, match=r"0\.tar/s0000000\.cls is .*expected a class's number"):
        find(put_webdataset(tmp_path, [{"png": png(1), "cls": cls}]), Split.TEST)


def test_two_pictures_of_one_sample_are_named(tmp_path):
    with pytest.raises(NoZeroshotData, match=r"0\.tar: s0000000 has two images"):
        find(put_webdataset(tmp_path, [{"png": png(1), "jpg": b"another", "cls": 0}]), Split.TEST)


@pytest.mark.parametrize("sample", [{"png": png(1)}, {"cls": 0}, {"gif": b"GIF89a", "cls": 0}])
def test_half_a_sample_is_named(tmp_path, sample):
    with pytest.raises(NoZeroshotData, match=r"0\.tar: s0000001 has an image or a cls alone"):
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


def cut(content, where):
    """A tar of 30 samples, damaged at the header of the 21st."""
    at = content.index(b"s0000020.")
    return {
        "boundary": content[:at], "header": content[: at + 100], "zeros": content[:at] + bytes(len(content) - at - 512),
        "noise": content[:at] + b"\xff" * 512 + content[at + 512 :], "end": content.rstrip(b"\0") + bytes(512),
    }[where]  # fmt: skip


@pytest.mark.parametrize("where", ["boundary", "header", "noise", "end", "zeros"])
def test_a_tar_that_is_not_whole_is_refused(tmp_path, where):
    put_webdataset(tmp_path, [{"png": png(1), "cls": i % 2} for i in range(30)])
    path = tmp_path / "test/0.tar"
    path.write_bytes(cut(path.read_bytes(), where))
    with pytest.raises(NoZeroshotData, match=r"0\.tar is no whole tar .*download it again"):
        find(tmp_path, Split.TEST)


def test_joined_tars_are_read_whole(tmp_path):
    put_webdataset(tmp_path, SAMPLES[:2], SAMPLES[2:])
    first, second = sorted((tmp_path / "test").glob("*.tar"))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    second.unlink()
    found = find(tmp_path, Split.TEST)
    assert (found.labels.tolist(), [p.read_bytes() for p in found.paths]) == ([1, 0, 1], [png(3), png(4), png(5)])


def test_two_samples_of_one_name_in_joined_tars_are_named(tmp_path):
    path = put_webdataset(tmp_path, SAMPLES[:2]) / "test/0.tar"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(NoZeroshotData, match=r"s0000000 has two"):
        find(tmp_path, Split.TEST)
