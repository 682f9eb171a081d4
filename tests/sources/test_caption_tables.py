"""Caption files in other layouts than a corpus's own: nothing is lost, and every caption is what was written."""

import csv
import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read, rows, texts
from tiny_corpora import png, write

from pipeline.sources import Caption, Image, Rejected, SourceError
from pipeline.sources.conceptual_captions import source_id

SAID = [
    "a dog", 'a sign that says "stop"', "red , blue ; green | and\ttabs", '"all in quotes"', "two\nlines", "a café", "",
    '5" disk', "it is 5 o'clock", '" he said "', "  padded  ", "ends with a quote\"",
]  # fmt: skip
DIALECTS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def flickr(folder, data, name="results.csv"):
    write(folder / name, data)
    write(folder / "images" / "100.jpg", png(1))
    return folder


def table(rows, delimiter=",", **options):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=options.pop("end", "\n"), **options).writerows(rows)
    return out.getvalue()


def of_flickr(said, header=("image_name", "comment_number", "comment")):
    return [header, *((f"{100 + n}.jpg", n, text) for n, text in enumerate(said))]


def of_urls(said, header=("caption", "url")):
    return [header, *((text, f"http://x/{n}") for n, text in enumerate(said))]


@pytest.mark.parametrize("delimiter", DIALECTS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL])
def test_a_csv_file_of_any_dialect_has_the_captions_that_were_written(tmp_path, capsys, delimiter, end, quoting):
    folder = flickr(tmp_path, table(of_flickr(SAID), delimiter, end=end, quoting=quoting).encode())
    images, captions, rejected = rows("flickr30k", folder)
    assert texts(captions) == [(str(100 + n), text) for n, text in enumerate(SAID)]
    assert rejected == []
    assert images["100"].file.read() == png(1)
    said = capsys.readouterr().err
    assert f"{DIALECTS[delimiter]} between fields, quotes as in csv; image from column image_name" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("delimiter", DIALECTS)
@pytest.mark.parametrize(
    "header", [("caption", "url"), ("CAPTION", "URL"), ("Text", "Image_URL"), ("alt_text", "link")]
)
@pytest.mark.parametrize("url_first", [False, True])
def test_captions_with_urls_in_any_dialect_and_order(tmp_path, delimiter, header, url_first):
    found = of_urls(SAID, header)
    write(tmp_path / "a.tsv", table([row[::-1] for row in found] if url_first else found, delimiter).encode())
    _, captions, rejected = rows("conceptual_captions", tmp_path)
    assert texts(captions) == [(source_id(f"http://x/{n}"), text) for n, text in enumerate(SAID)]
    assert rejected == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_encoding_of_unicode_and_any_line_end(tmp_path, encoding, end):
    said = ["a dog", "a café", 'a 🐕 said "wow"']
    flickr(tmp_path, table(of_flickr(said), end=end).encode(encoding))
    (tmp_path / "cc").mkdir()
    write(tmp_path / "cc/a.tsv", "".join(f"{text}\thttp://x/{n}{end}" for n, text in enumerate(said)).encode(encoding))
    assert [text for _, text in texts(rows("flickr30k", tmp_path)[1])] == said
    assert [text for _, text in texts(rows("conceptual_captions", tmp_path / "cc")[1])] == said


@pytest.mark.parametrize("header", ["", ",image,caption\n", "Unnamed: 0,filename,sentence\n"])
def test_an_index_column_is_none(tmp_path, header):
    flickr(tmp_path, header.encode() + b'0,100.jpg,"a dog, a cat"\n1,101.jpg,two birds\n2,102.jpg,three cows\n')
    _, captions, rejected = rows("flickr30k", tmp_path)
    assert texts(captions) == [("100", "a dog, a cat"), ("101", "two birds"), ("102", "three cows")]
    assert rejected == []


def test_a_tsv_of_cc12m_has_its_urls_first_and_quotes_that_are_said(tmp_path, capsys):
    said = ['he said "hi" twice', "a dog", '"quoted" at the start', "5 < 6"]
    write(tmp_path / "cc12m.tsv", "".join(f"https://x/{n}.jpg\t{text}\n" for n, text in enumerate(said)).encode())
    write(tmp_path / f"2_{zlib.crc32(b'https://x/2.jpg')}.jpg", png(2))
    images, captions, _ = rows("conceptual_captions", tmp_path)
    assert [text for _, text in texts(captions)] == said
    assert images[source_id("https://x/2.jpg")].file.read() == png(2)
    assert "image from column 1 (no header), caption from 2 (no header)" in capsys.readouterr().err


