"""Tables: which column is what, in every form that a table may have, and what is broken in them."""

import json
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import places, read, texts
from tiny_corpora import encoded, picture, png, write

from pipeline.sources import Box, Caption, Image, Negative, Rejected, Rewrite, SourceError
from pipeline.sources.columns import Columns


def table(where, /, **columns):
    """Images in the reader's order, captions and rejected rows."""
    found = list(read("table", where, columns=Columns(**columns)))
    return tuple([row for row in found if isinstance(row, kind)] for kind in (Image, Caption, Rejected))


def parquet(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def ids(images):
    return [image.id for image in images]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'filename,caption,licence\nx/1.jpg,"a dog, asleep",CC0\nx/1.jpg,a cat,CC0\n'),
        ("a.csv", "\ufefffilename;licence;caption\r\nx/1.jpg;CC0;a dog, asleep\r\n\r\nx/1.jpg;CC0;a cat\r\n"),
        ("a.tsv", "caption\tlicence\tfilename\na dog, asleep\tCC0\tx/1.jpg\na cat\tCC0\tx/1.jpg\n"),
        ("a.csv", "filename,licence,captions\nx/1.jpg,CC0,\"['a dog, asleep', 'a cat']\"\n"),
        ("a.csv", "filename|caption_1|caption_2|licence\nx/1.jpg|a dog, asleep|a cat|CC0\n"),
        ("a.jsonl", '{"file_name": "x/1.jpg", "text": ["a dog, asleep", "a cat"], "license": "CC0"}\n'),
    ],
)
def test_a_text_table_is_read_by_what_its_columns_are_called(tmp_path, name, content):
    write(tmp_path / "t" / name, content.encode())
    images, captions, rejected = table(tmp_path / "t")
    assert {(i.id, i.file.path, i.licence) for i in images} == {("x/1", f"{tmp_path}/t/x/1.jpg", "CC0")}
    assert texts(captions) == [("x/1", "a dog, asleep"), ("x/1", "a cat")]
    assert rejected == []


def test_columns_that_are_named_are_what_they_are_named(tmp_path):
    content = "who,image,text,said,also\n7,1.jpg,nothing,a dog,a cat\n7,2.jpg,nothing,a bird,\n"
    write(tmp_path / "a.csv", content.encode())
    images, captions, _ = table(tmp_path / "a.csv", path="image", captions=("said", "also"), id="who")
    assert ids(images) == ["7", "7"]
    assert texts(captions) == [("7", "a dog"), ("7", "a cat"), ("7", "a bird"), ("7", "")]
    assert [c.place for c in captions][:2] == ["a.csv:2#said", "a.csv:2#also"]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    write(tmp_path / "a.csv", b"image,caption\n1.jpg,a dog\n")
    with pytest.raises(SourceError, match=r"a\.csv: there is no column 'txt'; its columns are 'image', 'caption'"):
        table(tmp_path, captions=("txt",))


def test_a_table_without_images_says_which_columns_it_has(tmp_path):
    write(tmp_path / "a.jsonl", b'{"caption": "a dog", "score": 1}\n')
    with pytest.raises(SourceError, match=r"no column says which image.*'caption', 'score'.*columns: \{path"):
        table(tmp_path)


def test_paths_are_relative_to_where_the_first_of_them_are_found(tmp_path):
    write(tmp_path / "pictures/1.jpg", png(1))
    write(tmp_path / "a.csv", b"image,caption\n1.jpg,a dog\n2.jpg,a cat\n/3.jpg,a bird\n")
    images, _, _ = table(tmp_path)
    assert [i.file.path for i in images] == [f"{tmp_path}/pictures/1.jpg", f"{tmp_path}/pictures/2.jpg", "/3.jpg"]


def test_a_row_that_cannot_be_read_is_rejected_with_its_caption(tmp_path):
    rows = b"image,caption\n1.jpg,a dog,asleep\n,a cat\n2.jpg,a bird\n\xff.jpg,a fish\n3.jpg,a caf\xe9\n"
    write(tmp_path / "a.csv", rows)
    images, captions, rejected = table(tmp_path)
    assert ids(images) == ["2", "3"]
    assert [c.text for c in captions] == ["a bird", b"a caf\xe9"]
    lost = ["a.csv:2", "a.csv:3", "a.csv:5"]
    assert sorted(places(rejected)) == sorted((kind, place) for place in lost for kind in ("image", "caption"))


