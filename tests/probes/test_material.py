import shutil

import numpy as np
import pytest
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, tiny_clip, unit_rows
from tiny_probes import ATTRIBUTES

from pipeline import images
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import LABELS, Split, vectors
from pipeline.artifacts.schema import concepts as concepts_schema
from pipeline.artifacts.tables import ContractError, TableWriter, VectorWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode
from pipeline.concepts import tables
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
    """What the stages features and concepts leave; the number in a vector is the row of its caption or picture."""
    keys = [key for key, _, _ in CAPTIONS]
    index = [i for _, i, _ in CAPTIONS]
    with VectorWriter(data / "features/captions.arrow", vectors("caption_index", dimension=2), metadata) as writer:
        writer.write(keys, index, numbered(len(CAPTIONS), 0))
    with VectorWriter(data / "features/images.arrow", vectors(dimension=2), metadata) as writer:
        writer.write(list("abcdefghi"), numbered(9, 200))
    with VectorWriter(data / "concepts/language.arrow", vectors("caption_index", dimension=2), of_concepts) as writer:
        writer.write(keys, index, numbered(len(CAPTIONS), 100))
    with TableWriter(data / "concepts/labels.arrow", LABELS, of_concepts) as writer:
        concepts, shares = zip(*(place(row) for row in range(len(CAPTIONS))), strict=True)
        writer.write({"key": keys, "caption_index": index, "concepts": concepts, "shares": shares})
    with TableWriter(data / "concepts/concepts.arrow", concepts_schema(2), of_concepts) as writer:
        writer.write({
            "concept": range(K), "size": [1] * K, "words": [["w"]] * K, "captions": [["c"]] * K,
            "centre": [[1.0, 0.0]] * K,
        })  # fmt: skip


@pytest.fixture(scope="module")
def base():
    return tiny_clip(1)


@pytest.fixture
def data(tmp_path, base):
    manifest = write_manifest(tmp_path / "curate", SAMPLES)
    origin = {"manifest": manifest.fingerprint}
    write_tables(tmp_path, {**origin, "weights": base.weights}, origin)
    return tmp_path


@pytest.fixture
def opened(data, base):
    def opened(most=100, seed=1):
        return Material(Workspace(data), base.weights, most=most, seed=seed)

    return opened


def rows_of(vectors, first=0):
    """Which captions or pictures vectors are of."""
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors[:, 1], vectors[:, 0] + 0.5)
    return (vectors[:, 0] - first).astype(int).tolist()


# Captions


