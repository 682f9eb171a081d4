import re
import sys

import pytest

from pipeline.machine import progress
from pipeline.machine.progress import track


def test_items_come_through_in_order_and_the_last_line_counts_them(capsys):
    assert list(track(["a", "b", "c"], "read", unit="rows")) == ["a", "b", "c"]
    assert re.fullmatch(r"read: 3 rows in \d+\.\d s \([\d,.]+ rows/s\)\n", capsys.readouterr().err)


def test_nothing_goes_to_standard_output(capsys):
    list(track(range(3), "read"))
    assert capsys.readouterr().out == ""


def test_an_error_passes_through_and_says_how_far_it_was(capsys):
    def source():
        yield from range(2)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(track(source(), "read", unit="rows"))
    assert capsys.readouterr().err.startswith("read: 2 rows in")


def test_plain_lines_show_the_share_done_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0)
    list(track(iter("abcd"), "read", total=4, unit="rows"))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert re.match(r"read: +25%.* 1/4 \[\d\d:\d\d<\d\d:\d\d", first)
    assert last.startswith("read: 4 rows")


def test_lines_do_not_come_faster_than_the_interval(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", float("inf"))
    list(track(range(1000), "read"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_terminal_gets_a_bar_of_the_known_length(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track(["a", "b"], "read")) == ["a", "b"]
    shown = capsys.readouterr().err
    assert "\rread" in shown
    assert "2/2" in shown
