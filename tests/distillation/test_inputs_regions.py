import numpy as np
import pytest
from tiny_manifest import png, write_manifest
from tiny_models import COMPUTE, picture, tiny_clip, unit_rows

from pipeline.artifacts.schema import REGIONS, Split, embeddings
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, TableWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.distillation.inputs import Inputs
from pipeline.recipes import RECIPES

SAMPLES = {
    Split.TRAIN: {"mscoco-1": ["a", "b"], "mscoco-2": ["c"], "mscoco-3": ["d"]},
    Split.VAL: {"mscoco-4": ["e"]},
}
BOXES = {"mscoco-1": 2, "mscoco-2": 0, "mscoco-3": 1, "mscoco-4": 2}
VECTORS = unit_rows(9, 16).astype(np.float16)
"""Of all regions; the first six are those of the train split."""


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def data(clip, tmp_path):
    """The folders of all stages that a recipe with regions reads."""
    manifest = write_manifest(tmp_path / "curate", SAMPLES)
    metadata = {"manifest": manifest.fingerprint, "weights": clip.weights}
    captions = [row["key"] for row in manifest.rows for _ in row["captions"]]
    tables = {"images": manifest.keys, "captions": captions, "zeroshot/images": [], "zeroshot/prompts": []}
    for name, keys in tables.items():
        index = [[i for row in manifest.rows for i in range(len(row["captions"]))]] if name == "captions" else []
        schema = embeddings(*(["caption_index"] if index else []), dimension=16)
        with EmbeddingWriter(tmp_path / f"features/{name}.arrow", schema, {**metadata, "fingerprint": name}) as writer:
            writer.write(keys, *index, unit_rows(len(keys), 16))
    with TableWriter(tmp_path / "regions/regions.arrow", REGIONS, {**metadata, "fingerprint": "boxes"}) as writer:
        for key, count in BOXES.items():
            writer.write({
                "key": [key] * (1 + count), "region_index": range(1 + count), "box": [[0, 0, 1, 1]] * (1 + count),
                "score": [1.0] * (1 + count), "class_name": ["image"] + ["star"] * count,
                "crop": [None, *(png(crop(key, 1 + i)) for i in range(count))],
            })  # fmt: skip
    write_features(tmp_path, metadata)
    return tmp_path


def crop(key, index):
    return picture(10 * int(key[-1]) + index)


def write_features(data, metadata, boxes="boxes"):
    metadata = {**metadata, "fingerprint": "vectors of regions", "inputs": {"regions": boxes}}
    keys = [key for key, count in BOXES.items() for _ in range(1 + count)]
    index = [i for count in BOXES.values() for i in range(1 + count)]
    with EmbeddingWriter(data / "features/regions.arrow", embeddings("region_index", dimension=16), metadata) as writer:
        writer.write(keys, index, VECTORS[: len(keys)])


def inputs(data, clip):
    return Inputs(Workspace(data), data / "home", base=clip, student=clip, compute=COMPUTE, train_text=False)


def corpus_pairs(made, recipe, decoded=False):
    return made.corpus_pairs(RECIPES[recipe], decoded=decoded, parser=lambda: pytest.fail("no phrases are needed"))


@pytest.mark.parametrize("decoded", [False, True])
def test_regions_are_those_of_the_tables(clip, data, decoded):
    made = inputs(data, clip)
    regions = corpus_pairs(made, "preserving_regions", decoded).regions
    assert regions.start.tolist() == [0, 3, 4, 6]
    assert np.array_equal(regions.embeddings, VECTORS[:6])
    wanted = [clip.pixels()(crop(*one)) for one in (("mscoco-1", 1), ("mscoco-1", 2), ("mscoco-3", 1))]
    assert np.array_equal(regions.crops[np.arange(3)], wanted)
    assert made.made_from["regions"] == "vectors of regions"


RECIPES_OF_LITTLE = [
    name
    for name, r in RECIPES.items()
    if not (r.regions or r.target or r.teachers or r.negatives or r.knowledge or r.phrases) and r.data == "corpora"
]


@pytest.mark.parametrize("recipe", RECIPES_OF_LITTLE)
def test_recipes_without_regions_need_no_table_of_them(clip, data, recipe):
    (data / "regions/regions.arrow").unlink()
    (data / "features/regions.arrow").unlink()
    made = inputs(data, clip)
    assert corpus_pairs(made, recipe).regions is None
    assert "regions" not in made.made_from


@pytest.mark.parametrize("name", ["regions/regions.arrow", "features/regions.arrow"])
def test_a_recipe_with_regions_names_the_table_that_is_missing(clip, data, name):
    (data / name).unlink()
    with pytest.raises(ContractError, match=rf"{name} does not exist; .* dvc repro {name.split('/')[0]}$"):
        corpus_pairs(inputs(data, clip), "preserving_regions")


def test_vectors_of_other_boxes_are_refused(clip, data):
    made = inputs(data, clip)
    write_features(data, {"manifest": made.training.fingerprint, "weights": clip.weights}, boxes="other boxes")
    with pytest.raises(
        ContractError, match=r"features/regions\.arrow was not made from .*regions/regions\.arrow; run:"
    ):
        corpus_pairs(made, "preserving_regions")


def test_vectors_of_other_weights_are_refused(clip, data):
    made = inputs(data, clip)
    write_features(data, {"manifest": made.training.fingerprint, "weights": "others"})
    with pytest.raises(ContractError, match=r"features/regions\.arrow: weights is 'others', expected"):
        corpus_pairs(made, "preserving_regions")
