"""Whatever is done to a tar: reading ends, and what is not read is told."""

import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.disk.tars import DamagedTar, Gap, Member, members, whole

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
BLOCK = 512


def tar(names, form="ustar", size=700):
    """Every file's content is its own name, repeated."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[form]) as made:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = size
            made.addfile(info, io.BytesIO(content(name, size)))
    return out.getvalue()


def content(name, size=700):
    return (name.encode() * size)[:size]


def read(folder, data):
    """Names of members whose bytes are right, and gaps."""
    path = folder / "a.tar"
    path.write_bytes(data)
    found = list(members(path))
    names = [m.name for m in found if isinstance(m, Member) and m.read_bytes() == content(m.name, m.size)]
    return names, [gap for gap in found if isinstance(gap, Gap)]


def signed(block):
    """A header whose checksum is right, whatever else it states."""
    block = bytearray(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def header(name=b"a", size=b"%011o\0" % BLOCK, kind=b"0"):
    start = name.ljust(100, b"\0") + b"0000644\0" * 3 + size + b"%011o\0" % 0 + b" " * 8 + kind
    return signed((start.ljust(257, b"\0") + b"ustar\x0000").ljust(BLOCK, b"\0"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("names", [[], ["a.jpg", "b.jpg"], ["d" * 99 + "/é", "x" * 100], ["long/" * 18 + "a" * 90]])
def test_every_member_of_a_whole_tar_is_found(tmp_path, form, names):
    assert read(tmp_path, tar(names, form)) == (names, [])
    assert [m.name for m in whole(tmp_path / "a.tar")] == names


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_names_may_be_longer_than_a_header_holds(tmp_path, form):
    assert read(tmp_path, tar(["n" * 300, "é" * 200, "b"], form)) == (["n" * 300, "é" * 200, "b"], [])


@pytest.mark.parametrize("form", FORMATS)
def test_tars_that_are_joined_are_one(tmp_path, form):
    data = tar(["a", "b"]) + tar(["c" * 30], form) + tar(["d"])
    assert read(tmp_path, data) == (["a", "b", "c" * 30, "d"], [])


@pytest.mark.parametrize("cut", [100, BLOCK, 700, 1536, 2000, 3072, 3584])
def test_what_is_joined_to_a_tar_that_was_cut_is_read_and_the_cut_is_told(tmp_path, cut):
    names, gaps = read(tmp_path, tar(["a", "b"])[:cut] + tar(["c", "d", "e", "f"]))
    assert names[-2:] == ["e", "f"]
    assert gaps or (cut % 1536 == 0 and names[-4:] == ["c", "d", "e", "f"]), "cut between members, none is missing"


def test_a_tar_that_is_not_whole_is_refused_where_that_is_asked(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar(["a", "b"])[:1600])
    with pytest.raises(DamagedTar, match="damaged or cut short at byte 1536: it ends within a header"):
        list(whole(path))


def without_end(data):
    """A tar of which nothing follows the last member."""
    rest = data.rstrip(b"\0")
    return rest + bytes(-len(rest) % BLOCK)


@pytest.mark.parametrize("record", [0, 1 << 14, 1 << 17, 1 << 20])
def test_the_end_of_a_tar_may_be_two_blocks_or_fill_any_usual_record(tmp_path, record):
    def ended(names):
        data = without_end(tar(names)) + bytes(2 * BLOCK)
        return data + bytes(-len(data) % record if record else 0)

    assert read(tmp_path, ended(["a"])) == (["a"], [])
    assert read(tmp_path, ended(["a", "b"]) + ended(["c"]) + ended(["d"])) == (["a", "b", "c", "d"], [])


def test_a_tail_of_zeros_as_a_broken_download_leaves_is_told(tmp_path):
    _, gaps = read(tmp_path, without_end(tar(["a"])) + bytes(3 << 20))
    assert "3,145,728 zero bytes" in gaps[0].reason


def parts(folder, data):
    (folder / "a.tar").write_bytes(data)
    return [(m.name, m.part) for m in members(folder / "a.tar") if isinstance(m, Member)]


def test_members_say_behind_which_end_or_damage_they_lie(tmp_path):
    broken = bytearray(tar(["c", "d", "e"]))
    broken[1536] ^= 1
    data = tar(["a", "b"]) + bytes(broken)
    assert parts(tmp_path, data) == [("a", 0), ("b", 0), ("c", 1), ("e", 2)]


def test_where_posix_has_a_folder_older_tars_have_times(tmp_path):
    block = bytearray(header(b"a"))
    block[345:357] = b"14000000000\0"
    for magic, name in ((b"ustar  \0", "a"), (bytes(8), "a"), (b"ustar\x0000", "14000000000/a")):
        block[257:265] = magic
        (tmp_path / "a.tar").write_bytes(signed(block) + b"a" * BLOCK + bytes(2 * BLOCK))
        assert [found.name for found in whole(tmp_path / "a.tar")] == [name]


@pytest.mark.parametrize("record", [b"8 path=\n", b"8 size=\n"])
def test_an_empty_record_before_a_member_leaves_what_its_header_says(tmp_path, record):
    assert read(tmp_path, pax(record) + header(b"a") + content("a", BLOCK) + bytes(2 * BLOCK)) == (["a"], [])


@pytest.mark.parametrize("between", [bytes(BLOCK), b"x" * BLOCK])
def test_no_more_is_read_than_a_few_times_the_tar(tmp_path, monkeypatch, between):
    data = (header(b"a", b"%011o\0" % 0) + between) * 500
    asked, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda stream, *where: asked.append(len(found := pread(stream, *where))) or found)
    assert len(read(tmp_path, data)[0]) == 500
    assert sum(asked) < 10 * len(data)


@pytest.mark.parametrize("blocks", [1, 2, 3, 8, 40])
def test_zeros_within_are_told_and_passed(tmp_path, blocks):
    data = tar([str(n) for n in range(9)], size=5000)
    names, gaps = read(tmp_path, data[:5632] + bytes(blocks * BLOCK) + data[5632 + blocks * BLOCK :])
    assert names[-1] == "8"
    assert gaps


@pytest.mark.parametrize(
    "size",
    [
        (-512 + (1 << 96)).to_bytes(12, "big"), b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\x80" + bytes(7) + b"\xff" * 4,
        b"77777777777\0", b"-0000001000\0", b"not a number",
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_is_told_and_the_next_member_is_read(tmp_path, size):
    data = header(b"a") + content("a", BLOCK) + header(b"odd", size) + bytes([1]) * BLOCK + tar(["b"])
    names, gaps = read(tmp_path, data)
    assert names == ["a", "b"]
    assert gaps


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"S", b"M", b"D", b"?"])
def test_what_is_no_regular_file_is_told(tmp_path, kind):
    names, (gap,) = read(tmp_path, header(b"odd.jpg", b"%011o\0" % 0, kind) + tar(["b"] * 6))
    assert names == ["b"] * 6
    assert "odd.jpg is " in gap.reason


@pytest.mark.parametrize("kind", [b"5", b"\0"])
def test_folders_hold_nothing_to_tell(tmp_path, kind):
    data = header(b"f/", b"%011o\0" % 0, kind) + header(b"x") + content("x", BLOCK) + bytes(2 * BLOCK)
    assert read(tmp_path, data) == (["x"], [])


def pax(records, kind=b"x"):
    return header(b"more", b"%011o\0" % len(records), kind) + records.ljust(-(-len(records) // BLOCK) * BLOCK, b"\0")


@pytest.mark.parametrize(
    "before",
    [
        pax(b"15 size=-10000\n"), pax(b"999 path=b\n"), pax(b"0 path=b\n"), pax(b"no record at all"),
        pax(b"11 path=b\n"), pax(b"24 size=99999999999999\n\n"[:23]), pax(b"10 path=c\n", b"g"),
        pax(b"22 GNU.sparse.major=1\n"), header(b"name", b"%011o\0" % (1 << 21), b"L"),
        header(b"more", b"%011o\0" % (1 << 30), b"x"),
    ],
)  # fmt: skip
def test_records_before_a_member_that_cannot_be_are_told(tmp_path, before):
    names, gaps = read(tmp_path, before + tar(["b", "c", "d"]))
    assert names[-2:] == ["c", "d"]
    assert gaps


def test_the_map_and_the_data_of_an_old_sparse_file_are_passed(tmp_path):
    sparse = bytearray(header(b"s", kind=b"S"))
    sparse[482] = 1
    names, gaps = read(tmp_path, signed(sparse) + bytes(BLOCK) + b"x" * BLOCK + tar(["b"]))
    assert names == ["b"]
    assert "s is a sparse file" in gaps[0].reason


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b" + b"x" * 600, b"<html>404</html>" * 99, bytes(5 * BLOCK), b"ustar" * 9999]
)
def test_what_is_no_tar_is_told(tmp_path, data):
    names, gaps = read(tmp_path, data)
    assert (names, len(gaps)) == ([], 1)


def test_a_search_for_headers_among_what_looks_like_them_ends(tmp_path):
    block = bytearray(header())
    block[300] = 1  # so that the checksum is wrong
    names, gaps = read(tmp_path, bytes(block) * 20_000)
    assert names == []
    assert "too much looks like a header" in gaps[-1].reason


def test_what_cannot_be_opened_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe.tar")
    for name in ("pipe.tar", "absent.tar", "."):
        (gap,) = members(tmp_path / name)
        assert "no such file" in gap.reason


NAMES = [f"{n:03d}.jpg" for n in range(8)]


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(list(FORMATS)),
    at=st.integers(0, 8 * 1536),
    kind=st.sampled_from(["cut", "noise", "insert", "remove"]),
    junk=st.binary(min_size=1, max_size=1600),
)
def test_every_member_is_read_or_its_loss_is_told(tmp_path_factory, form, at, kind, junk):
    data = tar(NAMES, form)
    end = at + len(junk)
    rest = {"cut": b"", "noise": junk + data[end:], "insert": junk + data[at:], "remove": data[end:]}[kind]
    path = tmp_path_factory.mktemp("tars") / "a.tar"
    path.write_bytes(data[:at] + rest)
    found = list(members(path))
    named = [m.name for m in found if isinstance(m, Member)]
    assert all(m.offset + m.size <= path.stat().st_size for m in found if isinstance(m, Member))
    # A name that was changed is a member still, and a member that was cut out whole leaves no trace.
    assert len(found) > len(named) or len(named) >= len(NAMES) - (kind == "remove")
