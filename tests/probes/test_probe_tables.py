import csv
from dataclasses import replace

import numpy as np
import pytest
from tiny_probes import ATTRIBUTES, NAMES, TEST, attribute_set, language, model, task

from pipeline.artifacts import figures
from pipeline.probes import tables
from pipeline.probes.measure import probe

COLUMNS = {
    "attributes": ["attribute", "group", "pictures", "base", "student"],
    "words": ["word", "captions", "base", "student", "language"],
    "concepts": ["concept", "captions", "base", "student"],
}


@pytest.fixture(scope="module")
def asked():
    return task()


@pytest.fixture(scope="module")
def found(asked):
    return {
        "base": probe(model(1.5), asked),
        "student": probe(model(0.8), asked),
        "language": probe(language(0.3), asked),
    }


@pytest.fixture(scope="module")
def written(found, asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    tables.write(folder, found, asked)
    return {name: read(folder, name) for name in COLUMNS} | {"folder": folder}


def read(folder, name):
    return figures.read(folder, f"{name}.csv")


def columns_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return next(csv.reader(stream))


def column(rows, name):
    return [row[name] for row in rows]


def shown(values):
    return [f"{value:.4f}" for value in values]


def test_there_are_three_tables_with_their_columns(written):
    folder = written["folder"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.csv" for name in COLUMNS)
    assert {name: columns_of(folder / f"{name}.csv") for name in COLUMNS} == COLUMNS


def test_every_attribute_has_its_group_its_test_pictures_and_its_areas(written, found):
    rows = written["attributes"]
    assert column(rows, "attribute") == ["a0", "a1", "a2"]
    assert column(rows, "group") == ["shape", "colour", "shape"]
    assert column(rows, "pictures") == ["12"] * 3  # of 24 test images
    for name in ("base", "student"):
        assert column(rows, name) == shown(found[name].attributes)


def test_every_word_has_its_test_captions_and_its_areas(written, found):
    rows = written["words"]
    assert column(rows, "word") == NAMES
    assert column(rows, "captions") == [str(n) for n in TEST.sum(axis=0)] == ["5", "5", "6"]
    for name in ("base", "student", "language"):
        assert column(rows, name) == shown(found[name].words)


def test_every_concept_of_a_test_caption_has_its_captions_and_the_share_of_their_pictures(written, found, asked):
    rows = written["concepts"]
    assert column(rows, "concept") == ["0", "1", "2"]
    assert column(rows, "captions") == ["6", "3", "2"]
    for name in ("base", "student"):
        hits = found[name].parts["concepts"]["image"]
        assert column(rows, name) == shown(hits[asked.labels.captions == k].mean() for k in range(3))


def test_concepts_weighed_by_their_captions_are_the_figure_of_all(written, found):
    counts = np.array(column(written["concepts"], "captions"), dtype=int)
    shares = np.array(column(written["concepts"], "student"), dtype=float)
    assert counts @ shares / counts.sum() == pytest.approx(found["student"].parts["concepts"]["image"].mean(), abs=1e-4)


def test_a_concept_of_no_test_caption_has_no_row(found, asked, tmp_path):
    of_test = np.where(asked.labels.captions == 1, 4, asked.labels.captions)
    more = replace(asked, labels=replace(asked.labels, captions=of_test, count=6))
    tables.write(tmp_path, found, more)
    assert column(read(tmp_path, "concepts"), "concept") == ["0", "2", "4"]


def test_an_attribute_that_cannot_be_measured_has_no_row_and_leaves_the_others_theirs(found, asked, tmp_path, written):
    labels = np.insert(ATTRIBUTES.labels, 1, ATTRIBUTES.training, axis=1)
    more = attribute_set(labels, ATTRIBUTES.training, ["shape", "rare", "colour", "shape"])
    tables.write(tmp_path, found, replace(asked, attributes=more))
    rows = read(tmp_path, "attributes")
    assert column(rows, "attribute") == ["a0", "a2", "a3"]
    for name in ("group", "pictures", "base", "student"):
        assert column(rows, name) == column(written["attributes"], name)


def test_without_concepts_there_is_no_concept_and_no_language_model(tmp_path):
    asked = task(concepts=False)
    tables.write(tmp_path, {"base": probe(model(1.5), asked), "student": probe(model(0.8), asked)}, asked)
    assert {name: columns_of(tmp_path / f"{name}.csv") for name in COLUMNS} == COLUMNS
    assert read(tmp_path, "concepts") == []
    rows = read(tmp_path, "words")
    assert column(rows, "word") == NAMES
    assert not any(column(rows, "language"))


def test_other_models_have_no_column(found, asked, tmp_path, written):
    tables.write(tmp_path, {**found, "end_point": found["base"]}, asked)
    for name in COLUMNS:
        assert (tmp_path / f"{name}.csv").read_bytes() == (written["folder"] / f"{name}.csv").read_bytes()


@pytest.mark.parametrize("name", ["has shape::round, or nearly", 'a "bird"', "two\nlines", "Farbe::grün", "=1+1"])
def test_names_are_read_as_they_were_written(found, asked, tmp_path, name):
    named = replace(asked, attributes=replace(ATTRIBUTES, names=["a0", name, "a2"], groups=["g", name, "g"]))
    tables.write(tmp_path, found, named)
    rows = read(tmp_path, "attributes")
    assert column(rows, "attribute") == ["a0", name, "a2"]
    assert column(rows, "group") == ["g", name, "g"]


def test_empty_tables_have_their_columns_and_no_row(tmp_path):
    tables.write_empty(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.csv" for name in COLUMNS)
    for name, columns in COLUMNS.items():
        assert columns_of(tmp_path / f"{name}.csv") == columns
        assert read(tmp_path, name) == []


def test_written_again_the_bytes_are_the_same(found, asked, tmp_path, written):
    tables.write_empty(tmp_path)
    tables.write(tmp_path, found, asked)
    for name in COLUMNS:
        assert (tmp_path / f"{name}.csv").read_bytes() == (written["folder"] / f"{name}.csv").read_bytes()
