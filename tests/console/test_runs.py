from pathlib import Path

import pytest
from tiny_manifest import write_manifest

from console.runs import planned, possible
from pipeline import params
from pipeline.artifacts import tables
from pipeline.artifacts.catalog import COLUMNS
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.errors import InputError
from pipeline.params import Params
from pipeline.recipes import RECIPES

GIVEN = [name for name, recipe in RECIPES.items() if recipe.teachers == "given"]
BASE = [name for name, recipe in RECIPES.items() if recipe.teachers == "base"]


@pytest.fixture
def shipped():
    return params.load(Path(__file__).parents[2] / "params.yaml")


def changed(p, **sections):
    return Params.model_validate(p.model_dump() | sections)


def test_a_recipe_of_the_base_as_its_teacher_is_planned_without_views_and_others_with_them(shipped):
    p = changed(shipped, views=shipped.views.model_dump() | {"count": 3})
    assert [planned(p, name, 0).views.count for name in BASE] == [0] * len(BASE)
    assert [planned(p, name, 0).views.count for name in GIVEN] == [3] * len(GIVEN)


@pytest.fixture
def curated(tmp_path):
    """A data folder with training images: their captions, and the negatives of some."""

    def make(captions, negatives=()):
        manifest = write_manifest(tmp_path / "curate", {Split.TRAIN: captions})
        rows = [{"key": key, "text": "a blue cat", "image": None, "origin": ""} for key in negatives]
        for artifact, content in zip(COLUMNS, ([], rows, []), strict=True):
            path = tmp_path / artifact.path
            path.parent.mkdir(exist_ok=True)
            tables.write_parquet(path, content, artifact.columns, manifest=manifest.fingerprint)
        return Workspace(tmp_path)

    return make


def test_recipes_of_frozen_teachers_are_left_out_where_none_is_named(shipped, curated, capsys):
    without = {"teachers": {}, "student": shipped.student.model_dump() | {"recipe": "contrastive"}}
    without |= {"teacher": shipped.teacher.model_dump() | {"of": "base"}}
    names = possible(changed(shipped, **without), curated({"a": ["a cat"]}))
    assert not set(GIVEN) & set(names)
    assert set(BASE) <= set(names)
    left_out = capsys.readouterr().err
    assert all(name in left_out for name in GIVEN)


def test_recipes_of_negatives_and_of_images_without_captions_are_left_out_where_there_are_none(shipped, curated):
    assert not {"semi", "given_negatives"} & set(possible(shipped, curated({"a": ["a cat"], "b": ["a dog"]})))
    assert {"semi", "given_negatives"} <= set(possible(shipped, curated({"a": ["a cat"], "b": []}, negatives=["a"])))


def test_marks_behind_a_recipes_name_change_the_student(shipped):
    marked = planned(shipped, "contrastive:rewrites:trainable", 0).student
    assert (marked.recipe, marked.text, marked.rewrites) == ("contrastive", "trainable", True)
    assert not planned(shipped, "contrastive", 0).student.rewrites
    with pytest.raises(InputError, match=r"expected trainable or rewrites behind a colon, found 'frozen'"):
        planned(shipped, "contrastive:frozen", 0)
    with pytest.raises(InputError, match=r"needs student\.rewrites to be false, because its targets"):
        planned(shipped, "dclip:rewrites", 0)
