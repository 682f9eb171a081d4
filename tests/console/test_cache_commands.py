import os
import re
import shutil
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from console import main as dclip
from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.store import keys
from pipeline.store.collection import Collection

DAY = 86_400


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """A disk that others share flushes slowly, and no machine dies here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """DCLIP_HOME."""
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cache(home, monkeypatch, capsys):
    """Runs `dclip cache` and gives its exit code, output and errors."""

    def execute(*arguments):
        monkeypatch.setattr("sys.argv", ["dclip", "cache", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            dclip.main()
        return ended.value.code or 0, *capsys.readouterr()

    return execute


def fill(home, *texts, name="pictures", weights="w"):
    """Add one segment; give the collection's folder."""
    schema = pa.schema([("vector", pa.list_(pa.float16(), 2))])
    made = Collection(home / "store", name, {"weights": weights, "batch": 4}, schema)
    with made.writing() as writer:
        writer.add(keys.from_texts(texts), np.ones((len(texts), 2)))
    return made.folder


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template")
    fill(root, "a", "b")
    return root, fill(root, "c").name, fill(root, *map(str, range(1234)), name="texts").name


@pytest.fixture
def two(template, home):
    """Images of two segments that were last used 10 days ago, and texts of one that were used now."""
    root, pictures, texts = template
    store = shutil.copytree(root, home, dirs_exist_ok=True) / "store"
    used(store / pictures, days=10)
    return store / pictures, store / texts


def used(folder, days):
    os.utime(folder / "collection.json", (time.time() - days * DAY,) * 2)


def flip(folder):
    """Change one bit of a collection's first segment; give its path."""
    path = min(folder.glob("*.arrow"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def bytes_of(folder):
    return sum(map(len, contents(folder).values()))


def assert_one_error(result, *parts):
    code, _, err = result
    assert code == 1
    (told,) = [line for line in err.splitlines() if line.startswith("dclip: ")]
    assert "Traceback" not in err
    for part in parts:
        assert part in told


# stats


def test_stats_show_every_collection_with_what_it_was_computed_with(cache, two):
    code, out, _ = cache("stats")
    assert code == 0
    rows = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    pictures, texts = (folder.name[: folder.name.index("-") + 9] for folder in two)
    day = datetime.fromtimestamp((two[0] / "collection.json").stat().st_mtime, UTC).strftime("%Y-%m-%d")
    (row,) = [row for row in rows if row.startswith(pictures)]
    assert row.startswith(f"{pictures} 3 2 ") and f"kB {day} " in row
    assert "weights w" in row and "batch 4" in row
    (row,) = [row for row in rows if row.startswith(texts)]
    assert row.startswith(f"{texts} 1,234 1 ")
    assert re.fullmatch(r"\d+(\.\d+)?kB in 2 collections", rows[-1])


def test_stats_of_a_store_that_does_not_exist_yet_are_nothing(cache, home):
    code, out, _ = cache("stats")
    assert code == 0
    assert "0.00B in 0 collections" in out
    assert not home.exists()


def test_stats_count_segments_that_were_set_aside(cache, two):
    path = flip(two[0])
    path.rename(path.with_suffix(".damaged"))
    assert "1 (1 damaged)" in cache("stats")[1]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_stats_of_a_store_with_a_damaged_description_show_it_and_the_others(cache, two, content):
    (two[0] / "collection.json").write_text(content)
    code, out, _ = cache("stats")
    assert code == 0
    assert "1,234" in out and "in 2 collections" in out


def test_brackets_in_a_value_are_shown_as_written(cache, home):
    fill(home, "a", weights="[/red]")
    code, out, _ = cache("stats")
    assert code == 0
    assert "weights [/red]" in out


def test_brackets_in_the_stores_path_are_shown_as_written(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "[team]"))
    fill(tmp_path / "[team]", "a")
    code, out, _ = cache("stats")
    assert code == 0
    assert "[team]" in out


# verify


def test_verify_of_a_sound_store_says_so(cache, home, two):
    code, out, _ = cache("verify")
    assert code == 0
    assert out == f"{home / 'store'}: every segment has the bytes that its name stands for\n"


def test_verify_names_every_damaged_file_and_what_to_do(cache, home, two):
    broken = [flip(folder) for folder in two]
    result = cache("verify")
    assert_one_error(result, f"2 files of {home / 'store'} are damaged", "dclip cache pull")
    lines = result[1].splitlines()
    assert len(lines) == 2
    for line, path in zip(lines, broken, strict=True):
        assert line.startswith(f"{path}: ") and "expected its name" in line
    assert cache("verify")[1] == result[1], "nothing was changed"


@pytest.mark.parametrize("content", ["{", "[]", None])
def test_verify_names_a_damaged_description(cache, two, content):
    path = two[0] / "collection.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    result = cache("verify")
    assert_one_error(result, "1 files of")
    assert result[1].startswith(f"{path}: it cannot be read")


def test_verify_reads_only_what_was_asked_for(cache, two):
    path = flip(two[0])
    assert cache("verify", "--only", "texts")[0] == 0
    code, out, _ = cache("verify", "--only", "texts", "--only", two[0].name)
    assert (code, out.count(path.name)) == (1, 2)


def test_verify_of_an_unknown_collection_lists_what_is_there(cache, two):
    assert_one_error(cache("verify", "--only", "crops"), "no collection crops", two[0].name, two[1].name)


# push and pull


def test_what_was_pushed_is_pulled_into_another_home_and_then_nothing(cache, home, two, tmp_path, monkeypatch):
    remote = tmp_path / "remote"
    code, out, _ = cache("push", remote)
    assert code == 0
    assert re.fullmatch(r"5 files \([\d.]+kB\) sent, 0 were there already\n", out)
    assert cache("push", remote)[1] == "0 files (0.00B) sent, 5 were there already\n"
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "other"))
    code, out, _ = cache("pull", remote)
    assert code == 0
    assert re.fullmatch(r"5 files \([\d.]+kB\) fetched, 0 were there already\n", out)
    assert cache("pull", remote)[1] == "0 files (0.00B) fetched, 5 were there already\n"
    assert contents(tmp_path / "other/store") == contents(home / "store") == contents(remote)


