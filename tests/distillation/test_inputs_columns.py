"""Rewrites and given negatives among what a student trains on, with the embeddings that stages before have made."""

import shutil

import numpy as np
import pytest
from tiny_material import BESIDE, SAMPLES, embed_all, lay_out, write_beside, write_targets
from tiny_models import COMPUTE

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import ContractError
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.distillation.inputs import Inputs
from pipeline.errors import InputError
from pipeline.recipes import RECIPES

TEACHERS = ("twin", "worded")
TRAIN = SAMPLES[Split.TRAIN]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    ws = lay_out(tmp_path_factory.mktemp("data"))
    embed_all(ws, tmp_path_factory.mktemp("store"))
    write_targets(ws, *TEACHERS)
    return ws


@pytest.fixture
def pairs(made, tmp_path):
    """Pairs of a recipe; the tables of curation may be others than those that the features were made from."""
    data = tmp_path / "data"
    shutil.copytree(made.data, data)

    def read(recipe, *, beside=None, train_text=False, **how):
        ws = Workspace(data)
        if beside is not None:
            write_beside(data, ws.manifest(), BESIDE | beside)
        base = towers.load(ws.path(catalog.BASE_CLIP))
        inputs = Inputs(
            ws, tmp_path, base=base, student=base, compute=COMPUTE, train_text=train_text, teachers=TEACHERS
        )
        found = inputs.corpus_pairs(RECIPES[recipe], decoded=True, parser=lambda: pytest.fail("not needed"), **how)
        return found, inputs.made_from

    return read


def test_rewrites_stand_behind_captions_with_every_models_embedding(made, pairs):
    found, made_from = pairs("affinity", rewrites=True)
    assert found.captions[0] == [*TRAIN["a"], "a star that is red"]
    assert found.captions[1:] == list(TRAIN.values())[1:]
    assert (found.originals.tolist(), found.silent.tolist()) == ([2, 1, 1, 1], [1, 0, 0, 0])
    tables = [made.table(catalog.COLUMN_EMBEDDINGS), *(made.table(catalog.tables_of(n).columns) for n in TEACHERS)]
    given = [found.caption_embeddings, *(teacher.captions for teacher in found.teachers)]
    for table, rows in zip(tables, given, strict=True):
        wanted = table.vectors()[table.strings("key").index("a star that is red")]
        assert np.array_equal(rows[np.array([2])][0], wanted)
    assert made_from["columns"] == tables[0].metadata["fingerprint"]
    without, nothing = pairs("affinity")
    assert without.originals is None and "columns" not in nothing


@pytest.mark.parametrize("train_text", [False, True])
def test_negatives_are_those_of_their_image(made, pairs, train_text):
    found, made_from = pairs("given_negatives", train_text=train_text)
    assert list(found.negatives.texts) == [[], BESIDE[catalog.NEGATIVES]["b"], [], []]
    assert found.negatives.by_image and "columns" in made_from
    table = made.table(catalog.COLUMN_EMBEDDINGS)
    wanted = [table.vectors()[table.strings("key").index(text)] for text in BESIDE[catalog.NEGATIVES]["b"]]
    assert found.negatives.embeddings is None if train_text else np.array_equal(found.negatives.embeddings, wanted)


@pytest.mark.parametrize(("recipe", "rewrites"), [("affinity", True), ("given_negatives", False)])
def test_embeddings_of_other_texts_are_refused(pairs, recipe, rewrites):
    with pytest.raises(ContractError, match=r"was made from columns \w+, here are \w+; run: dvc repro"):
        pairs(recipe, rewrites=rewrites, beside={catalog.REWRITES: {"a": ["a red star again"]}})


@pytest.mark.parametrize(
    ("recipe", "rewrites", "lacking", "message"),
    [
        ("contrastive", True, catalog.REWRITES, r"student\.rewrites is true, and no training image has a rewrite"),
        ("given_negatives", False, catalog.NEGATIVES, r"given_negatives trains against negatives, and no training"),
    ],
)
def test_what_is_not_there_is_named(pairs, recipe, rewrites, lacking, message):
    with pytest.raises(InputError, match=message):
        pairs(recipe, rewrites=rewrites, beside={lacking: {}})


def test_columns_of_another_curation_are_refused(made, pairs, tmp_path):
    path = tmp_path / "data" / catalog.NEGATIVES.path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ContractError, match=r"negatives\.parquet is damaged .* run: dvc repro -sf curate"):
        pairs("given_negatives")
