"""No image of one sample stands beside the url or the text of another, however tars were joined or damaged."""

import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import rows
from tiny_corpora import png

BLOCK = 512


def member(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf() + data + bytes(-len(data) % BLOCK)


def files(n, key, endings=("jpg", "txt", "json")):
    """The files of sample `n`, as (ending, bytes of the tar)."""
    record = {"url": f"http://x/{n}", "caption": f"number {n}"}
    data = {"jpg": png(n), "txt": record["caption"].encode(), "json": json.dumps(record).encode()}
    return [member(f"{key:09d}.{ending}", data[ending]) for ending in endings]


def tar(*parts, end=2 * BLOCK):
    return b"".join(parts) + bytes(end)


def samples(numbers, **options):
    """A tar of these samples, their keys counted from 0."""
    return tar(*(part for key, n in enumerate(numbers) for part in files(n, key)), **options)


def table(folder, numbers, keys=3):
    own = [{"key": f"{n % keys:09d}", "url": f"http://x/{n}", "caption": f"number {n}"} for n in numbers]
    pq.write_table(pa.Table.from_pylist(own), folder / "00000.parquet")


def read(folder, data):
    """The number of the image of every url that has one, every url, and the rejected rows; texts are checked."""
    (folder / "00000.tar").write_bytes(data)
    images, captions, rejected = rows("conceptual_captions", folder)
    numbers = {png(n): n for n in range(12)}
    urls = {identity: int(image.url.rpartition("/")[2]) for identity, image in images.items()}
    for caption in captions:
        text = caption.text if isinstance(caption.text, str) else caption.text.decode()
        assert text == f"number {urls[caption.id]}"
    found = {urls[own]: numbers[image.file.read()] for own, image in images.items() if image.file}
    return found, set(urls.values()), rejected


def same(*numbers):
    return {n: n for n in numbers}


@pytest.mark.parametrize("rows_of", [range(3), range(3, 6), range(6)])
@pytest.mark.parametrize("end", [0, 2 * BLOCK])
def test_a_row_has_the_picture_of_its_own_url(tmp_path, rows_of, end):
    table(tmp_path, rows_of)
    found, _, rejected = read(tmp_path, samples(range(3), end=end) + samples(range(3, 6)))
    assert (found, rejected) == (same(*range(6)), [])


def test_a_parquet_of_another_run_gets_none_of_the_pictures_of_the_tar(tmp_path):
    table(tmp_path, range(3, 6))
    found, urls, rejected = read(tmp_path, samples(range(3)))
    assert (found, urls, rejected) == (same(0, 1, 2), set(range(6)), [])
    images, _, _ = rows("conceptual_captions", tmp_path)
    assert any("is of another url, http://x/0" in image.note for image in images.values())


def test_what_is_lost_of_a_tar_that_the_parquet_does_not_know_is_told(tmp_path):
    table(tmp_path, range(3, 6))
    data = bytearray(samples(range(3)) + samples(range(3, 6)))
    data[0] ^= 1
    found, urls, rejected = read(tmp_path, bytes(data))
    assert (found, urls) == (same(1, 2, 3, 4, 5), set(range(6)))
    assert "damaged or cut short at byte 0" in rejected[0].detail


def test_without_records_a_key_is_that_of_one_sample_or_of_none(tmp_path):
    pairs = [[part for key, n in enumerate(own) for part in files(n, key, ("jpg",))] for own in ((0, 1), (2,))]
    table(tmp_path, [2, 1], keys=2)
    found, urls, _ = read(tmp_path, tar(*pairs[0]) + tar(*pairs[1]))
    assert (found, urls) == (same(1), {1, 2})
    images, _, _ = rows("conceptual_captions", tmp_path)
    assert any("there are 2 samples 000000000" in image.note for image in images.values())


@pytest.mark.parametrize("lost", ["absent", "damaged"])
@pytest.mark.parametrize("end", [0, 2 * BLOCK])
@pytest.mark.parametrize("with_table", [True, False])
def test_a_picture_of_the_second_tar_does_not_fill_a_sample_of_the_first(tmp_path, lost, end, with_table):
    first = samples(range(2), end=end)
    picture = files(0, 0, ("jpg",))[0]
    first = first[len(picture) :] if lost == "absent" else b"x" + first[1:]
    if with_table:
        table(tmp_path, range(2))
    found, urls, _ = read(tmp_path, first + samples(range(2, 4)))
    assert (found, urls) == (same(1, 2, 3), {0, 1, 2, 3})


@pytest.mark.parametrize("order", ["jpg jpg json json", "jpg jpg txt txt json json", "json jpg jpg json"])
def test_of_files_that_alternate_none_is_paired_and_that_is_told(tmp_path, order):
    count = dict.fromkeys(("jpg", "txt", "json"), 0)
    parts = []
    for ending in order.split():
        parts += files(count[ending], 0, (ending,))
        count[ending] += 1
    found, urls, rejected = read(tmp_path, tar(*parts))
    assert (found, urls) == ({}, {0, 1})
    assert [row.kind for row in rejected].count("image") == sum(ending != "json" for ending in order.split())
    assert all("nothing tells which belong together" in row.detail for row in rejected)


def test_files_of_a_tar_in_any_order_are_paired_while_no_key_comes_twice(tmp_path):
    parts = [part for ending in ("json", "jpg", "txt") for n in range(3) for part in files(n, n, (ending,))]
    found, _, rejected = read(tmp_path, tar(*parts))
    assert (found, rejected) == (same(0, 1, 2), [])


@settings(max_examples=40, deadline=None)
@given(
    drops=st.sets(st.integers(0, 17), max_size=4),
    flips=st.sets(st.integers(0, 17), max_size=2),
    end=st.sampled_from([0, 2 * BLOCK]),
    rows_of=st.sampled_from([None, range(3), range(3, 6)]),
)
def test_no_picture_is_ever_beside_another_url(tmp_path_factory, drops, flips, end, rows_of):
    folder = tmp_path_factory.mktemp("joined")
    parts = [part for n in range(6) for part in files(n, n % 3, ("jpg", "json", "txt"))]
    broken = [b"x" + part[1:] if n in flips else part for n, part in enumerate(parts)]
    kept = [[part for n, part in enumerate(broken) if n // 9 == half and n not in drops] for half in (0, 1)]
    if rows_of is not None:
        table(folder, rows_of)
    if any(kept) or rows_of is not None:
        data = tar(*kept[0], end=end) + tar(*kept[1])
        has_record = {n for n in range(6) if 3 * n + 1 not in drops | flips}
        found, _, _ = read(folder, data)
        assert all(found[n] == n for n in found if {n, found[n]} & has_record)
