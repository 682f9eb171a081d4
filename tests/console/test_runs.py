from pathlib import Path

import pytest

from console.runs import planned, possible
from pipeline import params
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


def test_recipes_of_frozen_teachers_are_left_out_where_none_is_named(shipped, capsys):
    without = {"teachers": {}, "student": shipped.student.model_dump() | {"recipe": "contrastive"}}
    names = possible(changed(shipped, **without, teacher=shipped.teacher.model_dump() | {"of": "base"}))
    assert not set(GIVEN) & set(names)
    assert set(BASE) <= set(names)
    left_out = capsys.readouterr().err
    assert all(name in left_out for name in GIVEN)