def test_only_what_was_asked_for_is_pushed_and_pulled(cache, two, tmp_path, monkeypatch):
    assert cache("push", tmp_path / "remote", "--only", "texts")[1].startswith("2 files")
    cache("push", tmp_path / "remote")
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "other"))
    assert cache("pull", tmp_path / "remote", "--only", two[0].name[:12])[1].startswith("3 files")
    assert [p.name for p in (tmp_path / "other/store").iterdir()] == [two[0].name]


def test_a_damaged_segment_is_an_error_after_the_others_were_pushed(cache, two, tmp_path):
    path = flip(two[1])
    result = cache("push", tmp_path / "remote")
    assert_one_error(result, "1 damaged files were not sent", str(tmp_path / "remote"), f"{two[1].name}/{path.name}")
    assert result[1].startswith("4 files")


def test_a_damaged_segment_is_an_error_after_the_others_were_pulled(cache, two, tmp_path, monkeypatch):
    cache("push", tmp_path / "remote")
    path = flip(tmp_path / "remote" / two[1].name)
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "other"))
    result = cache("pull", tmp_path / "remote")
    assert_one_error(result, "1 damaged files were not fetched", f"{two[1].name}/{path.name}")
    assert result[1].startswith("4 files")


def test_a_pull_from_where_nothing_is_says_what_to_run(cache, tmp_path):
    remote = tmp_path / "remote"
    assert_one_error(cache("pull", remote), f"{remote} holds no feature store; one member runs: dclip cache push")


@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_remote_that_cannot_be_used_is_one_clear_error(cache, two, command):
    assert_one_error(cache(command, "nope://there"), "nope://there", "expected a folder")


