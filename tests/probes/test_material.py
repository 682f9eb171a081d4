import shutil
from dataclasses import replace

import numpy as np
import pytest
from tiny_manifest import write_manifest
from tiny_models import unit_rows
from tiny_probes import ATTRIBUTES

from pipeline.artifacts.catalog import EMBEDDED
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import LABELS, Split, embeddings
from pipeline.artifacts.schema import concepts as concepts_schema
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, TableWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.concepts import tables
from pipeline.probes.drawn import drawn
from pipeline.probes.material import Material
from pipeline.probes.measure import Embedded, Task, probe

SAMPLES = {
    Split.TRAIN: {"a": ["a cat", "a red cat"], "b": ["a dog"], "c": ["a cat", "sky", "blue moon"], "d": ["a star"]},
    Split.VAL: {"e": ["a cat", "two cats"]},
    Split.TEST: {"f": ["a cat", "red"], "g": ["a dog"], "h": ["moon", "blue star", "a red dog"], "i": ["stars"]},
}
EVERY = [text for own in SAMPLES[Split.TRAIN].values() for text in own]
OF_TEST = [text for own in SAMPLES[Split.TEST].values() for text in own]
CAPTIONS = [(key, i, text) for own in SAMPLES.values() for key, texts in own.items() for i, text in enumerate(texts)]
K = 5


def numbered(count, first):
    """Vectors that tell their row: number and number + 1/2."""
    rows = np.arange(first, first + count, dtype=np.float16)[:, None]
    return np.concatenate([rows, rows + np.float16(0.5)], axis=1)


def place(caption_row):
    """Concept and share of a caption, by its row among all."""
    return [caption_row % K, (caption_row + 1) % K], [0.5 + caption_row / 100, 0.5 - caption_row / 100]


def write_tables(data, metadata, of_concepts):
    """What the stages features and concepts leave; the number in a vector is the row of its caption or image."""
    keys = [key for key, _, _ in CAPTIONS]
    index = [i for _, i, _ in CAPTIONS]
    with EmbeddingWriter(
        data / "features/captions.arrow", embeddings("caption_index", dimension=2), metadata
    ) as writer:
        writer.write(keys, index, numbered(len(CAPTIONS), 0))
    with EmbeddingWriter(data / "features/images.arrow", embeddings(dimension=2), metadata) as writer:
        writer.write(list("abcdefghi"), numbered(9, 200))
    with EmbeddingWriter(
        data / "concepts/language.arrow", embeddings("caption_index", dimension=2), of_concepts
    ) as writer:
        writer.write(keys, index, numbered(len(CAPTIONS), 100))
    with TableWriter(data / "concepts/labels.arrow", LABELS, of_concepts) as writer:
        concepts, shares = zip(*(place(row) for row in range(len(CAPTIONS))), strict=True)
        writer.write({"key": keys, "caption_index": index, "concepts": concepts, "shares": shares})
    with TableWriter(data / "concepts/concepts.arrow", concepts_schema(2), of_concepts) as writer:
        writer.write({
            "concept": range(K), "size": [1] * K, "words": [["w"]] * K, "captions": [["c"]] * K,
            "centre": [[1.0, 0.0]] * K,
        })  # fmt: skip


def write_embedded(data, manifest, most=100, seed=1, base="base"):
    """What the stage embed leaves, of a student whose numbers are those of the base and 300 more."""
    origin = {"manifest": manifest, "base": base}
    of_test = [row for row, (key, _, _) in enumerate(CAPTIONS) if key in SAMPLES[Split.TEST]]
    rows = {"captions": of_test, "training_captions": drawn(len(EVERY), most, seed)}
    for what, some in rows.items():
        path = data / EMBEDDED["student", what].path
        with EmbeddingWriter(path, embeddings("caption_index", dimension=2), origin) as writer:
            keys, index, _ = zip(*(CAPTIONS[row] for row in some), strict=True)
            writer.write(keys, index, numbered(len(CAPTIONS), 300)[some])
    with EmbeddingWriter(data / EMBEDDED["student", "images"].path, embeddings(dimension=2), origin) as writer:
        writer.write(list("fghi"), numbered(4, 505))
    for model, first in (("base", 600), ("student", 900)):
        path = data / EMBEDDED[model, "attribute_images"].path
        with EmbeddingWriter(path, embeddings(dimension=2), origin | {"manifest": "", "weights": model}) as writer:
            writer.write([f"images/{i}.jpg" for i in range(3)], numbered(3, first))


