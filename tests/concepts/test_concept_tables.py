import numpy as np
import pytest
from tiny_language import opened, save_encoder
from tiny_manifest import write_manifest

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import LABELS, Split, embeddings
from pipeline.artifacts.schema import concepts as concepts_schema
from pipeline.artifacts.tables import ContractError, Table, check_unit
from pipeline.artifacts.workspace import read_labels
from pipeline.concepts import clusters, labelling, tables
from pipeline.concepts.cached import CachedLanguage
from pipeline.concepts.labelling import Clustering
from pipeline.concepts.language import Source
from pipeline.errors import InputError

SAMPLES = {
    Split.TRAIN: {
        "a": ["a red cat", "a blue sky"], "b": ["a dog"], "c": ["a red cat"], "d": ["moon on mat", "a star", "a cat"],
    },
    Split.VAL: {"e": ["a dog on a mat", "a red cat"]},
    Split.TEST: {"f": ["blue moon"]},
}  # fmt: skip
KEYS = list("abcdef")
CAPTIONS = [(key, i, text) for own in SAMPLES.values() for key, texts in own.items() for i, text in enumerate(texts)]
OF_TRAIN = ["a red cat", "a blue sky", "a dog", "moon on mat", "a star", "a cat"]
"""Distinct ones, in order."""
HOW = Clustering(count=3, temperature=0.2, top=2, iterations=10, seed=1)
METADATA = {"kind": "concepts", "manifest": "m"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def language(folder, tmp_path_factory):
    return CachedLanguage(opened(folder), Source("transformers", str(folder)), 4, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("curate"), SAMPLES)


@pytest.fixture(scope="module")
def made(language, manifest, tmp_path_factory):
    """The folder, and what `write` counts."""
    out = tmp_path_factory.mktemp("concepts")
    return out, labelling.write(language, manifest, HOW, out, METADATA)


@pytest.fixture
def labels(made):
    return Table(made[0] / "labels.arrow", LABELS, **METADATA)


@pytest.fixture
def concepts(made):
    return Table(made[0] / "concepts.arrow", concepts_schema(16), **METADATA).columns.to_pylist()


def rows_of(language, texts):
    return language.vectors(texts).astype(np.float32)


def test_there_is_a_vector_of_every_caption_in_the_order_of_the_manifest(made, language):
    table = Table(made[0] / "language.arrow", embeddings("caption_index", dimension=16), **METADATA)
    assert list(zip(table.strings("key"), table.integers("caption_index"), strict=True)) == [c[:2] for c in CAPTIONS]
    assert np.array_equal(table.vectors(), language.vectors([text for _, _, text in CAPTIONS]))
    check_unit(table)


def test_there_are_labels_of_every_caption_in_the_order_of_the_manifest(labels, concepts, language):
    rows = labels.columns.to_pylist()
    assert [(row["key"], row["caption_index"]) for row in rows] == [c[:2] for c in CAPTIONS]
    centres = np.array([c["centre"] for c in concepts], dtype=np.float32)
    wanted = clusters.soft_labels(rows_of(language, [text for _, _, text in CAPTIONS]), centres, temperature=0.2, top=2)
    assert [row["concepts"] for row in rows] == wanted.concepts.tolist()
    np.testing.assert_allclose([row["shares"] for row in rows], wanted.shares, rtol=1e-5)


def test_equal_captions_of_any_split_have_equal_labels(labels):
    rows = labels.columns.drop_columns(["key", "caption_index"]).to_pylist()
    same = [row for row, (_, _, text) in zip(rows, CAPTIONS, strict=True) if text == "a red cat"]
    assert same == [same[0]] * 3
    assert any(row != same[0] for row in rows)


def test_concepts_are_of_the_distinct_captions_of_the_train_split(concepts, language):
    centres = clusters.cluster(rows_of(language, OF_TRAIN), 3, seed=1, iterations=10)
    assert np.array_equal(np.array([c["centre"] for c in concepts], dtype=np.float32), centres)
    assert [c["concept"] for c in concepts] == [0, 1, 2]


def test_captions_of_other_splits_change_no_concept(language, tmp_path):
    def centres(name, **changed):
        samples = {**SAMPLES, **{Split(split): own for split, own in changed.items()}}
        labelling.write(language, write_manifest(tmp_path / name, samples), HOW, tmp_path / name, {})
        return Table(tmp_path / name / "concepts.arrow").columns

    wanted = centres("as they are")
    assert centres("others", val={"e": ["sky sky sky"]}, test={"f": ["mat", "red red"]}).equals(wanted)
    assert not centres("train", train={**SAMPLES[Split.TRAIN], "b": ["sky on sky"]}).equals(wanted)


def test_a_concept_is_told_by_the_captions_that_are_its_own(concepts, language):
    rows = rows_of(language, OF_TRAIN)
    centres = np.array([c["centre"] for c in concepts], dtype=np.float32)
    nearest = (rows @ centres.T).argmax(axis=1)
    for k, found in enumerate(concepts):
        own = np.flatnonzero(nearest == k)
        assert found["size"] == len(own)
        order = own[np.argsort(-(rows[own] @ centres[k]), kind="stable")]
        assert found["captions"] == [OF_TRAIN[i] for i in order]
        assert set(found["words"]) <= {word for text in found["captions"] for word in text.split()}
    assert any(c["words"] for c in concepts)


def test_what_is_counted(made, concepts):
    sizes = [c["size"] for c in concepts]
    assert sum(sizes) == 6
    assert made[1] == {
        "distinct_captions": 8, "concepts": 3, "smallest": min(sizes), "largest": max(sizes),
    }  # fmt: skip


def test_again_the_same_bytes_are_written_and_nothing_is_embedded(made, language, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "_CHUNK", 8192)
    monkeypatch.setattr(language.model, "embed", lambda *_: pytest.fail("a caption is embedded again"))
    labelling.write(language, manifest, HOW, tmp_path, METADATA)
    for path in made[0].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["concepts.arrow", "labels.arrow", "language.arrow"]


def test_how_many_captions_are_written_at_a_time_changes_no_row(made, language, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "_CHUNK", 2)
    labelling.write(language, manifest, HOW, tmp_path, METADATA)
    for path in made[0].iterdir():
        assert Table(tmp_path / path.name).columns.equals(Table(path).columns), path.name


@pytest.mark.parametrize(("captions", "count"), [(1, 1), (2, 1), (6, 2), (7, 3)])
def test_of_itself_the_number_of_concepts_is_the_root_of_the_training_captions(language, tmp_path, captions, count):
    texts = [" ".join(["cat"] * (1 + i)) for i in range(captions)]
    manifest = write_manifest(tmp_path, {Split.TRAIN: {"a": texts, "b": texts[:1]}, Split.VAL: {"c": ["dog", "mat"]}})
    how = Clustering(count=None, temperature=0.2, top=5, iterations=3, seed=1)
    assert labelling.write(language, manifest, how, tmp_path, {})["concepts"] == count
    concepts, shares = read_labels(Table(tmp_path / "labels.arrow"), ["a", "b", "c"])
    assert concepts.shape == shares.shape == (captions + 3, min(5, count))


def test_more_concepts_than_training_captions_are_refused_and_no_table_is_left(language, manifest, tmp_path):
    how = Clustering(count=7, temperature=0.2, top=2, iterations=3, seed=1)
    with pytest.raises(InputError, match=r"concepts\.count is 7, and there are 6 distinct captions"):
        labelling.write(language, manifest, how, tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_equal_vectors_of_different_captions_may_leave_an_empty_concept(language, tmp_path):
    """Words that the tokenizer does not know are one token: three captions, and one vector."""
    manifest = write_manifest(tmp_path, {Split.TRAIN: {"a": ["lion", "tiger", "bear"]}})
    found = labelling.write(language, manifest, HOW, tmp_path, {})
    assert (found["concepts"], found["smallest"], found["largest"]) == (3, 0, 3)
    rows = Table(tmp_path / "concepts.arrow").columns.to_pylist()
    empty = [row for row in rows if row["size"] == 0]
    assert [(row["words"], row["captions"]) for row in empty] == [([], [])] * 2
    np.testing.assert_allclose(np.linalg.norm([row["centre"] for row in rows], axis=1), 1, atol=1e-3)
    concepts, shares = read_labels(Table(tmp_path / "labels.arrow"), ["a"])
    assert (concepts == concepts[0]).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


def test_a_concept_is_told_by_at_most_five_captions_and_eight_words(language, tmp_path):
    texts = [f"{word} cat" for word in ("red", "blue", "star", "moon", "sky", "mat", "dog", "on")]
    others = ["a", "a a", "a a a"]
    manifest = write_manifest(tmp_path, {Split.TRAIN: {"a": texts, "b": others}})
    one = Clustering(count=1, temperature=0.2, top=2, iterations=3, seed=1)
    labelling.write(language, manifest, one, tmp_path, {})
    (row,) = Table(tmp_path / "concepts.arrow").columns.to_pylist()
    assert (row["size"], len(row["captions"]), row["words"]) == (11, 5, [])


# Reading


@pytest.mark.parametrize("keys", [["a", "b", "c", "d"], ["e"], ["f"], ["b", "c"], KEYS])
def test_labels_are_read_of_some_keys(labels, keys):
    concepts, shares = read_labels(labels, keys)
    wanted = [row for row in labels.columns.to_pylist() if row["key"] in keys]
    assert (concepts.dtype, shares.dtype) == (np.int32, np.float32)
    assert concepts.tolist() == [row["concepts"] for row in wanted]
    np.testing.assert_array_equal(shares, np.array([row["shares"] for row in wanted], dtype=np.float32))


def test_labels_in_several_batches_are_read_of_some_keys(labels, language, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "_CHUNK", 1)
    labelling.write(language, manifest, HOW, tmp_path, {})
    split = Manifest(manifest.folder, (Split.TRAIN,)).keys
    found = read_labels(Table(tmp_path / "labels.arrow"), split)
    for one, other in zip(found, read_labels(labels, split), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("keys", "message"), [(["b", "a"], "row 0 has key"), (["a", "c"], "expected"), (["x"], "none")]
)
def test_labels_of_keys_that_do_not_stand_together_are_refused(labels, keys, message):
    with pytest.raises(ContractError, match=message):
        read_labels(labels, keys)


def test_empty_tables_are_valid(tmp_path):
    tables.write_empty(tmp_path, METADATA)
    for name, schema in (
        ("language", embeddings("caption_index", dimension=1)), ("labels", LABELS), ("concepts", concepts_schema(1))
    ):  # fmt: skip
        assert len(Table(tmp_path / f"{name}.arrow", schema, **METADATA)) == 0
    with pytest.raises(ContractError, match="holds none of 1 keys"):
        read_labels(Table(tmp_path / "labels.arrow"), ["a"])
