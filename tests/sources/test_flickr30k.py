import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reading import places, read, rows, texts
from tiny_corpora import flickr, png, write

from pipeline.artifacts.schema import Reason
from pipeline.sources import Caption, Rejected, SourceError

DOG = b"100.jpg#0\ta dog"
HEADER = b"image_name| comment_number| comment\n"
BROKEN = b"2199200615.jpg| 4   A dog runs across the grass .\n"
"""As it stands in Kaggle's file."""


def kaggle(folder, data, table="results.csv", images="flickr30k_images"):
    write(folder / table, data)
    write(folder / images / "100.jpg", png(1))
    return folder


def sentences(folder, *entries):
    write(folder / "dataset_flickr30k.json", json.dumps({"images": entries}).encode())
    return folder


def test_an_image_has_its_captions_in_order_with_their_places(tmp_path):
    lines = [DOG, b"200.jpg#0\ta cat", b"100.jpg#1\ta caf\xc3\xa9"]
    folder = flickr(tmp_path, lines, pictures={"100.jpg": png(1), "200.jpg": png(2)})
    images, captions, rejected = rows("flickr30k", folder)
    assert {name: image.file.read() for name, image in images.items()} == {"100": png(1), "200": png(2)}
    assert [(c.id, c.text, c.place) for c in captions] == [
        ("100", b"a dog", "results_20130124.token:1"),
        ("200", b"a cat", "results_20130124.token:2"),
        ("100", b"a caf\xc3\xa9", "results_20130124.token:3"),
    ]
    assert rejected == []


def test_a_line_ends_at_a_newline_alone(tmp_path):
    _, captions, rejected = rows(
        "flickr30k", flickr(tmp_path, ["100.jpg#0\ta\x85b\u2028c\x0bd\r".encode()], pictures={})
    )
    assert (texts(captions), rejected) == ([("100", "a\x85b\u2028c\x0bd")], [])


@pytest.mark.parametrize("line", [b"", b"100.jpg#0 a dog", b"100.jpg\ta dog", b"#0\ta dog", b"caf\xe9.jpg#0\ta dog"])
def test_a_malformed_row_is_rejected_by_its_line_number(tmp_path, line):
    images, captions, (row,) = rows("flickr30k", flickr(tmp_path, [DOG, line], pictures={}))
    assert (len(images), len(captions)) == (1, 1)
    assert (row.kind, row.reason, row.place) == ("caption", Reason.MALFORMED_ROW, "results_20130124.token:2")


@pytest.mark.parametrize("text", [b"", b"  ", b"a caf\xe9", b"a\ttab"])
def test_what_a_caption_holds_is_left_to_curation(tmp_path, text):
    _, (caption,), rejected = rows("flickr30k", flickr(tmp_path, [b"100.jpg#0\t" + text], pictures={}))
    assert (caption.text, rejected) == (text, [])


def test_an_image_that_was_not_downloaded_has_no_file(tmp_path):
    images, _, _ = rows("flickr30k", flickr(tmp_path, [DOG], pictures={"200.jpg": png(2)}))
    assert (images["100"].file, images["100"].note) == (None, "there is no 100.jpg in flickr30k_images")


def test_the_karpathy_split_is_by_file_name(tmp_path):
    lines = [b"%d.jpg#0\ta dog" % n for n in (1, 2, 3, 4)]
    folder = flickr(tmp_path, lines, pictures={}, karpathy={"1.jpg": "test", "2.jpg": "val", "3.jpg": "train"})
    images, _, _ = rows("flickr30k", folder)
    assert [i.evaluation for i in images.values()] == ["test", "val", None, None]


@pytest.mark.parametrize(
    "name", ["flickr30k_images", "flickr30k-images", "images", "flickr30k_images/flickr30k_images"]
)
def test_the_image_folder_may_have_any_of_its_usual_names(tmp_path, name):
    write(tmp_path / "results.token", DOG)
    write(tmp_path / name / "100.jpg", png(1))
    images, _, _ = rows("flickr30k", tmp_path)
    assert images["100"].file.read() == png(1)


def test_kaggles_table_is_padded_with_spaces_and_has_a_header(tmp_path):
    data = HEADER + b"100.jpg| 0| Two young guys | one bar .\n200.jpg|1|a cat\n"
    images, captions, rejected = rows("flickr30k", kaggle(tmp_path, data))
    assert images["100"].file.read() == png(1)
    assert [(c.id, c.text, c.place) for c in captions] == [
        ("100", b"Two young guys | one bar .", "results.csv:2"),
        ("200", b"a cat", "results.csv:3"),
    ]
    assert rejected == []


def test_kaggles_broken_row_is_read(tmp_path):
    _, captions, rejected = rows("flickr30k", kaggle(tmp_path, HEADER + BROKEN))
    assert (texts(captions), rejected) == ([("2199200615", "A dog runs across the grass .")], [])