@pytest.fixture
def data(tmp_path):
    manifest = write_manifest(tmp_path / "curate", SAMPLES)
    origin = {"manifest": manifest.fingerprint}
    write_tables(tmp_path, {**origin, "weights": "base"}, origin)
    write_embedded(tmp_path, manifest.fingerprint)
    return tmp_path


@pytest.fixture
def opened(data):
    def opened(most=100, seed=1):
        return Material(Workspace(data), most=most, seed=seed)

    return opened


def rows_of(embeddings, first=0):
    """Which captions or images vectors are of."""
    assert embeddings.dtype == np.float32
    assert np.array_equal(embeddings[:, 1], embeddings[:, 0] + 0.5)
    return (embeddings[:, 0] - first).astype(int).tolist()


# Captions


def test_of_few_training_captions_there_are_all_and_of_test_captions_always(opened):
    material = opened()
    assert material.training == EVERY
    assert material.test == OF_TEST
    assert material.owner.tolist() == [0, 0, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("most", [1, 3, 6, 7, 8])
def test_so_many_training_captions_are_drawn_and_none_twice(opened, most):
    material = opened(most=most)
    drawn = rows_of(material.captions("base")[0])
    assert len(drawn) == len(material.training) == min(most, 7)
    assert sorted(set(drawn)) == drawn
    assert len(material.test) == 7


def test_draws_are_seeded(opened):
    draws = {seed: rows_of(opened(most=3, seed=seed).captions("base")[0]) for seed in range(12)}
    assert all(rows_of(opened(most=3, seed=seed).captions("base")[0]) == drawn for seed, drawn in draws.items())
    assert len({tuple(drawn) for drawn in draws.values()}) > 3
    assert {row for drawn in draws.values() for row in drawn} == set(range(7))


@pytest.mark.parametrize("seed", range(4))
def test_texts_vectors_and_labels_are_of_the_same_captions(opened, seed):
    material = opened(most=4, seed=seed)
    texts = [text for _, _, text in CAPTIONS]
    drawn = rows_of(material.captions("base")[0])
    assert material.training == [texts[row] for row in drawn]
    assert rows_of(material.language()[0], 100) == drawn
    labels = material.labels()
    assert labels.training.tolist() == [place(row)[0] for row in drawn]
    np.testing.assert_allclose(labels.shares, [place(row)[1] for row in drawn], rtol=1e-6)


def test_test_captions_are_those_after_the_validation_captions(opened):
    material = opened(most=2)
    wanted = list(range(9, 16))
    assert [CAPTIONS[row][2] for row in wanted] == material.test
    assert rows_of(material.captions("base")[1]) == rows_of(material.language()[1], 100) == wanted
    labels = material.labels()
    assert labels.captions.tolist() == [row % K for row in wanted]
    assert labels.count == K


@pytest.mark.parametrize(("most", "seed"), [(100, 1), (3, 1), (3, 2)])
def test_a_students_captions_are_those_of_the_base(opened, data, most, seed):
    write_embedded(data, Manifest(data / "curate").fingerprint, most=most, seed=seed)
    material = opened(most=most, seed=seed)
    for of_base, of_student in zip(material.captions("base"), material.captions("student"), strict=True):
        assert rows_of(of_student, 300) == rows_of(of_base)


@pytest.mark.parametrize(("most", "seed"), [(4, 1), (3, 2)])
def test_captions_that_were_drawn_otherwise_are_refused(opened, data, most, seed):
    write_embedded(data, Manifest(data / "curate").fingerprint, most=3, seed=1)
    with pytest.raises(ContractError, match="holds other captions than the probes draw; run: dvc repro embed"):
        opened(most=most, seed=seed).captions("student")


def test_words_and_near_misses_are_of_these_captions(opened):
    material = opened()
    words = material.words(2)
    assert words.names == ["cat", "blue"]  # `blue` is the first of those that stand once
    assert words.training.T.tolist() == [["cat" in text for text in EVERY], ["blue" in text for text in EVERY]]
    assert words.test.T.tolist() == [["cat" in text for text in OF_TEST], ["blue" in text for text in OF_TEST]]
    near = material.near_misses(3)
    assert near.queries.tolist() == [0, 1, 3, 4, 5]
    assert near.wanted.tolist() == [1, 0, 4, 5, 3]


# Images


def test_test_images_are_read_under_the_base_and_the_student(opened):
    assert rows_of(opened().images("base"), 200) == [5, 6, 7, 8]
    assert rows_of(opened().images("student"), 500) == [5, 6, 7, 8]


def test_images_with_attributes_are_found_by_their_names_in_any_order(opened, tmp_path):
    paths = [tmp_path / f"shown/images/{i}.jpg" for i in (2, 0, 1)]
    shown = replace(ATTRIBUTES, paths=paths)
    assert rows_of(opened().attributes("base", shown, tmp_path / "shown"), 600) == [2, 0, 1]
    assert rows_of(opened().attributes("student", shown, tmp_path / "shown"), 900) == [2, 0, 1]


# Without concepts


def test_with_empty_tables_of_concepts_there_is_neither_language_nor_label(opened, data):
    tables.write_empty(data / "concepts", {"manifest": Manifest(data / "curate").fingerprint})
    material = opened()
    assert material.language() is None
    assert material.labels() is None
    assert rows_of(material.captions("base")[1]) == list(range(9, 16))


# Refusals


def test_features_of_another_base_are_refused(opened, data):
    manifest = Manifest(data / "curate").fingerprint
    write_tables(data, {"manifest": manifest, "weights": "another"}, {"manifest": manifest})
    for ask in (opened().captions, opened().images):
        with pytest.raises(ContractError, match=r"\.arrow: weights is 'another', expected 'base'"):
            ask("base")


def test_embeddings_of_a_student_of_another_base_are_refused(opened, data):
    material = opened()
    write_embedded(data, Manifest(data / "curate").fingerprint, base="another")
    for ask in (material.captions, material.images):
        with pytest.raises(ContractError, match=r"student\.arrow: base is 'another', expected 'base'"):
            ask("student")


@pytest.mark.parametrize("changed", ["features", "concepts"])
def test_tables_of_another_manifest_are_refused(data, opened, changed):
    own, other = {"manifest": Manifest(data / "curate").fingerprint}, {"manifest": "another"}
    of_features, of_concepts = (other, own) if changed == "features" else (own, other)
    write_tables(data, {**of_features, "weights": "base"}, of_concepts)
    material = opened()
    asked = {
        "features": [lambda: material.captions("base"), lambda: material.images("base")],
        "concepts": [material.language, material.labels],
    }
    for ask in asked.pop(changed):
        with pytest.raises(ContractError, match="manifest is 'another'"):
            ask()
    for ask in next(iter(asked.values())):
        assert ask() is not None


@pytest.mark.parametrize(("name", "other"), [("language", "labels"), ("labels", "language")])
def test_a_single_table_of_another_manifest_is_refused(data, opened, tmp_path_factory, name, other):
    strange = tmp_path_factory.mktemp("strange")
    write_tables(strange, {}, {"manifest": "another"})
    shutil.copy(strange / f"concepts/{name}.arrow", data / "concepts")
    material = opened()
    with pytest.raises(ContractError, match=rf"{name}\.arrow: manifest is 'another'"):
        getattr(material, name)()
    assert getattr(material, other)() is not None


@pytest.mark.parametrize("name", ["features/captions", "concepts/concepts", "concepts/labels", "concepts/language"])
def test_a_table_that_is_not_there_is_named(data, opened, name):
    (data / f"{name}.arrow").unlink()
    material = opened()
    with pytest.raises(ContractError, match=rf"{name.split('/')[1]}\.arrow does not exist; run .*{name.split('/')[0]}"):
        for ask in (lambda: material.captions("base"), material.labels, material.language):
            ask()


def test_a_manifest_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ContractError, match="dvc repro curate"):
        Material(Workspace(tmp_path), most=1, seed=1)


# All of it


def test_a_model_is_probed_on_this_material(opened):
    material = opened()
    asked = Task(ATTRIBUTES, material.words(2), material.near_misses(2), material.owner, material.labels())
    pictures = unit_rows(len(ATTRIBUTES.paths), 16)
    found = probe(Embedded(*material.captions("student"), material.images("student"), pictures), asked)
    assert {kind: [len(rows) for rows in of.values()] for kind, of in found.parts.items()} == {
        "attributes": [24, 24, 24], "captions": [7, 7, 5], "concepts": [7, 7, 7],
    }  # fmt: skip
