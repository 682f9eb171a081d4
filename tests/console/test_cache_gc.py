import os
import shutil
import time

import numpy as np
import pytest
from tiny_cache import DAY, assert_one_error, bytes_of, contents, fill

from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.store import keys


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
