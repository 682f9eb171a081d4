"""params.yaml as no one means it: whatever stands in it, loading ends soon, with parameters or with what is wrong."""

import os
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.params import Params, ParamsError, document, load
from pipeline.params.section import LARGEST, MOST

ROOT = Path(__file__).parents[2]
VALID = (ROOT / "params.yaml").read_text()
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


def refusal(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ParamsError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 20_000
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("seed: " + "9" * 6000, "line 1: '99999999999999999999'... is no number that can be read"),
        ("seed: 0x" + "f" * 6000, "is no number that can be read"),
        ("seed: 0x_", "is no number that can be read"),
        ("a: " + "[" * 5000, "line 1: more than 20 levels"),
        ("- " * 5000, "more than 20 levels"),
        ("{a: " * 3000, "more than 20 levels"),
        (LAUGHS, "each alias taken as a copy"),
        (MERGED, "each alias taken as a copy"),
        ("a: &a [*a]", "line 1: an alias stands within what it names"),
        ("a: &a {<<: *a}", "line 1: an alias stands within what it names"),
        (VALID + "seed: 1\n", "'seed' stands there twice"),
        (VALID.replace("  max_regions: 6", "  max_regions: 6\n  max_regions: 7"), "'max_regions' stands there twice"),
        ("seed: !!python/object/apply:os.system [ls]", "line 1: a tag, 'tag:yaml.org,2002:python/object/apply:os.sys"),
        ("seed: !!binary aGk=", "a tag"),
        ("seed: !!timestamp 2020-01-01", "a tag"),
        ("? [1, 2]\n: 3", "a parameter's name is"),
        ("1: 2", "a parameter's name is '1', expected a word"),
        ("null: 2", "a parameter's name is 'null'"),
        ("true: 2", "a parameter's name is 'true'"),
        ("seed: 1\n---\nseed: 2", "line 2: another document begins"),
        ("seed: 1\0", "special characters are not allowed"),
        (b"\xff\xfes\0e\0e\0d\0", "not UTF-8"),
        ("# " + "x" * 200_000, "more than 100,000 bytes"),
        ("seed: *there", "undefined alias"),
        ("\t\tseed: 1", "cannot start any token"),
        ('a: b\nseed: "\\UFFFFFFFF"', "line 2: there is no such letter"),
        ('seed: "\\U00110000"', "line 1: there is no such letter"),
        ("%YAML 1." + "9" * 6000 + "\n--- {}", "or version"),
    ],
    ids=range(28),
)
def test_yaml_that_no_person_writes_is_refused_with_its_line(tmp_path, content, reason):
    assert reason in refusal(tmp_path, content)


@pytest.mark.parametrize(
    "number", ["017", "-017", "08", "0_1", "1:30", "190:20:30", "1:20.5", "on", "Off", "yes", "NO"]
)
def test_what_dvc_reads_as_another_value_is_refused_with_its_line(tmp_path, number):
    assert f"line 2: {number}, which may be read" in refusal(tmp_path, f"a: 1\nseed: {number}")


@pytest.mark.parametrize("text", ["0", "-1", "0x1F", "0.5", "00.5", "1_000", "TRUE", "false", "~", "'017'", '"yes"'])
def test_what_dvc_reads_as_the_same_value_is_taken(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}")
    assert document.read(path) == parse_yaml(path.read_text(), path)


def test_a_folder_or_a_device_is_no_file_of_parameters(tmp_path):
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ParamsError, match="it is no file"):
            load(path)


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / ("x" * 300)):
        with pytest.raises(ParamsError, match=r"params|loop|xxx"):
            load(path)


def test_a_date_is_a_word_and_so_a_wrong_value_of_a_number(tmp_path):
    for date in ("2020-13-45", "2020-01-01", "2001-99-99 99:99:99"):
        assert "seed: Input should be a valid integer" in refusal(
            tmp_path, VALID.replace("seed: 0", f"seed: {date}", 1)
        )