@pytest.mark.parametrize("line", [b"", b"100.jpg", b"100.jpg| a dog", b"| 0| a dog", b"100.jpg| x| a dog", b"100.jpg|"])
def test_a_malformed_row_of_kaggles_table_is_rejected(tmp_path, line):
    _, captions, rejected = rows("flickr30k", kaggle(tmp_path, HEADER + line + b"\n200.jpg| 0| a cat\n"))
    assert texts(captions) == [("200", "a cat")]
    assert places(rejected) == [("caption", "results.csv:2")]


def test_kaggles_archive_nests_its_folders(tmp_path):
    folder = kaggle(
        tmp_path, HEADER + b"100.jpg| 0| a dog\n", "flickr30k_images/results.csv", "flickr30k_images/flickr30k_images"
    )
    images, captions, _ = rows("flickr30k", folder)
    assert (images["100"].file.read(), texts(captions)) == (png(1), [("100", "a dog")])


def test_without_a_table_the_captions_are_those_of_the_split_file(tmp_path):
    write(tmp_path / "images" / "100.jpg", png(1))
    sentences(
        tmp_path,
        {"filename": "100.jpg", "split": "test", "sentences": [{"raw": "a dog", "sentid": 3}, {"raw": "a hound"}]},
        {"filename": None, "split": "train", "sentences": [{"raw": "a cat", "sentid": 4}]},
    )
    images, captions, rejected = rows("flickr30k", tmp_path)
    assert (images["100"].evaluation, images["100"].file.read()) == ("test", png(1))
    assert [(c.id, c.text, c.place) for c in captions] == [
        ("100", "a dog", "dataset_flickr30k.json#3"),
        ("100", "a hound", "dataset_flickr30k.json#images[0].sentences[1]"),
    ]
    assert places(rejected) == [("image", "dataset_flickr30k.json#images[1]"), ("caption", "dataset_flickr30k.json#4")]


def test_the_token_file_counts_before_the_table_and_that_before_the_split_file(tmp_path):
    kaggle(tmp_path, HEADER + b"100.jpg| 0| of the table\n")
    sentences(tmp_path, {"filename": "100.jpg", "split": "train", "sentences": [{"raw": "of the split file"}]})
    assert texts(rows("flickr30k", tmp_path)[1]) == [("100", "of the table")]
    write(tmp_path / "results_20130124.token", b"100.jpg#0\tof the token file\n")
    write(tmp_path / "._results_20130124.token", b"what macOS leaves beside a file")
    assert texts(rows("flickr30k", tmp_path)[1]) == [("100", "of the token file")]


def test_a_folder_without_captions_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(SourceError, match=r"expected results_20130124\.token, results\.csv or dataset_flickr30k\.json"):
        rows("flickr30k", tmp_path)


def test_two_token_files_are_an_error(tmp_path):
    folder = flickr(tmp_path, [DOG], pictures={})
    write(folder / "other.token", DOG)
    with pytest.raises(SourceError, match=r"found other\.token, results_20130124\.token"):
        rows("flickr30k", folder)


def test_a_folder_without_images_is_an_error_that_lists_the_names(tmp_path):
    write(tmp_path / "results.token", DOG)
    with pytest.raises(SourceError, match=r"no image folder .* flickr30k-images"):
        rows("flickr30k", tmp_path)


@pytest.mark.parametrize("image", [{"split": "test"}, {"split": "val", "filename": 3}, {"filename": "1.jpg"}])
def test_a_corrupt_split_file_is_named(tmp_path, image):
    folder = flickr(tmp_path, [DOG], pictures={})
    with pytest.raises(SourceError, match=r"dataset_flickr30k\.json"):
        rows("flickr30k", sentences(folder, image))


ROWS = {
    name: [row % n for n in range(60)]
    for name, row in (("results.token", b"%d.jpg#0\ta dog"), ("results.csv", b"%d.jpg| 0| a dog"))
}
PIECES = [b"100.jpg", b"#0", b"\t", b"|", b" 4", b"\n", b"\r", b"\xff", b"\0", b"image_name", b" ", b"\xef\xbb\xbf"]


@given(
    st.sampled_from(["results.token", "results.csv"]),
    (st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join)).filter(lambda data: b"comment_number" not in data),
)
@example("results.csv", BROKEN)
def test_every_line_of_any_bytes_is_one_caption_or_one_rejected_row(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "images").mkdir()
    rest = b"\n".join([b"", *ROWS[name]]) + data  # so that the file is in its own layout whatever the rest is
    write(folder / name, rest)
    found = [r for r in read("flickr30k", folder) if isinstance(r, Caption | Rejected)]
    count = rest.count(b"\n") + (not rest.endswith(b"\n"))
    assert [r.place for r in found] == [f"{name}:{number}" for number in range(1, count + 1)]
    assert all(r.id.encode() for r in found if isinstance(r, Caption))