def test_what_is_damaged_is_removed_and_pulled_again_as_verify_says(cache, home, two, tmp_path):
    cache("push", tmp_path / "remote")
    expected = contents(home / "store")
    flip(two[0])
    (two[1] / "collection.json").write_text("{")
    for line in cache("verify")[1].splitlines():
        os.unlink(line.partition(": ")[0])
    assert cache("pull", tmp_path / "remote")[1].startswith("2 files")
    assert cache("verify")[0] == 0
    assert contents(home / "store") == expected


# compact


def test_compact_puts_segments_together_and_gc_removes_what_they_were(cache, home, two):
    code, out, _ = cache("compact")
    assert code == 0
    assert re.fullmatch(
        rf"{two[0].name}: 2 segments, now 1\n{two[1].name}: 1 segments, now 1\n"
        r"[\d.]+kB set aside; to remove them: dclip cache gc --yes\n",
        out,
    )
    assert cache("compact", "--only", "texts")[1] == f"{two[1].name}: 1 segments, now 1\n0.00B set aside\n"
    assert cache("verify")[0] == 0
    before = {path for path in contents(home) if path.endswith(".replaced")}
    assert len(before) == 2
    assert cache("gc", "--yes")[1].count("a larger segment holds its rows") == 2
    assert not {path for path in contents(home) if path.endswith(".replaced")}


