import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_corpora import img2dataset as corpus
from tiny_corpora import png, write

from pipeline.artifacts.schema import Reason
from pipeline.sources import File, Held, Rejected, img2dataset

ROWS = [
    ("http://x/0", "a dog", png(0)),
    ("http://x/1", "a cat", "HTTP Error 404: Not Found"),
    ("http://x/2", "a cow", png(2)),
]
KEYS = ["000000000", "000000001", "000000002"]


def read(folder, shard="00000"):
    """Records by key, and rejected rows."""
    found = [r for r in img2dataset.read(folder, shard) if not isinstance(r, Held)]
    records = [r for r in found if not isinstance(r, Rejected)]
    return {r.place.rpartition("#")[2]: r for r in records}, [r for r in found if isinstance(r, Rejected)]


def pictures(records):
    return {key: record.file.read() if record.file else None for key, record in records.items()}


def member(path, name):
    with tarfile.open(path) as tar:
        return tar.getmember(name)


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_every_row_of_the_parquet_is_a_record(tmp_path, form):
    records, rejected = read(corpus(tmp_path, ROWS, form=form))
    assert pictures(records) == dict(zip(KEYS, [png(0), None, png(2)], strict=True))
    assert [(r.url, r.caption, r.note, r.place) for r in records.values()] == [
        ("http://x/0", "a dog", "", "00000.parquet#000000000"),
        ("http://x/1", "a cat", "failed_to_download: HTTP Error 404: Not Found", "00000.parquet#000000001"),
        ("http://x/2", "a cow", "", "00000.parquet#000000002"),
    ]
    assert rejected == []


def test_an_image_is_a_part_of_its_tar(tmp_path):
    records, _ = read(corpus(tmp_path, ROWS))
    part = member(tmp_path / "00000.tar", "000000002.jpg")
    assert records["000000002"].file == File(str(tmp_path / "00000.tar"), part.offset_data, part.size)


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_without_a_parquet_the_rows_are_those_of_the_json_members(tmp_path, form):
    corpus(tmp_path, ROWS, form=form)
    (tmp_path / "00000.parquet").unlink()
    records, rejected = read(tmp_path)
    assert pictures(records) == {"000000000": png(0), "000000002": png(2)}
    assert sorted((r.url, r.caption, r.place) for r in records.values()) == [
        ("http://x/0", "a dog", "00000#000000000"),
        ("http://x/2", "a cow", "00000#000000002"),
    ]
    assert rejected == []


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_without_a_caption_column_captions_are_in_the_txt(tmp_path, form):
    corpus(tmp_path, ROWS, form=form)
    table = pq.read_table(tmp_path / "00000.parquet")
    pq.write_table(table.drop_columns("caption"), tmp_path / "00000.parquet")
    records, _ = read(tmp_path)
    assert records["000000000"].caption.read() == b"a dog"
    assert records["000000001"].caption is None