def test_anchors_aliases_and_merged_sections_still_are_yaml(tmp_path):
    path = tmp_path / "params.yaml"
    text = VALID.replace(
        "  prefer: [mscoco, flickr30k, conceptual_captions]", "  prefer: &all [mscoco, flickr30k, conceptual_captions]"
    )
    path.write_text("﻿" + text.replace("    language: 1.0\n", "    <<: {language: 2.0, text: 3.0}\n"))
    params = load(path)
    assert params.curate.duplicates.prefer == ["mscoco", "flickr30k", "conceptual_captions"]
    assert (params.student.weights.language, params.student.weights.text) == (2.0, 1.0), "its own stays"


def numbers(schema, path=()):
    """Where numbers stand in the parameters, with their bounds: every part of the JSON schema of that type."""
    if isinstance(schema, dict):
        if schema.get("type") in ("number", "integer"):
            yield path, schema
        for name, part in schema.items():
            yield from numbers(part, (*path, name))
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from numbers(part, (*path, number))


def test_every_number_has_bounds_that_every_library_takes():
    found = list(numbers(Params.model_json_schema()))
    assert len(found) > 80
    for path, schema in found:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        assert low is not None and high is not None, path
        assert -1024 <= low < high <= (MOST if schema["type"] == "integer" else LARGEST), path


def leaves(content, path=()):
    if isinstance(content, dict):
        return [leaf for name, value in content.items() for leaf in leaves(value, (*path, name))]
    return [(path, content)]


CONTENT = yaml.safe_load(VALID)
LEAVES = leaves(CONTENT)
NUMBERS = [path for path, value in LEAVES if isinstance(value, int | float) and not isinstance(value, bool)]
WORDS = [path for path, value in LEAVES if isinstance(value, str)]


def changed(paths, value):
    content = yaml.safe_load(VALID)
    for path in paths:
        section = content
        for name in path[:-1]:
            section = section[name]
        section[path[-1]] = value
    return yaml.safe_dump(content)


@pytest.mark.parametrize(
    "value", [10**30, -(10**30), 10**12, float("inf"), float("-inf"), float("nan"), "nan", ".inf", [1]]
)
def test_no_parameter_takes_a_number_that_a_stage_dies_of(tmp_path, value):
    message = refusal(tmp_path, changed(NUMBERS, value))
    assert [path for path in NUMBERS if f"  {'.'.join(path)}: " not in message] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compute.threads", 10**9), ("compute.workers", 10**9), ("compute.processes", 5000), ("regions.margin", 1e6),
        ("regions.batch", 10**8), ("regions.image_size", 32 << 20), ("compute.batch", 10**9), ("teacher.heads", 10**6),
        ("regions.crop_side", 10**6), ("student.batch", 10**9), ("seed", 2**31), ("seed", -1), ("seed", True),
    ],
)  # fmt: skip
def test_what_no_machine_has_or_needs_is_refused(tmp_path, name, value):
    assert name in refusal(tmp_path, changed([name.split(".")], value))


@pytest.mark.parametrize("word", ["", "a\0b", "a\nb", "a\x1bb", "\ud800", "x" * 300, "é" * 200, "a/" * 1000])
def test_no_parameter_takes_a_word_that_cannot_be_a_files_name(tmp_path, word):
    escaped = '"' + "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in word) + '"'
    paths = [path for path in WORDS if path[-1] != "kind" and (word or path[-1] != "sha256")]
    message = refusal(tmp_path, changed(paths, "here-it-stands").replace("here-it-stands", escaped))
    assert [path for path in paths if f"  {'.'.join(path)}: " not in message] == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([path for path, _ in LEAVES]), VALUES)
def test_any_value_of_any_parameter_is_taken_or_refused_by_name(tmp_path_factory, path, value):
    file = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}.yaml"
    file.write_text(changed([path], value))
    try:
        load(file)
    except ParamsError as error:
        assert str(error).startswith(str(file))


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="ab:-?&*!|>%@`{}[],#'\"\n\t 019.<~\\x", max_size=60))
def test_any_text_is_refused_and_never_a_traceback(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / f"text-{os.getpid()}.yaml"
    file.write_text(text)
    with pytest.raises(ParamsError):
        load(file)


def test_an_absent_file_says_what_to_do(tmp_path):
    with pytest.raises(ParamsError, match=r"does not exist; .* git checkout params"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"seed: [1", "not a YAML file"), (b"", "dictionary"), (b"[1]", "dictionary"), (b"seed: \xff\xfe", "params.yaml")],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path, content, reason):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError, match=reason):
        load(path)
