import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import SourceError
from pipeline.sources.json_arrays import entries, printable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def read(folder, content, **options):
    path = folder / "f.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return list(entries(path, "a", "a file of ours", **options))


def test_the_entries_of_one_array_come_in_order(tmp_path):
    assert read(tmp_path, {"b": [9], "a": [1, {"a": [2]}, [3], None, "x"], "c": {"a": [8]}}) == [
        1, {"a": [2]}, [3], None, "x",
    ]  # fmt: skip
    assert read(tmp_path, {"a": []}) == []


@pytest.mark.parametrize("content", [{}, {"b": []}, {"a": None}, {"a": {}}, {"a": 1}, [], None, [{"a": [1]}]])
def test_a_missing_array_is_an_error_unless_it_is_optional(tmp_path, content):
    with pytest.raises(SourceError, match=r"f\.json: found no array 'a'; expected a file of ours\. Download it again"):
        read(tmp_path, content)
    assert read(tmp_path, content, optional=True) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": [1, 2', b"\xff\xfe{}", b'{"a": [1]} x', b'{"a": ["\xff"]}', b"a"]
)
def test_what_is_no_json_is_an_error_that_names_the_file(tmp_path, content):
    with pytest.raises(SourceError, match=r"f\.json: found no valid JSON \(.*expected a file of ours"):
        read(tmp_path, content)


def test_half_of_a_surrogate_pair_does_not_cost_the_other_entries(tmp_path):
    content = ["a dog", "half \ud83d", "\ude00 the other half", "a pair \U0001f600", {"text": "\udc00A"}, "a cat"]
    assert b"\\ud83d" in json.dumps(content).encode()
    assert read(tmp_path, {"a": content}) == content


@given(st.lists(VALUES, max_size=5), st.dictionaries(st.text().filter(lambda k: "a" not in k), VALUES, max_size=3))
def test_it_reads_what_json_reads(tmp_path_factory, values, others):
    assert read(tmp_path_factory.getbasetemp(), {**others, "a": values}) == values


def test_what_is_not_unicode_is_made_printable():
    assert printable("a caf\u00e9 \ud83d") == "a caf\u00e9 ?"
    assert printable(None) == printable(3) == ""


@pytest.mark.parametrize(
    "content",
    [
        '{"a": [{"id": ' + "1" * 5000 + "}]}",
        '{"a": [1e999999999999]}',
        '{"a": ' + "[" * 100_000,
        '{"a": ["\\ud83d", "\\q"]}',
        '{"a": ["\\ud83d", "\\u12"]}',
    ],
    ids=["endless number", "endless exponent", "endless nesting", "unknown escape", "short escape"],
)
def test_what_parsers_die_of_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=r"file\.json"):
        list(entries(path, "a", "a file"))


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SourceError, match=r"gone\.json cannot be read"):
        list(entries(tmp_path / "gone.json", "a", "a file"))


def test_an_address_that_looks_like_a_number_is_none(tmp_path):
    content = {"a": ["http://images.example/1_6e12345678_z.jpg", "9E99999", 1.5e-3]}
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    assert [str(entry) for entry in entries(path, "a", "a file")] == [str(entry) for entry in content["a"]]
