import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
from verifying import check, rewrite

from pipeline.artifacts.tables import Table


@pytest.fixture
def copied_with_concepts(copied, knowing):
    """The same, with concepts."""
    data, _ = copied
    given, params = knowing
    shutil.rmtree(data / "concepts")
    shutil.copytree(given / "concepts", data / "concepts")
    return data, params


def test_concepts_are_right_and_their_vectors_computed_anew_are_the_same(copied_with_concepts):
    found, faults = check(*copied_with_concepts)
    assert faults == {}
    of_tables = [f for f in found if f.artefact.startswith("concepts/") and f.artefact.endswith(".arrow")]
    tables = [f.artefact for f in of_tables if f.deviation is None]
    assert sorted(tables) == ["concepts/concepts.arrow", "concepts/labels.arrow", "concepts/language.arrow"]
    assert not any(f.absent for f in found if f.artefact.startswith("concepts/"))
    anew = {f.artefact: f for f in found if f.artefact.startswith("concepts/") and f.deviation is not None}
    assert {name: f.recomputed for name, f in anew.items()} == {
        "concepts/language.arrow": 12,
        "concepts/labels.arrow": 12,
    }
    assert all(f.deviation < 1e-3 for f in anew.values())


def changed(name, change):
    """Gives a list or vector column other rows."""

    def of(columns):
        rows = change(np.array(columns[name].to_pylist()))
        return {name: pa.array(rows.tolist(), columns[name].type)}

    return of


def row(at, value):
    def change(rows):
        rows[at] = value(rows[at])
        return rows

    return change


def other_keys(columns):
    """Row 5 and the row of the next image after it change places."""
    keys = columns["key"].to_pylist()
    at = next(i for i in range(5, len(keys)) if keys[i] != keys[5])
    keys[5], keys[at] = keys[at], keys[5]
    return {"key": pa.array(keys)}


def other_indices(columns):
    index = columns["caption_index"].to_numpy().copy()
    index[5] += 1
    return {"caption_index": pa.array(index)}


DAMAGES = {
    "a longer vector": ("language", changed("vector", row(7, lambda v: 2 * v)), "row 7 .* has length"),
    "a zero vector": ("language", changed("vector", row(7, lambda v: 0 * v)), "row 7 .* has length 0"),
    "vectors of other captions": ("language", changed("vector", lambda v: np.roll(v, 1, axis=0)), "differs by"),
    "keys of another order": ("language", other_keys, "row 5 has key"),
    "a caption twice": ("language", other_indices, "row 5 .*has caption_index"),
    "labels of another order": ("labels", other_keys, "row 5 has key"),
    "a label twice": ("labels", other_indices, "row 5 .*has caption_index"),
    "shares that sum to less": ("labels", changed("shares", row(9, lambda s: 0.9 * s)), "row 9 .*shares"),
    "no such concept": ("labels", changed("concepts", row(9, lambda c: c + 10_000)), "row 9 .*concepts .* of "),
    "a negative concept": ("labels", changed("concepts", row(9, lambda c: c - 10_000)), "row 9 .*concepts .* of "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_concepts_are_named(copied_with_concepts, damage):
    data, params = copied_with_concepts
    name, change, fault = DAMAGES[damage]
    rewrite(data / f"concepts/{name}.arrow", change)
    _, faults = check(data, params)
    labels = {"concepts/labels.arrow"} if damage == "vectors of other captions" else set()  # of which they are no more
    assert set(faults) == {f"concepts/{name}.arrow"} | labels
    assert re.search(fault, faults[f"concepts/{name}.arrow"])


def negative(shares):
    shares[0], shares[1] = shares[0] + 2, shares[1] - 2
    return shares


@pytest.mark.parametrize("wrong", [lambda s: s * np.nan, negative], ids=["not a number", "negative"])
def test_shares_that_are_none_are_named(copied_with_concepts, wrong):
    data, params = copied_with_concepts
    rewrite(data / "concepts/labels.arrow", changed("shares", row(9, wrong)))
    _, faults = check(data, params, sample=1)
    assert set(faults) == {"concepts/labels.arrow"}
    assert "row 9" in faults["concepts/labels.arrow"]


def test_a_centre_that_is_not_of_unit_length_is_named_with_its_row(copied_with_concepts):
    data, params = copied_with_concepts
    rewrite(data / "concepts/concepts.arrow", changed("centre", row(3, lambda c: 2 * c)))
    _, faults = check(data, params, sample=1)
    assert set(faults) == {"concepts/concepts.arrow"}
    assert re.search(r"row 3 .*has length 2,", faults["concepts/concepts.arrow"])


@pytest.mark.parametrize("name", ["labels", "concepts"])
def test_labels_of_other_captions_and_other_centres_are_found_by_computing_them_anew(copied_with_concepts, name):
    data, params = copied_with_concepts
    columns = ("concepts", "shares") if name == "labels" else ("centre",)
    path = data / f"concepts/{name}.arrow"
    for column in columns:
        rewrite(path, changed(column, lambda rows: np.roll(rows, 5, axis=0)))
    _, faults = check(data, params)
    assert "concepts/labels.arrow" in faults


def test_a_language_model_with_other_weights_is_named(copied_with_concepts):
    data, params = copied_with_concepts
    with pa.memory_map(str(data / "concepts/language.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
        metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        metadata["inputs"] = metadata["inputs"].replace('"weights": "', '"weights": "0')
        table = table.combine_chunks().replace_schema_metadata(metadata)
        with pa.ipc.new_file(str(data / "new"), table.schema) as writer:
            writer.write_table(table)
    shutil.move(data / "new", data / "concepts/language.arrow")
    _, faults = check(data, params)
    assert set(faults) == {"concepts/language.arrow"}
    assert "was made with 0" in faults["concepts/language.arrow"]


def test_concepts_of_another_curation_are_named(copied_with_concepts):
    data, params = copied_with_concepts
    for name in ("language", "labels", "concepts"):
        path = data / f"concepts/{name}.arrow"
        fingerprint = Table(path).metadata["manifest"].encode()
        other = fingerprint[::-1]
        path.write_bytes(path.read_bytes().replace(fingerprint, other))
    _, faults = check(data, params)
    assert set(faults) == {f"concepts/{name}.arrow" for name in ("language", "labels", "concepts")}
    assert all("manifest is" in fault for fault in faults.values())
