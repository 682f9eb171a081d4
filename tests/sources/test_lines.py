import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import SourceError
from pipeline.sources.lines import form, lines


def read(folder, data):
    (folder / "f").write_bytes(data)
    return list(lines(folder / "f"))


def test_lines_end_at_newlines_alone(tmp_path):
    data = "a\x0bb\x0cc\x1cd\x85e\u2028f\rg\r\n\nlast".encode()
    assert read(tmp_path, data) == [(1, "a\x0bb\x0cc\x1cd\x85e\u2028f\rg".encode()), (2, b""), (3, b"last")]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n") == [(1, b"a"), (2, b"\xef\xbb\xbfb")]


@given(st.binary().filter(lambda b: b"\r" not in b and not b.startswith(b"\xef\xbb\xbf")))
def test_no_byte_is_lost(tmp_path_factory, data):
    found = [line for _, line in read(tmp_path_factory.getbasetemp(), data)]
    assert b"\n".join(found) == data.removesuffix(b"\n")


@pytest.mark.parametrize("read_pipe", [form, lambda path: list(lines(path))])
def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch, read_pipe):
    os.mkfifo(tmp_path / "a.tsv")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was opened, which waits for a writer"))
    with pytest.raises(SourceError, match=r"a\.tsv is a pipe or a device; expected a text file"):
        read_pipe(tmp_path / "a.tsv")