def test_of_few_training_captions_there_are_all_and_of_test_captions_always(opened):
    material = opened()
    assert material.training == EVERY
    assert material.test == OF_TEST
    assert material.owner.tolist() == [0, 0, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("most", [1, 3, 6, 7, 8])
def test_so_many_training_captions_are_drawn_and_none_twice(opened, most):
    material = opened(most=most)
    drawn = rows_of(material.cached()[0])
    assert len(drawn) == len(material.training) == min(most, 7)
    assert sorted(set(drawn)) == drawn
    assert len(material.test) == 7


def test_draws_are_seeded(opened):
    draws = {seed: rows_of(opened(most=3, seed=seed).cached()[0]) for seed in range(12)}
    assert all(rows_of(opened(most=3, seed=seed).cached()[0]) == drawn for seed, drawn in draws.items())
    assert len({tuple(drawn) for drawn in draws.values()}) > 3
    assert {row for drawn in draws.values() for row in drawn} == set(range(7))


@pytest.mark.parametrize("seed", range(4))
def test_texts_vectors_and_labels_are_of_the_same_captions(opened, seed):
    material = opened(most=4, seed=seed)
    texts = [text for _, _, text in CAPTIONS]
    drawn = rows_of(material.cached()[0])
    assert material.training == [texts[row] for row in drawn]
    assert rows_of(material.language()[0], 100) == drawn
    labels = material.labels()
    assert labels.training.tolist() == [place(row)[0] for row in drawn]
    np.testing.assert_allclose(labels.shares, [place(row)[1] for row in drawn], rtol=1e-6)


def test_test_captions_are_those_after_the_validation_captions(opened):
    material = opened(most=2)
    wanted = list(range(9, 16))
    assert [CAPTIONS[row][2] for row in wanted] == material.test
    assert rows_of(material.cached()[1]) == rows_of(material.language()[1], 100) == wanted
    labels = material.labels()
    assert labels.captions.tolist() == [row % K for row in wanted]
    assert labels.count == K


def test_another_model_embeds_the_same_captions(opened):
    clip = tiny_clip(2)
    material = opened(most=3)
    training, test = material.embedded(clip, COMPUTE)
    np.testing.assert_allclose(training, encode.texts(clip, material.training, COMPUTE), atol=1e-6)
    np.testing.assert_allclose(test, encode.texts(clip, OF_TEST, COMPUTE), atol=1e-6)
    assert training.dtype == test.dtype == np.float32
    assert len(np.unique(test.round(3), axis=0)) == 7


def test_words_and_near_misses_are_of_these_captions(opened):
    material = opened()
    words = material.words(2)
    assert words.names == ["cat", "blue"]  # `blue` is the first of those that stand once
    assert words.training.T.tolist() == [["cat" in text for text in EVERY], ["blue" in text for text in EVERY]]
    assert words.test.T.tolist() == [["cat" in text for text in OF_TEST], ["blue" in text for text in OF_TEST]]
    near = material.near_misses(3)
    assert near.queries.tolist() == [0, 1, 3, 4, 5]
    assert near.wanted.tolist() == [1, 0, 4, 5, 3]


# Pictures


def test_pictures_under_the_base_are_read_from_the_cache(opened, base):
    found = opened().images(base, COMPUTE)
    assert rows_of(found, 200) == [5, 6, 7, 8]


def test_pictures_under_another_model_are_embedded_from_the_shards(opened, data):
    clip = tiny_clip(2)
    found = opened().images(clip, COMPUTE)
    pixels = [clip.pixels()(images.decode(d)) for _, d in Manifest(data / "curate", (Split.TEST,)).images("again")]
    np.testing.assert_allclose(found, encode.images(clip, pixels, COMPUTE), atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    one_by_one = opened().images(clip, encode.Compute("cpu", "float32", 3))
    np.testing.assert_allclose(one_by_one, found, atol=1e-5)


# Without concepts


def test_with_empty_tables_of_concepts_there_is_neither_language_nor_label(opened, data):
    tables.write_empty(data / "concepts", {"manifest": Manifest(data / "curate").fingerprint})
    material = opened()
    assert material.language() is None
    assert material.labels() is None
    assert rows_of(material.cached()[1]) == list(range(9, 16))


# Refusals


def test_features_of_another_base_are_refused(data):
    material = Material(Workspace(data), "another", most=10, seed=1)
    with pytest.raises(ContractError, match=r"captions\.arrow: weights is .* expected 'another'"):
        material.cached()


def test_pictures_of_another_base_are_refused(data, opened, base):
    manifest = Manifest(data / "curate")
    write_tables(data, {"manifest": manifest.fingerprint, "weights": "another"}, {"manifest": manifest.fingerprint})
    with pytest.raises(ContractError, match=r"images\.arrow: weights is 'another'"):
        opened().images(base, COMPUTE)


@pytest.mark.parametrize("changed", ["features", "concepts"])
def test_tables_of_another_manifest_are_refused(data, opened, base, changed):
    own, other = {"manifest": Manifest(data / "curate").fingerprint}, {"manifest": "another"}
    of_features, of_concepts = (other, own) if changed == "features" else (own, other)
    write_tables(data, {**of_features, "weights": base.weights}, of_concepts)
    material = opened()
    asked = {
        "features": [material.cached, lambda: material.images(base, COMPUTE)],
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
        for ask in (material.cached, material.labels, material.language):
            ask()


def test_a_manifest_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ContractError, match="dvc repro curate"):
        Material(Workspace(tmp_path), "w", most=1, seed=1)


# All of it


def test_a_model_is_probed_on_this_material(opened):
    material, clip = opened(), tiny_clip(2)
    asked = Task(ATTRIBUTES, material.words(2), material.near_misses(2), material.owner, material.labels())
    pictures = unit_rows(len(ATTRIBUTES.paths), 16)
    found = probe(Embedded(*material.embedded(clip, COMPUTE), material.images(clip, COMPUTE), pictures), asked)
    assert {kind: [len(rows) for rows in of.values()] for kind, of in found.parts.items()} == {
        "attributes": [24, 24, 24], "captions": [7, 7, 5], "concepts": [7, 7, 7],
    }  # fmt: skip
