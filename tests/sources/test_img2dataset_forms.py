"""The forms of img2dataset's output beside its usual tars: images in parquets, lists of captions, keys of numbers."""

import io
import json
import pickle
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import places, rows, texts
from tiny_corpora import img2dataset as corpus
from tiny_corpora import png, write

from pipeline.artifacts.schema import Reason
from pipeline.curation.inspection import ImageFault, ImageLimits, inspect
from pipeline.images.bounds import MOST_BYTES
from pipeline.sources import File, TooManyBytes
from pipeline.sources.conceptual_captions import source_id

ROWS = [
    ("http://x/0", "a dog", png(0)),
    ("http://x/1", "a cat", "HTTP Error 404"),
    ("http://x/2", "a cow", png(2)),
]
LIMITS = ImageLimits(1, 10**6, 10)


def changed(path, **columns):
    """The parquet with other columns; None drops one."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.drop_columns(name) if name in table.column_names else table
        table = table if values is None else table.append_column(name, values)
    pq.write_table(table, path)


def pictures(images):
    return [image.file.read() if image.file else None for image in images.values()]


@pytest.mark.parametrize("column", ["jpg", "png", "webp"])
@pytest.mark.parametrize("nested", ["", "cc3m/part"])
def test_pictures_in_a_parquet_are_read_row_by_row(tmp_path, column, nested):
    path = corpus(tmp_path / nested, ROWS, form="parquet") / "00000.parquet"
    changed(path, **({"jpg": None} | {column: pq.read_table(path)["jpg"]}))
    images, captions, rejected = rows("conceptual_captions", tmp_path)
    assert pictures(images) == [png(0), None, png(2)]
    assert [text for _, text in texts(captions)] == ["a dog", "a cat", "a cow"]
    assert images[source_id("http://x/1")].note == "failed_to_download: HTTP Error 404"
    assert rejected == []


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), "struct"])
def test_pictures_in_a_parquet_may_be_of_any_type_that_holds_bytes(tmp_path, kind):
    path = corpus(tmp_path, ROWS, form="parquet") / "00000.parquet"
    cells = pq.read_table(path)["jpg"].to_pylist()
    if kind == "struct":  # as Hugging Face has images
        column = pa.array([cell and {"bytes": cell, "path": "a.jpg"} for cell in cells])
    else:
        column = pa.array(cells, kind)
    changed(path, jpg=column)
    images, _, rejected = rows("conceptual_captions", tmp_path)
    assert (pictures(images), rejected) == ([png(0), None, png(2)], [])


def test_a_column_of_pictures_that_holds_something_else_is_told(tmp_path):
    path = corpus(tmp_path, ROWS, form="parquet") / "00000.parquet"
    changed(path, jpg=pa.array([1, 2, 3]))
    images, _, _ = rows("conceptual_captions", tmp_path)
    assert "its column jpg holds int64, expected binary" in images[source_id("http://x/0")].note


@pytest.mark.parametrize("ending", ["jpeg", "gif", "bmp", "tif", "tiff", "AVIF"])
def test_images_may_be_of_any_format_that_is_read(tmp_path, ending):
    (image, record, text) = sample("0", "http://x/0", "a dog")
    tar(tmp_path / "a.tar", (f"0.{ending}", image[1]), record, text)
    images, _, _ = rows("conceptual_captions", tmp_path)
    assert pictures(images) == [png(1)]


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"row_group_size": 7}, {"use_dictionary": False}, {}])
def test_every_row_of_many_row_groups(tmp_path, options):
    found = [(f"http://x/{n}", "a dog", png(n)) for n in range(40)]
    path = corpus(tmp_path, found, form="parquet") / "00000.parquet"
    pq.write_table(pq.read_table(path), path, **options)
    images, _, _ = rows("conceptual_captions", tmp_path)
    assert pictures(images) == [png(n) for n in range(40)]
    assert pickle.loads(pickle.dumps(images[source_id("http://x/9")].file)).read() == png(9)


def test_a_table_finds_its_pictures_in_parquets(tmp_path):
    corpus(tmp_path / "cc", ROWS, form="parquet")
    write(tmp_path / "a.tsv", b"a bird\thttp://x/2\n")
    images, captions, _ = rows("conceptual_captions", tmp_path)
    assert (pictures(images), [text for _, text in texts(captions)]) == ([png(2)], ["a bird"])


def test_a_cell_that_cannot_be_read_has_a_reason(tmp_path):
    path = corpus(tmp_path, ROWS, form="parquet") / "00000.parquet"
    cell = f"{path}/jpg"
    assert inspect(File(cell, 0), LIMITS).extension == "png"
    for row, reason in ((1, Reason.MISSING_IMAGE), (3, Reason.UNREADABLE_IMAGE), (-1, Reason.UNREADABLE_IMAGE)):
        assert inspect(File(cell, row), LIMITS).reason == reason
    assert inspect(File(f"{path}/url", 0), LIMITS).reason == Reason.NOT_AN_IMAGE
    assert inspect(File(f"{path}/none", 0), LIMITS).reason == Reason.UNREADABLE_IMAGE
    path.write_bytes(path.read_bytes()[:-9])
    fault = inspect(File(cell, 0), LIMITS)
    assert (fault.reason, "00000.parquet/jpg row 0" in fault.detail) == (Reason.UNREADABLE_IMAGE, True)


def test_of_an_image_no_more_than_the_bound_is_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    for file in (File(str(path)), File(str(path), 0, MOST_BYTES + 1)):
        with pytest.raises(TooManyBytes, match="536,870,913 bytes, at most 536,870,912"):
            file.read()
        fault = inspect(file, LIMITS)
        assert isinstance(fault, ImageFault)
        assert fault.reason == Reason.OVERSIZED_IMAGE


@pytest.mark.parametrize("form", ["webdataset", "files", "parquet"])
@pytest.mark.parametrize("table", [True, False])
def test_each_caption_of_a_list_is_one(tmp_path, form, table):
    corpus(tmp_path, [("http://x/0", ["a dog", "a 'hound'"], png(0)), ("http://x/1", ["a cat"], png(1))], form=form)
    if not table:
        (tmp_path / "00000.parquet").unlink()
        if form == "parquet":
            return
    images, captions, rejected = rows("conceptual_captions", tmp_path)
    first, second = map(source_id, ("http://x/0", "http://x/1"))
    assert texts(captions) == [(first, "a dog"), (first, "a 'hound'"), (second, "a cat")]
    assert len({caption.place for caption in captions}) == 3
    assert (pictures(images), rejected) == ([png(0), png(1)], [])


@pytest.mark.parametrize("form", ["webdataset", "files", "parquet"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.decimal128(21, 2)])
def test_keys_that_are_numbers_find_their_pictures(tmp_path, form, kind):
    path = corpus(tmp_path, ROWS, shard="00012", form=form) / "00012.parquet"
    changed(path, key=pq.read_table(path)["key"].cast(pa.int64()).cast(kind))
    images, captions, rejected = rows("conceptual_captions", tmp_path)
    assert pictures(images) == [png(0), None, png(2)]
    assert captions[0].place == "00012.parquet#120000"
    assert rejected == []


def test_keys_may_be_bytes(tmp_path):
    path = corpus(tmp_path, ROWS) / "00000.parquet"
    changed(path, key=pq.read_table(path)["key"].cast(pa.binary()))
    images, _, _ = rows("conceptual_captions", tmp_path)
    assert pictures(images) == [png(0), None, png(2)]


def tar(path, *members):
    with tarfile.open(path, "w") as made:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))


def sample(key, url, caption):
    record = json.dumps({"url": url, "caption": caption}).encode()
    return (f"{key}.jpg", png(1)), (f"{key}.json", record), (f"{key}.txt", caption.encode())


def test_samples_of_one_key_in_joined_tars_are_several(tmp_path):
    for n in range(3):
        tar(tmp_path / f"{n}.tar", *sample("000000000", f"http://x/{n}", f"number {n}"))
    joined = b"".join((tmp_path / f"{n}.tar").read_bytes() for n in range(3))
    for n in range(3):
        (tmp_path / f"{n}.tar").unlink()
    write(tmp_path / "all.tar", joined)
    images, captions, rejected = rows("conceptual_captions", tmp_path)
    assert [text for _, text in texts(captions)] == ["number 0", "number 1", "number 2"]
    assert (len(images), rejected) == (3, [])


def test_what_is_lost_of_a_tar_is_told_where_its_texts_are_the_captions(tmp_path):
    path = corpus(tmp_path, ROWS) / "00000.tar"
    changed(tmp_path / "00000.parquet", caption=None)
    with tarfile.open(path) as made:
        offset = made.getmember("000000002.txt").offset_data - 512
    data = bytearray(path.read_bytes())
    data[offset : offset + 512] = b"\xff" * 512
    path.write_bytes(data)
    images, captions, rejected = rows("conceptual_captions", tmp_path)
    assert (len(images), [text for _, text in texts(captions)]) == (3, ["a dog", "a cow"])
    assert places(rejected) == [("image", "00000.tar")], "a caption may be lost, though the json has this one"


@pytest.mark.parametrize("caption", [5, {"a": "b"}, ["a dog", 5], [["a dog"], []]])
def test_a_caption_that_is_no_text_is_rejected_and_counted(tmp_path, caption):
    write(tmp_path / "00000/1.json", json.dumps({"url": "http://x/1", "caption": caption}).encode())
    _, captions, rejected = rows("conceptual_captions", tmp_path)
    assert len(captions) == (isinstance(caption, list))
    assert [(r.kind, r.reason) for r in rejected] == [("caption", Reason.MALFORMED_ROW)]


def test_the_captions_of_a_row_without_a_url_are_rejected_one_by_one(tmp_path):
    write(tmp_path / "00000/1.json", json.dumps({"caption": ["a dog", "a hound"]}).encode())
    write(tmp_path / "00000/2.json", b"{")
    write(tmp_path / "00000/2.txt", b"a cat")
    write(tmp_path / "00000/3.txt", b"a cow")
    _, captions, rejected = rows("conceptual_captions", tmp_path)
    assert captions == []
    assert [kind for kind, _ in places(rejected)].count("caption") == 4