def test_what_is_no_json_or_no_text_is_rejected(tmp_path):
    lines = [
        b'{"image": "1.jpg", "caption": ["a dog", ["a cat", null], 3, {}]}', b"{", b"[]",
        b'{"image": 3, "caption": "a"}',
        b'{"image": "2.jpg", "caption": null}', b'{"image": "\\u0000.jpg", "caption": "b"}',
        b'{"image": "\\ud83d.jpg", "caption": "c"}', b'{"caption": "\xff"}', b"[" * 100_000,
    ]  # fmt: skip
    write(tmp_path / "a.jsonl", b"\n".join(lines))
    images, captions, rejected = table(tmp_path)
    assert ids(images) == ["1", "2"]
    assert texts(captions) == [("1", "a dog"), ("1", "a cat")]
    assert places(rejected)[:2] == [("caption", "a.jsonl:1[2]"), ("caption", "a.jsonl:1[3]")]
    assert {place for _, place in places(rejected)[2:]} == {f"a.jsonl:{n}" for n in (2, 3, 4, 6, 7, 8, 9)}


def test_images_in_parquet_are_cells(tmp_path):
    parquet(tmp_path / "a.parquet", [{"jpg": png(n), "txt": "a dog"} for n in range(5)], row_group_size=2)
    images, captions, _ = table(tmp_path)
    assert [i.file.read() for i in images] == [png(n) for n in range(5)]
    assert ids(images) == [f"a.parquet:{n}" for n in range(1, 6)] == [c.id for c in captions]


def test_a_damaged_row_group_loses_its_own_rows(tmp_path):
    rows = [{"path": f"{n}.jpg", "caption": f"a dog, number {n}" * 20} for n in range(6)]
    path = parquet(tmp_path / "a.parquet", rows, row_group_size=2, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(1).column(0)
    data[chunk.data_page_offset : chunk.data_page_offset + 12] = b"\xff" * 12
    path.write_bytes(data)
    images, captions, rejected = table(tmp_path)
    assert ids(images) == ["0", "1", "4", "5"] == [c.id for c in captions]
    assert places(rejected) == [(kind, f"a.parquet:{n}") for n in (3, 4) for kind in ("image", "caption")]
    assert "row group 1" in rejected[0].detail


def test_text_in_parquet_that_is_no_utf8_is_left_for_curation_to_say(tmp_path):
    captions = pa.array([[b"a dog", b"\xff"], [b"a cat"]]).cast(pa.list_(pa.binary()))
    strings = pa.ListArray.from_arrays(captions.offsets, captions.values.view(pa.string()))
    pq.write_table(pa.table({"path": ["1.jpg", "2.jpg"], "caption": strings}), tmp_path / "a.parquet")
    _, found, rejected = table(tmp_path)
    assert [c.text for c in found] == ["a dog", b"\xff", "a cat"]
    assert rejected == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"rubbish"])
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv", "a.jsonl"])
def test_a_file_that_is_no_table_is_an_error_with_its_name(tmp_path, name, data):
    write(tmp_path / name, data)
    with pytest.raises(SourceError, match=name.replace(".", r"\.")):
        table(tmp_path)


def test_a_split_column_keeps_evaluation_images_out(tmp_path):
    content = "image,caption,split\n1.jpg,a dog,train\n2.jpg,a cat,Val\n3.jpg,a bird,test\n4.jpg,a cow,tset\n"
    write(tmp_path / "a.csv", content.encode())
    images, _, rejected = table(tmp_path)
    assert [(i.id, i.evaluation) for i in images] == [("1", None), ("2", "val"), ("3", "test")]
    assert places(rejected) == [("image", "a.csv:5"), ("caption", "a.csv:5")]
    assert "'tset'" in rejected[0].detail


def test_a_column_that_is_but_called_split_is_left_alone_unless_it_is_named(tmp_path):
    write(tmp_path / "a.csv", b"image,caption,split\n1.jpg,a dog,0\n2.jpg,a cat,1\n")
    assert [i.evaluation for i in table(tmp_path)[0]] == [None, None]
    assert len(table(tmp_path, split="split")[2]) == 4


@pytest.mark.parametrize("name", ["test.csv", "test/a.csv", "test-00000-of-00002.csv", "validation.csv"])
def test_a_file_that_has_the_name_of_a_split_is_all_of_it(tmp_path, name):
    write(tmp_path / name, b"image,caption\n1.jpg,a dog\n")
    (image,), _, _ = table(tmp_path)
    assert image.evaluation == ("val" if "val" in name else "test")


