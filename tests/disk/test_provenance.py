import hashlib
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, Table, TableWriter
from pipeline.disk import provenance as module
from pipeline.disk.provenance import PACKAGES, packages, provenance

SCHEMA = pa.schema([("key", pa.string()), ("text", pa.string())])


def told(**other):
    """Provenance of a table, some of it other than usual."""
    facts = {
        "code": "features-1", "manifest": "m1", "model": "data/models/clip",
        "inputs": {"weights": "w1", "regions": "r1"}, "parameters": {"batch": 4, "prompts": ["a {}"]},
        "collections": ["pictures-0", "texts-1"], "dimension": 3, "normalised": True,
    }  # fmt: skip
    return provenance("features", **facts | other)


def fingerprint(**other):
    return told(**other)["fingerprint"]


# The fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"code": "features-2"}, {"manifest": "m2"}, {"manifest": ""},
        {"inputs": {"weights": "w2", "regions": "r1"}}, {"inputs": {"weights": "w1"}}, {"inputs": {}},
        {"inputs": {"weights": "w1", "spans": "r1"}}, {"inputs": {"weights": "r1", "regions": "w1"}},
        {"parameters": {"batch": 5, "prompts": ["a {}"]}}, {"parameters": {"batch": "4", "prompts": ["a {}"]}},
        {"parameters": {"batch": 4, "prompts": []}}, {"parameters": {"batch": 4, "prompts": ["a {}"], "seed": None}},
        {"code": "m1", "manifest": "features-1"},
    ],
    ids=str,
)  # fmt: skip
def test_a_fingerprint_changes_with_code_manifest_inputs_and_parameters(other):
    assert fingerprint(**other) != fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        {"collections": []}, {"collections": ["crops-2"]}, {"model": "another folder"}, {"device": "cuda"},
        {"normalised": False}, {"inputs": {"regions": "r1", "weights": "w1"}},
        {"parameters": {"prompts": ["a {}"], "batch": 4}},
    ],
    ids=str,
)  # fmt: skip
def test_a_fingerprint_does_not_change_with_what_changes_no_result_nor_with_the_order_of_names(other):
    assert fingerprint(**other) == fingerprint()


def test_a_fingerprint_does_not_change_with_versions_of_packages(monkeypatch):
    before = told()
    monkeypatch.setattr(module, "packages", lambda: {"python": "4.0", "torch": "99"})
    after = told()
    assert after["packages"] == {"python": "4.0", "torch": "99"} != before["packages"]
    assert after["fingerprint"] == before["fingerprint"]


def test_a_fingerprint_is_the_hash_of_code_manifest_inputs_and_parameters_as_it_stands_in_tables_on_disks():
    of = (
        '{"code": "features-1", "inputs": {"regions": "r1", "weights": "w1"}, "manifest": "m1", '
        '"parameters": {"batch": 4, "prompts": ["a {}"]}}'
    )
    assert fingerprint() == hashlib.sha256(of.encode()).hexdigest()[:32]


def test_versions_are_those_of_the_packages_that_are_imported():
    found = packages()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (found["numpy"], found["pyarrow"]) == (np.__version__, pa.__version__)
    faiss = {"faiss-cpu", "faiss-gpu"}
    assert set(found) - faiss == {"python", *PACKAGES} - faiss
    assert len(set(found) & faiss) == 1


def test_what_was_given_is_not_changed_when_it_changes_later():
    inputs, parameters, collections = {"weights": "w1"}, {"batch": 4}, ["pictures-0"]
    found = told(inputs=inputs, parameters=parameters, collections=collections)
    inputs["weights"], parameters["batch"] = "w2", 5
    collections.clear()
    assert (found["inputs"], found["parameters"]) == ({"weights": "w1"}, {"batch": 4})
    assert found["collections"] == ["pictures-0"]


# In a table


@pytest.fixture(params=["vectors", "rows"])
def table(request, tmp_path):
    """A table of two rows whose metadata is its provenance, by either writer."""
    path = tmp_path / "features/table.arrow"
    if request.param == "vectors":
        with EmbeddingWriter(path, embeddings(dimension=3), told()) as writer:
            writer.write(["a", "b"], np.eye(2, 3))
    else:
        with TableWriter(path, SCHEMA, told()) as writer:
            writer.write({"key": ["a", "b"], "text": ["one", "two"]})
    return Table(path)


def test_all_of_it_is_in_the_tables_metadata(table):
    found = told()
    assert set(table.metadata) == {*found, "rows"}
    for name in ("inputs", "parameters", "packages", "collections"):
        assert table.json(name) == found[name]
    for name in ("kind", "code", "manifest", "model", "fingerprint", "dimension", "normalised"):
        assert table.metadata[name] == str(found[name])
    assert table.metadata["rows"] == "2"


def test_a_name_that_is_not_there_is_an_error_that_says_how_to_get_it(table):
    with pytest.raises(ContractError, match=r"does not say its collection.*dvc repro -sf features"):
        table.json("collection")


def test_a_reader_that_expects_another_origin_says_both(table):
    with pytest.raises(
        ContractError, match=rf"fingerprint is '{fingerprint()}', expected 'another'.* dvc repro features"
    ):
        Table(table.path, fingerprint="another")
    assert len(Table(table.path, fingerprint=fingerprint(), manifest="m1", normalised=True)) == 2


def test_equal_provenance_is_equal_bytes_in_whatever_order_it_was_given(tmp_path):
    other = {"inputs": {"regions": "r1", "weights": "w1"}, "parameters": {"prompts": ["a {}"], "batch": 4}}
    for name, metadata in (("one", told()), ("other", told(**other))):
        with EmbeddingWriter(tmp_path / name, embeddings(dimension=3), metadata) as writer:
            writer.write(["a", "b"], np.eye(2, 3))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
