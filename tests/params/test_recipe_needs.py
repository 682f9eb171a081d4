"""The registry is what parameters, help and documentation go by: nothing else names a recipe or a loss term."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from test_params import ROOT, VALID

from pipeline.params import ParamsError, load
from pipeline.params.student import Weights
from pipeline.recipes import RECIPES, TERMS, Needs
from pipeline.recipes.registry import recipe

NEW = """
from pipeline.recipes.registry import Needs, recipe, term
NOVELTY = term("novelty", factor=0.5)

@recipe("new", "something new", Needs(target="image", teacher="image"))
def new(b):
    return {NOVELTY: b.scale}

from pathlib import Path
from pipeline.params import load
student = load(Path("params.yaml")).student
print(student.recipe, student.weights.novelty, student.weights.text)
"""


def run(code, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def written(tmp_path):
    """Writes the valid parameters with some of teacher and student changed, and gives the file."""

    def write(student=None, teacher=None, **others):
        content = yaml.safe_load(VALID) | others
        content["student"] |= student or {}
        content["teacher"] |= teacher or {}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "params.yaml"

    return write


@pytest.mark.parametrize("module", ["pipeline.recipes", "pipeline.params"])
def test_parameters_and_recipes_load_no_torch(tmp_path, module):
    done = run(f"import sys, {module}; print(*sys.modules)", tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "torch" not in loaded
    assert "numpy" not in loaded or module == "pipeline.params"


def test_a_recipe_that_is_declared_is_a_parameter_with_its_terms_and_needs(written):
    folder = written({"recipe": "new"}, {"inputs": "image"}).parent
    done = run(NEW, folder)
    assert (done.stdout.split(), done.returncode) == (["new", "0.5", "1.0"], 0), done.stderr
    written({"recipe": "new", "weights": {"novelty": 3}}, {"inputs": "image"})
    assert run(NEW, folder).stdout.split() == ["new", "3.0", "1.0"]
    written({"recipe": "new"}, {"inputs": "regions"})
    assert "student.recipe new needs teacher.inputs to be image" in run(NEW, folder).stderr


@pytest.mark.parametrize("value", ["dklip", 5, None, ["dclip"]])
def test_a_recipe_that_is_not_declared_is_refused_with_all_that_are(written, value):
    with pytest.raises(ParamsError, match=r"student\.recipe: Input should be ") as caught:
        load(written({"recipe": value}))
    assert all(repr(name) in str(caught.value) for name in RECIPES)
    assert f"found {value!r}" in str(caught.value)
    assert ("did you mean dclip?" in str(caught.value)) == (value != 5 and value is not None)


def test_every_declared_term_has_a_weight_and_its_factor():
    assert Weights().model_dump() == TERMS


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.target == "image"])
def test_targets_of_images_that_are_not_trained_are_refused(written, name):
    asked = RECIPES[name]
    student = {"recipe": name, "text": "trainable" if asked.knowledge else "frozen"}
    teacher = {"inputs": asked.teacher, "caption_dropout": 0}
    message = rf"student\.recipe {re.escape(name)} takes the .* teacher\.caption_dropout is 0"
    with pytest.raises(ParamsError, match=message):
        load(written(student, teacher))
    assert load(written(student, teacher | {"caption_dropout": 0.1})).student.recipe == name


@pytest.mark.parametrize("inputs", ["regions", "image", "text"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_targets_is_refused_with_a_teacher_that_has_read_anything_else(written, name, inputs):
    asked = RECIPES[name]
    path = written({"recipe": name, "text": "trainable" if asked.knowledge else "frozen"}, {"inputs": inputs})
    if asked.target is None or asked.teacher == inputs:
        assert load(path).teacher.inputs == inputs
    else:
        with pytest.raises(ParamsError, match=f"needs teacher.inputs to be {asked.teacher}"):
            load(path)


def test_a_teacher_that_reads_text_alone_needs_no_caption_dropout(written):
    params = load(written({"recipe": "text_only_teacher"}, {"inputs": "text", "caption_dropout": 0}))
    assert params.student.recipe == "text_only_teacher"


TEACHERS = {"sister": {"kind": "directory", "path": "sister", "scale": "own"}}
VIEWS = {"count": 2, "area": 0.5, "flip": 0.0, "colour": 0.2}


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.teachers == "given"])
def test_a_recipe_of_teachers_is_refused_without_one(written, name):
    with pytest.raises(ParamsError, match=rf"student\.recipe {name} needs a teacher in teachers, which names none"):
        load(written({"recipe": name}, teachers={}))
    assert load(written({"recipe": name}, teachers=TEACHERS, views=VIEWS)).student.recipe == name


def test_the_base_as_its_own_teacher_has_embedded_no_views(written):
    with pytest.raises(ParamsError, match=r"student\.recipe affinity_base needs views\.count to be 0"):
        load(written({"recipe": "affinity_base"}, teachers={}, views=VIEWS))
    assert load(written({"recipe": "affinity_base"}, teachers={}, views=VIEWS | {"count": 0}))


def test_phrases_are_embedded_for_a_recipe_that_compares_them(written):
    tokens = {"features": {"spans": ["tokens"]}}
    with pytest.raises(ParamsError, match=r"student\.recipe affinity_regions needs phrases in features\.spans"):
        load(written({"recipe": "affinity_regions"}, {"spans": "tokens"}, teachers=TEACHERS, **tokens))
    assert load(written({"recipe": "affinity"}, {"spans": "tokens"}, teachers=TEACHERS, **tokens))


@pytest.mark.parametrize("name", RECIPES)
def test_another_contrastive_loss_is_refused_where_a_recipe_has_none(written, name):
    text = "trainable" if RECIPES[name].knowledge else "frozen"
    teacher = {"inputs": RECIPES[name].teacher or "regions"}
    path = written({"recipe": name, "text": text, "contrastive": "sigmoid"}, teacher)
    if RECIPES[name].contrastive:
        assert load(path).student.contrastive == "sigmoid"
    else:
        with pytest.raises(ParamsError, match=rf"student\.recipe {name} needs student\.contrastive to be softmax"):
            load(path)


@pytest.mark.parametrize("needs", [{"target": "image"}, {"teacher": "text"}])
def test_targets_are_declared_with_the_teacher_they_come_from(needs):
    with pytest.raises(ValueError, match="expected both or neither"):
        Needs(**needs)


def test_a_recipe_is_declared_once():
    with pytest.raises(ValueError, match="recipe dclip is declared twice"):
        recipe("dclip", "another one")(lambda b: {})


def test_every_recipe_says_what_it_is_and_every_equation_begins_with_its_formula():
    assert all(recipe.about for recipe in RECIPES.values())
    assert {name for name, recipe in RECIPES.items() if not recipe.formula.startswith("L = ")} == {"procrustes"}