OWN = {
    "results.token": ("flickr30k", b"%(n)d.jpg#0\t%(text)s\n"),
    "results.csv": ("flickr30k", b"%(n)d.jpg| 0| %(text)s\n"),
    "a.tsv": ("conceptual_captions", b"%(text)s\thttp://x/%(n)d\n"),
}


@pytest.mark.parametrize("name", OWN)
@given(st.lists(st.text(st.sampled_from("ab\" ,;|.'") | st.characters(categories=["L"]), max_size=12), min_size=1))
@settings(max_examples=40)
def test_a_file_in_its_own_layout_is_read_byte_for_byte(tmp_path_factory, name, said):
    said = [text for text in said if '""' not in text]
    corpus, row = OWN[name]
    folder = tmp_path_factory.mktemp("own")
    # Quotes around a whole caption, and no other, could be either; one that is within speaks for this layout.
    lines = [*said, 'a " b " c']
    (folder / "images").mkdir()
    write(folder / name, b"".join(row % {b"n": n, b"text": text.encode()} for n, text in enumerate(lines)))
    found = [row.text.decode() for row in read(corpus, folder) if isinstance(row, Caption)]
    assert found == [text.strip() if name == "results.csv" else text for text in lines]


def test_a_quote_that_is_never_closed_costs_its_own_row(tmp_path):
    data = table(of_flickr(["a dog", 'says "x"', *["many cats"] * 20])).encode().splitlines(keepends=True)
    data.insert(3, b'900.jpg,0,"never closed\n')
    _, captions, (rejected,) = rows("flickr30k", flickr(tmp_path, b"".join(data)))
    assert len(captions) == 22
    assert rejected.place == "results.csv:4"


def test_a_caption_that_holds_commas_without_quotes_is_whole(tmp_path):
    _, captions, _ = rows(
        "flickr30k", flickr(tmp_path, b"image,caption\n100.jpg,a dog, a cat, a cow\n101.jpg,a bird\n")
    )
    assert texts(captions) == [("100", "a dog, a cat, a cow"), ("101", "a bird")]


def test_a_cell_may_hold_a_list_of_captions(tmp_path):
    data = table([("raw", "filename"), ('["a dog", "a \\"hound\\"", 5]', "100.jpg"), ("[broken]", "101.jpg")])
    _, captions, rejected = rows("flickr30k", flickr(tmp_path, data.encode(), "flickr_annotations_30k.csv"))
    assert texts(captions) == [("100", "a dog"), ("100", 'a "hound"')]
    assert [r.place.rpartition(":")[2] for r in rejected] == ["2[2]", "3"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"id,colour,size\n1,red,4\n2,blue,5\n", "3 columns between commas: 'id', 'colour', 'size'"),
        (b"a;b\n1;2\n", "2 columns between semicolons: 'a', 'b'"),
        (b"100.jpg,train,a dog\n101.jpg,val,a cat\n", "3 columns between commas: '100.jpg', 'train', 'a dog'"),
        (b"nothing of the kind\n", "one column: 'nothing of the kind'"),
    ],
)
def test_where_nothing_fits_the_columns_are_named(tmp_path, data, found):
    with pytest.raises(SourceError, match=found) as caught:
        rows("flickr30k", flickr(tmp_path, data))
    assert "expected name.jpg| i| caption, or both in columns with a header" in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    said=st.lists(st.text(st.sampled_from('ab",;|\t\n ') | st.characters(exclude_categories=["Cs"]), max_size=9)),
    delimiter=st.sampled_from(list(DIALECTS)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    junk=st.binary(max_size=12),
    at=st.integers(0, 400),
)
def test_no_damage_loses_a_row(tmp_path_factory, said, delimiter, quoting, junk, at):
    folder = tmp_path_factory.mktemp("damaged")
    lines = [text.replace("\r", "").replace("\n", "") for text in said]
    data = table(of_flickr(lines), delimiter, quoting=quoting).encode()
    data = data[:at] + junk.replace(b"\n", b"") + data[at:]
    (folder / "images").mkdir()
    write(folder / "results.csv", data)
    try:
        found = list(read("flickr30k", folder))
    except SourceError:
        return
    captions = [row.text for row in found if isinstance(row, Caption)]
    lost = [row for row in found if isinstance(row, Rejected)]
    joined = sum(text.count(b"\n") for text in captions)
    assert len(captions) + len(lost) + joined in (len(said), len(said) + 1), "the header may have become a row"
    assert all(image.id.encode() for image in found if isinstance(image, Image))
