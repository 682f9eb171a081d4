import numpy as np
import pytest
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, tiny_clip, unit_rows

from pipeline.artifacts.schema import LABELS, Split, embeddings
from pipeline.artifacts.schema import concepts as concepts_schema
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, TableWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.concepts.tables import write_empty
from pipeline.distillation.inputs import Inputs
from pipeline.recipes import RECIPES

SAMPLES = {
    Split.TRAIN: {"mscoco-1": ["a", "b"], "mscoco-2": ["c"]},
    Split.VAL: {"mscoco-3": ["d"]},
    Split.TEST: {"mscoco-4": ["e", "a"]},
}
OWNER = ["mscoco-1", "mscoco-1", "mscoco-2", "mscoco-3", "mscoco-4", "mscoco-4"]
INDEX = [0, 1, 0, 0, 0, 1]
LANGUAGE = unit_rows(6, 5).astype(np.float16)
CONCEPTS = [[0, 2], [1, 0], [2, 1], [0, 1], [1, 2], [0, 2]]
SHARES = [[0.75, 0.25], [0.5, 0.5], [1.0, 0.0], [0.75, 0.25], [0.625, 0.375], [0.75, 0.25]]


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def data(clip, tmp_path):
    """The folders of all stages that a recipe with knowledge alone reads."""
    manifest = write_manifest(tmp_path / "curate", SAMPLES)
    metadata = {"manifest": manifest.fingerprint, "weights": clip.weights}
    for name, keys in {
        "images": manifest.keys,
        "captions": OWNER,
        "zeroshot/images": [],
        "zeroshot/prompts": [],
    }.items():
        index = [[i for row in manifest.rows for i in range(len(row["captions"]))]] if name == "captions" else []
        schema = embeddings(*(["caption_index"] if index else []), dimension=16)
        with EmbeddingWriter(tmp_path / f"features/{name}.arrow", schema, {**metadata, "fingerprint": name}) as writer:
            writer.write(keys, *index, unit_rows(len(keys), 16))
    write_concepts(tmp_path, manifest.fingerprint)
    return tmp_path


def write_concepts(data, manifest, **fingerprints):
    """Tables of one origin, but for those whose fingerprint is given."""
    metadata = {
        name: {"manifest": manifest, "fingerprint": fingerprints.get(name, "one clustering")}
        for name in ("language", "labels", "concepts")
    }
    folder = data / "concepts"
    with EmbeddingWriter(
        folder / "language.arrow", embeddings("caption_index", dimension=5), metadata["language"]
    ) as writer:
        writer.write(OWNER, INDEX, LANGUAGE)
    with TableWriter(folder / "labels.arrow", LABELS, metadata["labels"]) as writer:
        writer.write({"key": OWNER, "caption_index": INDEX, "concepts": CONCEPTS, "shares": SHARES})
    with TableWriter(folder / "concepts.arrow", concepts_schema(5), metadata["concepts"]) as writer:
        writer.write({
            "concept": range(3), "size": [1, 1, 1], "words": [[]] * 3, "captions": [[]] * 3,
            "centre": list(unit_rows(3, 5)),
        })  # fmt: skip


def inputs(data, clip):
    return Inputs(Workspace(data), data / "home", base=clip, student=clip, compute=COMPUTE, train_text=True)


def of_corpora(made, recipe="knowledge_clip"):
    return made.of_corpora(RECIPES[recipe], decoded=True, parser=lambda: pytest.fail("no phrases are needed"))


def test_knowledge_is_that_of_the_training_captions(clip, data):
    made = inputs(data, clip)
    found = of_corpora(made).knowledge
    assert found.count == 3
    assert np.array_equal(found.language, LANGUAGE[:3])
    assert found.concepts.tolist() == CONCEPTS[:3]
    assert found.shares.tolist() == SHARES[:3]
    assert made.made_from["concepts"] == "one clustering"


def test_recipes_without_knowledge_need_no_table_of_it(clip, data):
    for path in (data / "concepts").iterdir():
        path.unlink()
    made = inputs(data, clip)
    assert of_corpora(made, "contrastive").knowledge is None
    assert "concepts" not in made.made_from


@pytest.mark.parametrize("name", ["language", "labels", "concepts"])
def test_a_recipe_with_knowledge_names_the_table_that_is_missing(clip, data, name):
    (data / f"concepts/{name}.arrow").unlink()
    with pytest.raises(ContractError, match=rf"{name}\.arrow does not exist; .* dvc repro concepts$"):
        of_corpora(inputs(data, clip))


@pytest.mark.parametrize("name", ["labels", "concepts"])
def test_tables_of_two_clusterings_are_refused_together(clip, data, name):
    made = inputs(data, clip)
    write_concepts(data, made.training.fingerprint, **{name: "another clustering"})
    with pytest.raises(ContractError, match=rf"{name}\.arrow: fingerprint is 'another clustering', expected 'one"):
        of_corpora(made)


def test_knowledge_of_another_manifest_is_refused(clip, data):
    write_concepts(data, "another manifest")
    with pytest.raises(ContractError, match=r"language\.arrow: manifest is 'another manifest', expected"):
        of_corpora(inputs(data, clip))


def test_tables_of_a_stage_that_is_switched_off_say_how_to_switch_it_on(clip, data):
    made = inputs(data, clip)
    write_empty(data / "concepts", {"manifest": made.training.fingerprint, "fingerprint": "none"})
    with pytest.raises(ContractError, match=r"concepts.arrow is empty: set concepts\.enabled to true"):
        of_corpora(made)