def test_images_may_have_other_formats(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("0.png", "1.webp", "2.JPG", "3.npy"):
            tar.addfile(tarfile.TarInfo(f"inner/{name}"), io.BytesIO())
            data = json.dumps({"url": f"http://x/{name}"}).encode()
            info = tarfile.TarInfo(f"./inner/{name[0]}.json")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    records, _ = read(tmp_path, "a")
    assert [(r.url, r.file is None, r.note) for r in records.values()] == [
        ("http://x/0.png", False, ""),
        ("http://x/1.webp", False, ""),
        ("http://x/2.JPG", False, ""),
        ("http://x/3.npy", True, "a holds no image inner/3"),
    ]


def test_two_folders_of_a_tar_may_use_the_same_key(tmp_path):
    corpus(tmp_path, ROWS[:1])
    (tmp_path / "00000.parquet").unlink()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for folder in "xy":
            data = json.dumps({"url": f"http://{folder}/0"}).encode()
            for name, content in ((f"{folder}/0.jpg", png(0)), (f"{folder}/0.json", data)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    records, rejected = read(tmp_path, "a")
    assert {place: (r.url, r.file is not None) for place, r in records.items()} == {
        "x/0": ("http://x/0", True),
        "y/0": ("http://y/0", True),
    }
    assert rejected == []


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_a_download_that_is_not_there_has_a_note(tmp_path, form):
    corpus(tmp_path, ROWS[:1], form=form)
    corpus(tmp_path / "whole", ROWS)
    (tmp_path / "whole" / "00000.parquet").rename(tmp_path / "00000.parquet")
    records, _ = read(tmp_path)
    assert [r.note for r in records.values()] == [
        "", "failed_to_download: HTTP Error 404: Not Found", "00000 holds no image 000000002",
    ]  # fmt: skip


def test_a_parquet_alone_says_what_is_missing(tmp_path):
    (corpus(tmp_path, ROWS[:1]) / "00000.tar").unlink()
    records, rejected = read(tmp_path)
    assert records["000000000"].note == "there is neither 00000.tar nor a folder 00000"
    assert rejected == []


@pytest.mark.parametrize("where", ["in the image", "in the header", "between members", "at the end", "at the start"])
def test_a_tar_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path, where):
    tar = corpus(tmp_path, ROWS) / "00000.tar"
    third = member(tar, "000000002.jpg")
    cut = {
        "in the image": third.offset_data + 5,
        "in the header": third.offset + 100,
        "between members": third.offset,
        "at the end": member(tar, "000000002.txt").offset_data + 512,
        "at the start": 0,
    }[where]
    tar.write_bytes(tar.read_bytes()[:cut])
    records, rejected = read(tmp_path)
    whole = {"at the end": [png(0), None, png(2)], "at the start": [None, None, None]}.get(where, [png(0), None, None])
    assert list(pictures(records).values()) == whole
    assert "404" in records["000000001"].note
    assert where == "at the end" or "cut short" in records["000000002"].note
    assert rejected == []  # the rows of the parquet say it

    (tmp_path / "00000.parquet").unlink()
    records, (first, *others) = read(tmp_path)
    assert [picture for picture in whole if picture] == list(pictures(records).values())
    assert (first.kind, first.place, first.reason) == ("image", "00000.tar", Reason.MALFORMED_ROW)
    assert "cut short" in first.detail
    assert others == []


def test_behind_a_damaged_header_reading_goes_on(tmp_path):
    tar = corpus(tmp_path, ROWS) / "00000.tar"
    data = bytearray(tar.read_bytes())
    offset = member(tar, "000000000.jpg").offset_data - 512
    data[offset : offset + 512] = b"\xff" * 512
    tar.write_bytes(data)
    records, rejected = read(tmp_path)
    assert pictures(records) == dict(zip(KEYS, [None, None, png(2)], strict=True))
    assert records["000000000"].note == f"00000.tar is damaged or cut short at byte {offset}: no header stands there"
    assert rejected == []  # the rows of the parquet say it
    (tmp_path / "00000.parquet").unlink()
    records, (gap,) = read(tmp_path)
    assert pictures(records) == {"000000000": None, "000000002": png(2)}
    assert (gap.kind, gap.place) == ("image", "00000.tar")


def test_a_compressed_tar_is_not_read(tmp_path):
    corpus(tmp_path, ROWS)
    with tarfile.open(tmp_path / "00000.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("000000000.jpg"), io.BytesIO())
    records, _ = read(tmp_path)
    assert records["000000000"].file is None
    assert "compressed" in records["000000000"].note


@pytest.mark.parametrize("damage", ["cut short", "empty", "no parquet", "other columns"])
def test_a_damaged_parquet_is_told_and_the_json_members_are_read(tmp_path, damage):
    table = corpus(tmp_path, ROWS) / "00000.parquet"
    data = table.read_bytes()
    if damage == "other columns":
        pq.write_table(pa.table({"image": [b""]}), table)
    else:
        table.write_bytes({"cut short": data[:-20], "empty": b"", "no parquet": b"caption\turl"}[damage])
    records, (rejected,) = read(tmp_path)
    assert pictures(records) == {"000000000": png(0), "000000002": png(2)}
    assert (rejected.kind, rejected.place, rejected.reason) == ("image", "00000.parquet", Reason.MALFORMED_ROW)


@pytest.mark.parametrize("url", [None, 5, "", "  "])
def test_a_row_without_a_url_is_rejected(tmp_path, url):
    corpus(tmp_path, ROWS[:1])
    pq.write_table(pa.Table.from_pylist([{"key": "000000000", "url": url}]), tmp_path / "00000.parquet")
    records, (rejected,) = read(tmp_path)
    assert records == {}
    assert (rejected.kind, rejected.place) == ("caption", "00000.parquet#000000000")


def test_a_row_without_a_key_is_named_by_its_position(tmp_path):
    corpus(tmp_path, [])
    rows = [{"key": "000000000", "url": "http://x/0"}, {"key": None, "url": "http://x/1"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "00000.parquet")
    assert list(read(tmp_path)[0]) == ["000000000", "00000.parquet:2"]


@pytest.mark.parametrize("data", [None, b"", b"{", b"\xff", b"null", b"{}", b'{"url": "http://x/\\ud83d"}'])
def test_an_image_without_a_readable_json_is_rejected(tmp_path, data):
    write(tmp_path / "00000" / "000000000.jpg", png(0))
    if data is not None:
        write(tmp_path / "00000" / "000000000.json", data)
    records, (rejected,) = read(tmp_path)
    assert records == {}
    assert (rejected.place, rejected.reason) == ("00000#000000000", Reason.MALFORMED_ROW)


def test_shards_are_found_wherever_they_lie(tmp_path):
    corpus(tmp_path / "cc3m", ROWS, shard="00000")
    corpus(tmp_path / "cc3m", ROWS, shard="00001", form="files")
    (corpus(tmp_path / "other" / "2024", ROWS, shard="00002") / "00002.parquet").unlink()
    (corpus(tmp_path, ROWS, shard="00003") / "00003.tar").unlink()
    write(tmp_path / "cc3m-train-0004.tar", b"")
    write(tmp_path / "urls.parquet", b"")
    write(tmp_path / "downloads" / "17_123.jpg", b"")
    write(tmp_path / "notes" / "a.json", b"")
    assert img2dataset.shards(tmp_path) == [
        "00003", "cc3m-train-0004", "cc3m/00000", "cc3m/00001", "other/2024/00002",
    ]  # fmt: skip