def test_compact_where_nothing_may_be_written_says_what_to_do(cache, two, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    assert_one_error(cache("compact"), str(two[0]), "Permission denied", "DCLIP_HOME", "Every row is still there")


# gc


def test_gc_of_a_tidy_store_or_none_removes_nothing(cache, home, two):
    before = contents(home)
    assert cache("gc", "--yes") == (0, "0.00B removed\n", "")
    assert contents(home) == before
    shutil.rmtree(home)
    assert cache("gc") == (0, "0.00B could go\n", "")


def test_gc_lists_and_removes_only_with_yes(cache, home, two):
    before, size = contents(home), bytes_of(two[0])
    told = f"{two[0].name}  {size / 1000:.2f}kB  last used 10 days ago\n{size / 1000:.2f}kB "
    code, out, _ = cache("gc", "--older-than", 9)
    assert (code, out) == (0, f"{told}could go; add --yes to remove them\n")
    assert contents(home) == before
    assert cache("gc", "--older-than", 9, "--yes") == (0, f"{told}removed\n", "")
    assert contents(home) == {path: content for path, content in before.items() if two[0].name not in path}


def test_gc_removes_what_is_damaged_and_what_killed_writers_left(cache, home, two):
    before = contents(home)
    names = (".old.part", ".new.part", f"{'0' * 64}.damaged")
    for name in names:
        (two[0] / name).write_bytes(bytes(10))
    os.utime(two[0] / ".old.part", (time.time() - 2 * DAY,) * 2)
    code, out, _ = cache("gc", "--yes")
    assert code == 0
    assert ".old.part  10.0B  a killed writer left it" in out and ".damaged  10.0B  it is damaged" in out
    assert "20.0B removed" in out
    assert contents(home) == before | {f"store/{two[0].name}/.new.part": bytes(10)}


def test_gc_removes_checkpoints_and_pixels_that_were_set_aside(cache, home, two):
    before = contents(home)
    for name in ("runs/f/student.damaged", "runs/f/student.pt", "pixels/p.damaged", "pixels/p.npy"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(bytes(10))
    code, out, _ = cache("gc", "--yes")
    assert (code, out.count("it is damaged")) == (0, 2)
    assert "../runs/f/student.damaged  10.0B" in out
    assert contents(home).keys() - before.keys() == {"runs/f/student.pt", "pixels/p.npy"}


def test_gc_makes_a_store_as_small_as_asked_for(cache, two):
    total = bytes_of(two[0]) + bytes_of(two[1])
    assert cache("gc", "--max-size", total / 1e9) == (0, "0.00B could go\n", "")
    code, out, _ = cache("gc", "--max-size", (total - 1) / 1e9, "--yes")
    assert (code, out.count("least recently used")) == (0, 1)
    assert (two[0].exists(), two[1].exists()) == (False, True)
    cache("gc", "--max-size", 0, "--yes")
    assert not two[1].exists()


def table(data, *collections):
    """A table that was made from some collections."""
    for name in ("regions/regions.arrow", "features/regions.arrow", "features/captions.arrow"):
        if not (data / name).is_file():
            with EmbeddingWriter(data / name, embeddings(dimension=2), {"collections": []}):
                pass
    with EmbeddingWriter(
        data / "features/images.arrow", embeddings(dimension=2), {"collections": list(collections)}
    ) as rows:
        rows.write(["a"], np.ones((1, 2)))


def test_gc_removes_collections_that_no_table_was_made_from(cache, two, tmp_path):
    table(tmp_path / "data", two[1].name, "crops-of-another-machine")
    code, out, _ = cache("gc", "--unused", "--data", tmp_path / "data", "--yes")
    assert code == 0
    assert out.startswith(f"{two[0].name}  ") and "no table here was made from it" in out
    assert (two[0].exists(), two[1].exists()) == (False, True)


def test_gc_keeps_whatever_any_table_of_any_stage_was_made_from(cache, two, tmp_path):
    table(tmp_path / "data", two[0].name)
    table(tmp_path / "data/one/deeper", two[1].name)
    assert cache("gc", "--unused", "--data", tmp_path / "data") == (0, "0.00B could go\n", "")


@pytest.mark.parametrize("kind", ["no folder", "no table", "a table that cannot be read"])
def test_gc_removes_nothing_where_no_table_tells_what_is_in_use(cache, home, two, tmp_path, kind):
    data, before = tmp_path / "data", contents(home)
    if kind != "no folder":
        (data / "features").mkdir(parents=True)
    if kind == "a table that cannot be read":
        table(data, two[1].name)
        (data / "features/another.arrow").write_bytes(b"ARROW1")
    result = cache("gc", "--unused", "--data", data, "--yes")
    assert_one_error(result, str(data))
    assert contents(home) == before


def test_gc_says_a_thing_once_whatever_rules_it_falls_under(cache, home, two, tmp_path):
    table(tmp_path / "data", two[1].name)
    (two[0] / f"{'0' * 64}.damaged").write_bytes(bytes(10))
    options = ("--older-than", 1, "--unused", "--data", tmp_path / "data", "--max-size", 0)
    out = cache("gc", *options)[1]
    assert [line.partition("  ")[0] for line in out.splitlines()[:-1]] == [folder.name for folder in two]
    assert out.endswith(f"{bytes_of(home) / 1000:.1f}kB could go; add --yes to remove them\n")


@pytest.mark.parametrize("option", ["--older-than", "--max-size"])
@pytest.mark.parametrize("value", [-1, "many"])
def test_gc_refuses_what_is_no_amount(cache, two, option, value):
    code, _, err = cache("gc", option, value, "--yes")
    assert code == 2
    assert option in err
    assert two[0].exists() and two[1].exists()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_gc_to_an_endless_size_or_none_that_is_a_number_removes_nothing(cache, two, value):
    cache("gc", "--max-size", value, "--yes")
    assert two[0].exists() and two[1].exists()


def test_rows_are_forgotten_by_their_keys_and_a_collection_as_a_whole(home, cache):
    folder = fill(home, "a", "b")
    key = keys.from_bytes(b"a").hex()
    assert cache("forget", folder.name[:17], key)[:2] == (0, "1 rows forgotten\n")
    assert cache("forget", folder.name[:17], key)[:2] == (0, "0 rows forgotten\n")
    assert cache("forget", folder.name[:17])[:2] == (0, "1 rows forgotten\n")
    assert not folder.exists()


@pytest.mark.parametrize("given", [["pictures", "a"], ["pictures", "g" * 32], ["nothing"], ["pictures", "../x"]])
def test_what_is_no_key_or_no_collection_is_not_forgotten(home, cache, given):
    folder = fill(home, "a", "b")
    code, _, err = cache("forget", *given)
    assert code == 1 and err.startswith("dclip: ") and "Traceback" not in err
    assert len(list(folder.glob("*.arrow"))) == 1
