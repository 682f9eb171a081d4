from types import SimpleNamespace

import pytest

from pipeline.artifacts.schema import SPANS
from pipeline.artifacts.tables import Table
from pipeline.spans import table
from pipeline.spans.phrases import Rules

CAPTIONS = {"mscoco-1": ["a dog and a cat", "?!"], "mscoco-2": ["a dog and a cat"]}


@pytest.fixture
def written(tmp_path):
    manifest = SimpleNamespace(keys=list(CAPTIONS), captions=list(CAPTIONS.values()))
    path = tmp_path / "spans.arrow"
    counts = table.write(Rules(), manifest, path, {"manifest": "m"}, cap=1, tokens=4)
    return Table(path, SPANS, manifest="m"), counts


def test_rows_are_in_the_order_of_the_manifest_and_count_within_a_kind(written):
    rows = [tuple(row.values()) for row in written[0].columns.to_pylist()]
    first = [
        ("phrases", 0, 0, 5),
        ("tokens", 0, 0, 1),
        ("tokens", 1, 2, 5),
        ("tokens", 2, 6, 9),
        ("tokens", 3, 10, 11),
    ]
    expected = [("mscoco-1", 0, i, kind, start, end) for kind, i, start, end in first]
    expected += [("mscoco-1", 1, 0, "phrases", 0, 2), ("mscoco-1", 1, 0, "tokens", 0, 2)]  # no phrase but itself
    expected += [("mscoco-2", 0, i, kind, start, end) for kind, i, start, end in first]
    assert rows == expected


def test_counts_are_of_all_captions(written):
    counts = written[1]
    assert (counts["captions"], counts["distinct_captions"], counts["captions_without_phrases"]) == (3, 2, 1)
    assert (counts["phrases"], counts["tokens"]) == (3, 9)
    assert counts["phrases_per_caption"] == 1
    assert counts["captions_cut"] == 2


def test_captions_with_more_tokens_than_are_read_are_said(written, capsys, tmp_path):
    manifest = SimpleNamespace(keys=["cc-1"], captions=[["a b c", "a b c d"]])
    counts = table.write(Rules(), manifest, tmp_path / "spans.arrow", {"manifest": "m"}, cap=1, tokens=3)
    assert counts["captions_cut"] == 1
    assert "1 of 2 captions have more than 3 tokens" in capsys.readouterr().err
