"""Caption files as other tools write them: quotes, names of columns, lists and line ends are told, never captions."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read, rows, texts
from tiny_corpora import write

from pipeline.sources import Caption


def flickr(folder, data, name="results.csv"):
    (folder / "images").mkdir()
    write(folder / name, data.encode())
    _, captions, rejected = rows("flickr30k", folder)
    assert rejected == []
    return [text for _, text in texts(captions)]


def urls(folder, data, name="a.tsv"):
    write(folder / name, data.encode())
    _, captions, rejected = rows("conceptual_captions", folder)
    assert rejected == []
    return [text for _, text in texts(captions)]


SAID = ["a dog, runs", 'it says "stop", twice', "two\nlines, here", "a cat", "it's a bird"]


@pytest.mark.parametrize("header", ["", "image_name, comment_number, comment\n"])
@pytest.mark.parametrize("delimiter", [", ", "; ", "| ", "\t "])
@pytest.mark.parametrize("said", [SAID, ["a dog, runs", "a cat, sits", "a cow, eats"], ["a dog", "a cat", "a cow"]])
def test_spaces_before_quotes_are_no_part_of_what_is_said(tmp_path, header, delimiter, said):
    cells = [f"{n}.jpg{delimiter}0{delimiter}" + '"' + text.replace('"', '""') + '"\n' for n, text in enumerate(said)]
    assert flickr(tmp_path, header.replace(", ", delimiter) + "".join(cells)) == said


def test_spaces_behind_quotes_are_none_either(tmp_path):
    said = [text for text in SAID if "\n" not in text]
    cells = ['"' + text.replace('"', '""') + '"' for text in said]
    data = "".join(f'"http://x/{n}" , {cell} \n' for n, cell in enumerate(cells))
    assert urls(tmp_path, data) == said


@pytest.mark.parametrize("mark", "\"'")
@pytest.mark.parametrize("escape", [None, "\\"])
@pytest.mark.parametrize("delimiter", ",;\t|")
def test_quotes_may_be_escaped_by_backslashes_or_single(tmp_path, mark, escape, delimiter):
    said = [*SAID, '\'tis "so"', "AC\\DC", "C:\\", f"{mark}all{mark}"]
    out = io.StringIO(newline="")
    options = {"escapechar": escape, "doublequote": not escape, "quotechar": mark, "quoting": csv.QUOTE_ALL}
    table = [["url", "caption"], *([f"http://x/{n}", text] for n, text in enumerate(said))]
    csv.writer(out, delimiter=delimiter, lineterminator="\n", **options).writerows(table)
    assert urls(tmp_path, out.getvalue()) == said


def test_only_the_captions_may_be_in_single_quotes_or_hold_escaped_ones(tmp_path):
    assert urls(tmp_path, "".join(f"http://x/{n},'a dog runs {n}'\n" for n in range(4)), "a.csv") == [
        f"a dog runs {n}" for n in range(4)
    ]
    (tmp_path / "b").mkdir()
    escaped = r'"AC\DC, a \"dog\" runs"'
    assert urls(tmp_path / "b", "".join(f"http://x/{n},{escaped}\n" for n in range(4))) == ['AC\\DC, a "dog" runs'] * 4


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.text("ab '\\", min_size=1, max_size=9).map(lambda text: f"it's {text}'"), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
)
def test_apostrophes_and_backslashes_stay(tmp_path_factory, said, delimiter):
    folder = tmp_path_factory.mktemp("own")
    write(folder / "a.tsv", "".join(f"{text}{delimiter}http://x/{n}\n" for n, text in enumerate(said)).encode())
    assert [row.text.decode() for row in read("conceptual_captions", folder) if isinstance(row, Caption)] == said


@pytest.mark.parametrize(
    ("header", "captions", "left"),
    [
        ("title,caption,url", [1], "title"),
        ("url,alt,caption", [2], "alt"),
        ("alt,description,url", [1], "alt"),
        ("text,blip_caption,url", [1], "text"),
        ("title,caption_id,caption_text,url", [2], "title, caption_id"),
        ("title,caption_1,caption_2,url", [1, 2], "title"),
        ("url,caption,caption", [1, 2], ""),
        ("url,caption,caption.1,raw", [1, 2], "raw"),
    ],
)
def test_the_column_most_surely_named_has_the_captions(tmp_path, capsys, header, captions, left):
    names = header.split(",")
    row = ["http://x/0" if name == "url" else f"words {c}" for c, name in enumerate(names)]
    assert urls(tmp_path, f"{header}\n{','.join(row)}\n", "a.csv") == [f"words {c}" for c in captions]
    said = capsys.readouterr().err
    assert f"caption from {' and '.join(names[c] for c in captions)}" in said
    assert said.strip().endswith(f"; left out: {left}") if left else "left out" not in said


def test_an_endless_name_of_a_column_is_none(tmp_path):
    assert urls(tmp_path, f"{'caption ' * 20_000}!,url,caption\nx,http://x/0,a dog\n", "a.csv") == ["a dog"]


@pytest.mark.parametrize("name", ["caption", "comment", "raw"])
@pytest.mark.parametrize(
    "cell", ['["a dog, 0", "b\'s dog"]', "['a dog, 0', \"b's dog\"]", "['a dog, 0'\n \"b's dog\"] "]
)
@pytest.mark.parametrize("delimiter", ",\t")
def test_lists_of_captions_in_json_and_as_python_prints_them(tmp_path, name, cell, delimiter):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(
        [["url", name], ["http://x/0", cell], ["http://x/1", cell]]
    )
    assert urls(tmp_path, out.getvalue()) == ["a dog, 0", "b's dog"] * 2


def test_a_list_in_a_native_row_and_without_quotes_is_told_too(tmp_path):
    assert urls(tmp_path, '["a dog, 0", "b"]\thttp://x/0\n["c"]\thttp://x/1\n') == ["a dog, 0", "b", "c"]
    (tmp_path / "b").mkdir()
    assert flickr(tmp_path / "b", "image,caption\n1.jpg,['a dog, 0', 'b']\n2.jpg,['c']\n") == ["a dog, 0", "b", "c"]


def test_a_caption_in_brackets_is_no_list(tmp_path):
    said = ["[a dog]", "a cat", '["a", "bird"]', "[1]"]
    assert urls(tmp_path, "".join(f"{text}\thttp://x/{n}\n" for n, text in enumerate(said))) == said


@pytest.mark.parametrize("name", ["results.csv", "x.token"])
def test_a_header_with_further_columns_is_not_the_corpus_s_own_layout(tmp_path, capsys, name):
    if name == "results.csv":
        data = "image|n|caption|split\n" + "".join(f"{n}.jpg|0|a dog {n}|train\n" for n in range(3))
    else:
        data = "image\tcaption\tsplit\n" + "".join(f"{n}.jpg#0\ta dog {n}\ttrain\n" for n in range(3))
    assert flickr(tmp_path, data, name) == ["a dog 0", "a dog 1", "a dog 2"]
    assert "split" in capsys.readouterr().err


@pytest.mark.parametrize(
    "header", ["TEXT\tURL", "title\turl", "comment\turl", "caption\tImage URL", '"caption"\t"url"', "alt_text\tlink"]
)
def test_any_known_names_are_a_header_of_the_corpus_s_own_layout(tmp_path, header):
    assert urls(tmp_path, f"{header}\na dog\thttp://x/1\n") == ["a dog"]


@pytest.mark.parametrize("header", ["image|n|caption", "filename | comment_id | text"])
def test_kaggle_s_layout_with_other_names(tmp_path, header):
    assert flickr(tmp_path, f"{header}\n1.jpg| 0| a dog | runs\n") == ["a dog | runs"]


@pytest.mark.parametrize("inner", ["\n", "\r\n", "\n\n\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_lines_that_end_at_cr_may_hold_other_line_ends_in_quotes(tmp_path, inner, quoting):
    said = [f"a dog,{inner}number {n}" for n in range(5)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r", quoting=quoting).writerows(
        [["image", "caption"], *([f"{n}.jpg", text] for n, text in enumerate(said))]
    )
    found = flickr(tmp_path, out.getvalue())
    assert [text.split() for text in found] == [text.split() for text in said]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_that_end_at_newlines_may_hold_more_crs_in_quotes(tmp_path, end):
    said = [f"a\rdog,\rnumber\r{n}" for n in range(5)]
    data = "image,caption" + end + "".join(f'{n}.jpg,"{text}"{end}' for n, text in enumerate(said))
    assert flickr(tmp_path, data) == said


@pytest.mark.parametrize(
    ("name", "row"), [("x.token", b"1.jpg\r2.jpg#0\ta dog\n"), ("results.csv", b"1.jpg\r2.jpg| 0| a\n")]
)
def test_no_image_is_named_across_lines(tmp_path, name, row):
    (tmp_path / "images").mkdir()
    write(tmp_path / name, b"3.jpg#0\ta cat\n" * 3 + row if name == "x.token" else b"3.jpg| 0| a cat\n" * 3 + row)
    images, captions, rejected = rows("flickr30k", tmp_path)
    assert (list(images), len(captions), len(rejected)) == (["3"], 3, 1)
