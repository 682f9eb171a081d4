import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.disk import files
from pipeline.errors import InputError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_its_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with files.whole(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_keeps_the_old_file_and_leaves_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.whole(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_leaves_no_file_where_none_was(tmp_path):
    with pytest.raises(RuntimeError), files.whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_reader_of_the_old_file_goes_on_reading_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        files.write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_value_that_is_not_json_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


def test_equal_values_are_equal_json_bytes(tmp_path):
    files.write_json(tmp_path / "1.json", {"b": [1, 2.5], "a": {"y": None, "x": "café"}})
    files.write_json(tmp_path / "2.json", {"a": {"x": "café", "y": None}, "b": [1, 2.5]})
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_json_is_readable_text(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "café"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "café",\n  "b": 1\n}\n'


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "abc") == expected


def test_a_fingerprint_is_of_the_values_and_not_of_their_order():
    one = files.fingerprint(weights="w", params={"lr": 0.1, "epochs": 2})
    assert len(one) == 32
    assert one == files.fingerprint(params={"epochs": 2, "lr": 0.1}, weights="w")


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "v", "params": {"lr": 0.1}},
        {"weights": "w", "params": {"lr": 0.2}},
        {"weights": "w", "params": {"lr": 0.1}, "seed": 1},
        {"weights": "w", "parameters": {"lr": 0.1}},
    ],
)
def test_a_fingerprint_changes_with_every_part(other):
    assert files.fingerprint(weights="w", params={"lr": 0.1}) != files.fingerprint(**other)


def test_code_is_told_apart_by_what_is_in_it_and_below_it(tmp_path):
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    first = files.code(folder, tmp_path / "b.py")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("not source")
    assert files.code(folder, tmp_path / "b.py") == first
    (folder / "a.py").write_text("x = 2\n")
    changed = files.code(folder, tmp_path / "b.py")
    assert changed != first
    (folder / "c.py").write_text("")
    assert files.code(folder, tmp_path / "b.py") not in (first, changed)


BROKEN = {
    "nothing": b"",
    "half": b'{"a": [1, 2',
    "a brace": b"{",
    "single quotes": b"{'a': 1}",
    "latin-1": b'"caf\xe9"',
    "another encoding": b'{"a": "\xff\xfe"}',
    "deep": b"[" * 2_000 + b"]" * 2_000,
    "deeper": b'{"a":' * 100_000,
    "more digits than Python reads": b"9" * 5_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
        files.read_json(path)


def test_a_json_file_that_is_not_there_is_refused_with_what_is(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to("nowhere.json")
    (tmp_path / "file").write_text("{}")
    for name in ("a.json", "folder", "file/a.json"):
        with pytest.raises(InputError, match=f"there is no file {tmp_path / name}"):
            files.read_json(tmp_path / name)
    with pytest.raises(InputError, match=r"link\.json, which links to nowhere\.json"):
        files.read_json(tmp_path / "link.json")


def test_what_is_set_aside_keeps_its_bytes_under_another_name(tmp_path):
    path = tmp_path / "a.arrow"
    path.write_bytes(b"abc")
    assert files.set_aside(path) == "it is now a.damaged"
    assert names(tmp_path) == ["a.damaged"]
    assert (tmp_path / "a.damaged").read_bytes() == b"abc"
    assert files.set_aside(path) == "it is now a.damaged", "another process has done so"


def left_by_a_kill(path):
    """Write half of a file in a process that ends itself by SIGKILL; give what it has left."""
    code = (
        "import os, signal, sys; from pathlib import Path; from pipeline.disk import files\n"
        "with files.whole(Path(sys.argv[1])) as temporary:\n"
        " temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[2])
    return sorted(path.parent.glob(f".*{files.PART}"))


needs_locks = pytest.mark.skipif(os.name != "posix", reason="no locks of files")


@needs_locks
def test_what_a_killed_writer_left_is_removed_by_the_next_one_in_the_folder(tmp_path):
    assert len(left_by_a_kill(tmp_path / "a.txt")) == 1
    files.write_text(tmp_path / "another.txt", "whole")
    assert names(tmp_path) == ["another.txt"]


@needs_locks
def test_what_killed_writers_left_below_a_folder_is_swept(tmp_path):
    (tmp_path / "runs/deep").mkdir(parents=True)
    left_by_a_kill(tmp_path / "runs/deep/a.txt")
    (tmp_path / "linked").mkdir()
    left_by_a_kill(tmp_path / "linked/a.txt")
    (tmp_path / "runs/link").symlink_to(tmp_path / "linked")
    files.sweep(tmp_path / "runs")
    assert names(tmp_path / "runs/deep") == []
    assert len(names(tmp_path / "linked")) == 1, "links are not followed"
    files.sweep(tmp_path / "nowhere")


@needs_locks
def test_what_a_living_writer_is_writing_stays(tmp_path):
    with files.whole(tmp_path / "a.txt") as first:
        first.write_text("first")
        with files.whole(tmp_path / "a.txt") as second:
            second.write_text("second")
            process = multiprocessing.get_context("spawn").Process(target=files.sweep, args=(tmp_path,))
            process.start()
            process.join()
            files.sweep(tmp_path)
            assert first.exists() and second.exists()
    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def leave(folder, name, *, hours):
    path = folder / name
    path.write_text("half")
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    return path


def test_what_another_machine_is_writing_stays_for_a_day(tmp_path):
    other = f".a.txt.00000000-{'0' * 32}.part"
    leave(tmp_path, other, hours=23)
    files.sweep(tmp_path)
    assert names(tmp_path) == [other]
    leave(tmp_path, other, hours=25)
    files.sweep(tmp_path)
    assert names(tmp_path) == []


def test_on_a_disk_without_locks_age_alone_tells(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with files.whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        files.sweep(tmp_path)
        assert temporary.exists()
        os.utime(temporary, (0, 0))
        files.sweep(tmp_path)
        assert not temporary.exists()
        temporary.write_text("new")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", [".download.part", "a.part", f"{'0' * 32}.part", f".a.{'0' * 31}.part", ".part"])
def test_part_files_of_other_programs_stay(tmp_path, name):
    leave(tmp_path, name, hours=1000)
    files.sweep(tmp_path)
    assert names(tmp_path) == [name]


def test_links_and_folders_of_such_a_name_stay(tmp_path):
    ours = f".a.00000000-{'0' * 32}.part"
    (tmp_path / "folder" / ours).mkdir(parents=True)
    (tmp_path / "target").write_text("mine")
    (tmp_path / ours).symlink_to(tmp_path / "target")
    files.sweep(tmp_path)
    assert (tmp_path / "target").read_text() == "mine"
    assert names(tmp_path) == sorted([ours, "folder", "target"]) and names(tmp_path / "folder") == [ours]


@pytest.mark.parametrize("name", ["x" * 255, "\u00e9" * 120, "\U0001f600" * 60, "\u5b57" * 80 + ".html"], ids=len)
def test_a_name_as_long_as_a_disk_takes_can_be_written(tmp_path, name):
    files.write_text(tmp_path / name, "text")
    assert names(tmp_path) == [name]