def test_images_of_urls_are_the_downloads(tmp_path):
    write(tmp_path / "a.csv", b"url,caption\nhttp://a/1,a dog\nhttp://a/2,a cat\nnot an address,a bird\n")
    write(tmp_path / "downloads" / f"{zlib.crc32(b'http://a/1')}.jpg", png(1))
    images, captions, _ = table(tmp_path)
    assert images[0].file.read() == png(1)
    assert [i.url for i in images[:2]] == ["http://a/1", "http://a/2"]
    assert images[1].file is None and "no download" in images[1].note
    assert len(captions) == 3


def test_several_tables_are_one_source_and_several_forms_are_none(tmp_path):
    write(tmp_path / "a.csv", b"image,caption\n1.jpg,a dog\n")
    write(tmp_path / "b.csv", b"text,path\na cat,2.jpg\n")
    assert [(c.id, c.text) for c in table(tmp_path)[1]] == [("1", "a dog"), ("2", "a cat")]
    write(tmp_path / "c.jsonl", b'{"image": "1.jpg", "caption": "a dog"}')
    with pytest.raises(SourceError, match=r"several forms, a\.csv and c\.jsonl"):
        table(tmp_path)


def test_no_table_says_what_is_there(tmp_path):
    write(tmp_path / "a.xlsx", b"")
    with pytest.raises(SourceError, match=r"but 1 of \.xlsx; expected files that end with \.csv"):
        table(tmp_path)


def test_rows_of_one_id_are_captions_of_one_image(tmp_path):
    rows = [{"image_id": 7.0, "image": {"bytes": encoded(picture(1)), "path": "1.png"}, "sentence": t} for t in "ab"]
    parquet(tmp_path / "a.parquet", rows)
    images, captions, _ = table(tmp_path, id="image_id")
    assert ids(images) == ["7", "7"]
    assert texts(captions) == [("7", "a"), ("7", "b")]


def test_columns_beside_captions_are_rewrites_negatives_and_boxes(tmp_path):
    box = {"box": [1, 2, 3, 4], "phrase": "a dog", "score": 0.5}
    rows = [
        {"image": "1.jpg", "caption": "a dog", "re": ["the dog", None, 3],
         "not": [{"text": "a cat", "image": "2.jpg"}, "b"], "at": [box, {"box": [1, 2], "phrase": "a dog"}]},
        {"image": None, "caption": "a bird", "re": "birds", "at": {**box, "phrase": "a bird"}},
        {"image": "3.jpg", "caption": "a cow", "re": [], "not": None, "at": []},
    ]  # fmt: skip
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)).encode())
    columns = Columns(rewrites=("re",), negatives=("not",), boxes=("at",))
    found = [row for row in read("table", tmp_path, columns=columns) if not isinstance(row, Image | Caption)]
    assert found[0] == Rewrite("1", "the dog", "a.jsonl:1#re[0]")
    negatives = [row for row in found if isinstance(row, Negative)]
    assert [(n.text, n.file and n.file.path) for n in negatives] == [("a cat", f"{tmp_path}/2.jpg"), ("b", None)]
    assert [row for row in found if isinstance(row, Box)] == [Box("1", (1, 2, 3, 4), "a dog", 0.5, "a.jsonl:1#at[0]")]
    assert places(row for row in found if isinstance(row, Rejected)) == [
        ("rewrite", "a.jsonl:1#re[2]"), ("box", "a.jsonl:1#at[1]"),
        ("image", "a.jsonl:2"), ("caption", "a.jsonl:2"), ("rewrite", "a.jsonl:2#re"), ("box", "a.jsonl:2#at"),
    ]  # fmt: skip


def test_boxes_in_a_text_table_are_json(tmp_path):
    cell = '"[{""box"": [0, 0, 9, 9], ""phrase"": ""a dog""}]"'
    write(tmp_path / "a.csv", f"image,caption,at\n1.jpg,a dog,{cell}\n2.jpg,a cat,[1\n3.jpg,a cow,\n".encode())
    found = list(read("table", tmp_path, columns=Columns(boxes=("at",))))
    assert [row for row in found if isinstance(row, Box)] == [Box("1", (0, 0, 9, 9), "a dog", 1.0, "a.csv:2#at[0]")]
    assert places(row for row in found if isinstance(row, Rejected)) == [("box", "a.csv:3#at")]
