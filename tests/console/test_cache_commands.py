import os
import re
from datetime import UTC, datetime

import pytest
from tiny_cache import assert_one_error, contents, fill, flip

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
