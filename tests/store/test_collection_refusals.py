import numpy as np
import pyarrow as pa
import pytest
from tiny_collection import BLOBS, BOXES, LISTS, VECTOR, lacking, opened, rows_of
from tiny_store import VECTORS

from pipeline.store import keys

nan, inf = np.nan, np.inf


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        (VECTORS, [[[1, 2], None]]),
        (VECTORS, [np.array([[1, 2], [nan, 2]])]),
        (VECTORS, [np.array([[1, 2], [1, -inf]])]),
        (VECTORS, [np.array([[1, 2], [1, 70_000.0]])]),
        (VECTORS, [[[1, 2], [1, nan]]]),
        (VECTORS, [pa.array([[1, 2], [1, nan]], VECTOR)]),
        (VECTORS, [np.ones((2, 3))]),
        (VECTORS, [np.ones(2)]),
        (VECTORS, [np.ones((1, 2))]),
        (VECTORS, [np.ones((3, 2))]),
        (VECTORS, []),
        (VECTORS, [np.ones((2, 2))] * 2),
        (LISTS, [[[[1, 2]], None]]),
        (LISTS, [[[[1, 2]], [None]]]),
        (LISTS, [[[[1, 2]], [[1, nan]]]]),
        (LISTS, [[[[1, 2]], [[1, 2, 3]]]]),
        (BLOBS, [[[b"a"], None]]),
        (BLOBS, [[[b"a"], [None]]]),
        (BLOBS, [[[b"a"]]]),
        (BOXES, [[[], []], [[]]]),
        (BOXES, [[[], []], [[], [nan]]]),
    ],
    ids=[
        "null", "nan", "infinite", "infinite as float16", "nan in a list", "nan in an Arrow array", "too wide",
        "no matrix", "too few", "too many", "a column too few", "a column too many", "null list of vectors",
        "null vector", "nan in a list of vectors", "vector too wide", "null list of bytes", "null bytes",
        "too few lists", "a column too short", "nan score",
    ],
)  # fmt: skip
def test_what_is_not_a_row_is_refused_and_nothing_is_written(tmp_path, values, columns):
    made = opened(tmp_path, values=values)
    with pytest.raises(ValueError), np.errstate(over="ignore"), made.writing() as writer:
        writer.add(keys.from_texts("ab"), *columns)
    assert made.missing(keys.from_texts("ab")).all()
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_is_refused_costs_none_before_it(tmp_path):
    made = opened(tmp_path)
    with pytest.raises(ValueError, match="row 1 is not finite"), made.writing() as writer:
        writer.add(keys.from_texts("a"), rows_of("a"))
        writer.add(keys.from_texts("bc"), np.array([[1, 2], [nan, 2]]))
    assert lacking(opened(tmp_path), ["a", "b", "c"]) == ["b", "c"]
