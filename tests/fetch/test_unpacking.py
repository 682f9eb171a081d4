import io
import stat
import tarfile
import zipfile

import pytest

from pipeline.fetch.unpacking import UnsafeArchive, unpack

FILES = {"images/a.jpg": b"aaa", "images/deep/b.jpg": b"bb", "captions.json": b"{}", "other.txt": b"x"}


def as_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("images")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


FORMS = pytest.mark.parametrize("write", [as_zip, as_tar])


def below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@FORMS
def test_the_wanted_members_are_written_and_no_others(tmp_path, write):
    archive, out = write(tmp_path / "a", FILES), tmp_path / "out"
    assert unpack(archive, out, ["images/", "captions.json"]) == 3
    assert below(out) == {name: data for name, data in FILES.items() if name != "other.txt"}


@FORMS
def test_what_a_killed_run_has_unpacked_stays_and_the_rest_comes(tmp_path, write):
    archive, out = write(tmp_path / "a", FILES), tmp_path / "out"
    unpack(archive, out, ["images/"])
    whole, half = out / "images/a.jpg", out / "images/deep/b.jpg"
    written = whole.stat().st_ino
    half.write_bytes(b"b")
    unpack(archive, out, ["images/"])
    assert whole.stat().st_ino == written
    assert half.read_bytes() == b"bb"


@FORMS
@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "images/../../evil", "c:/evil", "images\\..\\evil"])
def test_nothing_is_written_outside_the_folder(tmp_path, write, name):
    out = tmp_path / "in" / "out"
    archive = write(tmp_path / "a", {**FILES, name: b"evil"})
    with pytest.raises(UnsafeArchive, match="would lie outside"):
        unpack(archive, out, ["images/"])
    assert not out.exists()


def test_links_are_not_unpacked(tmp_path):
    info = zipfile.ZipInfo("images/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("images/a", tarfile.SYMTYPE), ("images/b", tarfile.FIFOTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    for path in (tmp_path / "a.zip", tmp_path / "a.tar"):
        with pytest.raises(UnsafeArchive, match="a link or a device"):
            unpack(path, tmp_path / "out", ["images/"])


@FORMS
def test_a_member_that_is_not_there_is_named_before_anything_is_written(tmp_path, write):
    with pytest.raises(UnsafeArchive, match=r"has no labels/"):
        unpack(write(tmp_path / "a", FILES), tmp_path / "out", ["images/", "labels/"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [lambda data: b"nothing", lambda data: data[:60], lambda data: b""])
@FORMS
def test_a_damaged_archive_is_named_and_leaves_no_half_file(tmp_path, write, damage):
    archive = write(tmp_path / "a", FILES)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UnsafeArchive, match="a is damaged"):
        unpack(archive, tmp_path / "out", ["images/"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bits_of_a_zip_are_found(tmp_path, compression):
    image = bytes(range(256)) * 100
    with zipfile.ZipFile(tmp_path / "a", "w", compression) as stored:
        stored.writestr("images/a.jpg", image)
    archive = tmp_path / "a"
    data = bytearray(archive.read_bytes())
    data[120] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out", ["images/"])
    assert below(tmp_path / "out") == {}
