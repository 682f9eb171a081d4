import csv
import io
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import figures
from pipeline.artifacts.figures import write_history
from pipeline.disk import sums
from pipeline.errors import Damaged


def test_a_history_comes_back_with_gaps_where_it_had_none(tmp_path):
    write_history(tmp_path / "h.csv", [{"epoch": 0, "val": 0.5}, {"epoch": 1, "loss": 2.0, "val": 0.75}])
    found = figures.columns(tmp_path, "h.csv", "epoch")
    assert (found["epoch"], found["val"]) == ([0, 1], [0.5, 0.75])
    assert math.isnan(found["loss"][0]) and found["loss"][1] == 2.0


def test_no_history_has_no_columns(tmp_path):
    write_history(tmp_path / "empty.csv", [])
    assert figures.columns(tmp_path, "empty.csv", "epoch", "loss") == {}


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5)


@settings(max_examples=20)
@given(st.lists(names, min_size=2, max_size=4, unique=True), st.lists(names, min_size=3, max_size=3))
def test_whatever_texts_a_table_holds_come_back(tmp_path_factory, header, values):
    folder, text = tmp_path_factory.mktemp("stage"), io.StringIO()
    rows = [[value] * len(header) for value in values]
    csv.writer(text).writerows([header, *rows])
    (folder / "t.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    assert figures.read(folder, "t.csv", *header) == [dict(zip(header, row, strict=True)) for row in rows]


BROKEN = {
    "no text": (b"epoch,loss\n0,\xff\n", "it is no CSV file"),
    "zeros": (bytes(30), "it is no CSV file|expected names of columns"),
    "empty": (b"", r"its first line is \[\], expected names of columns"),
    "a line of something else": (b"404 Not Found", "it has no column epoch"),
    "an open quote": (b'epoch,loss\n0,"1\n', "it is no CSV file"),
    "a cut row": (b"epoch,loss\n0,1\n1", "row 1 has 1 values, expected 2"),
    "a row too long": (b"epoch,loss\n0,1,2\n", "row 0 has 3 values, expected 2"),
    "a column twice": (b"epoch,epoch\n0,1\n", "expected names of columns"),
    "another column": (b"epock,loss\n0,1\n", "it has no column epoch; it has epock, loss"),
    "a web page": (b"<html>\n404\n", "it has no column epoch"),
    "no number": (b"epoch,loss\n0,one\n", "loss is 'one', expected a number"),
    "not finite": (b"epoch,loss\n0,nan\n", "loss is 'nan', expected a number"),
    "a huge field": (b"epoch,loss\n0," + b"1" * 200_000 + b"\n", "it is no CSV file"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_damaged_file_is_named_with_the_stage_to_run(tmp_path, fault):
    content, told = BROKEN[fault]
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/history.csv").write_bytes(content)
    with pytest.raises(Damaged, match=told) as caught:
        figures.columns(tmp_path / "teacher", "history.csv", "epoch")
    assert "teacher/history.csv" in str(caught.value) and "dvc repro -sf teacher" in str(caught.value)


def test_a_missing_file_names_the_stage_to_run(tmp_path):
    with pytest.raises(Damaged, match=r"history\.csv does not exist; run: dvc repro teacher"):
        figures.read(tmp_path / "teacher", "history.csv")


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "student"
    (folder / "live").mkdir(parents=True)
    (folder / "history.csv").write_text("epoch,loss\n0,0.31\n")
    (folder / "metrics.json").write_text('{"best": 1}')
    (folder / "live/metrics.json").write_text("{}")
    (folder / "weights.bin").write_bytes(bytes(10))
    sums.write(folder)
    return folder


def test_an_edited_figure_is_noticed(stage):
    assert figures.columns(stage, "history.csv", "epoch")["loss"] == [0.31]
    (stage / "history.csv").write_text("epoch,loss\n0,0.71\n")
    with pytest.raises(Damaged, match=r"history\.csv is not what its stage wrote.*run: dvc repro -sf student"):
        figures.columns(stage, "history.csv", "epoch")
    (stage / "metrics.json").write_text('{"best": 2}')
    with pytest.raises(Damaged, match=r"metrics\.json is not what its stage wrote"):
        sums.read_json(stage, "metrics.json")


@pytest.mark.parametrize("name", ["history.csv", "metrics.json", "live/metrics.json", sums.NAME])
def test_every_flipped_bit_of_what_is_summed_is_noticed(stage, name):
    sums.check_all(stage)
    whole = (stage / name).read_bytes()
    for bit in range(0, 8 * len(whole), 1 if len(whole) < 30 else 29):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        (stage / name).write_bytes(content)
        with pytest.raises(Damaged):
            sums.check_all(stage)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"abc  history.csv\n", b"\xff\xfe"])
def test_damaged_sums_are_named(stage, content):
    (stage / sums.NAME).write_bytes(content)
    with pytest.raises(Damaged, match="SHA256SUMS is damaged"):
        figures.read(stage, "history.csv")


def test_a_folder_or_a_lost_link_in_place_of_the_sums_is_named(stage):
    (stage / sums.NAME).unlink()
    (stage / sums.NAME).symlink_to("gone")
    with pytest.raises(Damaged, match="SHA256SUMS is no file"):
        figures.read(stage, "history.csv")
    (stage / sums.NAME).unlink()
    (stage / sums.NAME).mkdir()
    with pytest.raises(Damaged, match="SHA256SUMS is no file"):
        sums.read_json(stage, "metrics.json")
    with pytest.raises(Damaged, match="SHA256SUMS cannot be removed"):
        sums.forget(stage)


def test_figures_fetched_without_their_sums_are_read_and_a_check_of_all_names_the_lack(stage):
    (stage / sums.NAME).unlink()
    assert sums.read_json(stage, "metrics.json") == {"best": 1}
    sums.check_all(stage, partly=True)
    with pytest.raises(Damaged, match="SHA256SUMS does not exist"):
        sums.check_all(stage)


def test_what_is_missing_from_a_stage_is_named_by_a_check_of_all(stage):
    (stage / "history.csv").unlink()
    with pytest.raises(Damaged, match=r"history\.csv does not exist; run: dvc repro student"):
        sums.check_all(stage)


def test_equal_files_have_equal_sums_as_sha256sum_writes_them(stage):
    first = (stage / sums.NAME).read_text()
    sums.write(stage)
    assert (stage / sums.NAME).read_text() == first
    assert [line.split("  ")[1] for line in first.splitlines()] == ["history.csv", "live/metrics.json", "metrics.json"]
