import pytest
import yaml
from test_params import ROOT

from pipeline.params import ParamsError, load
from pipeline.recipes import RECIPES

KNOWLEDGE = [name for name, recipe in RECIPES.items() if recipe.knowledge]


@pytest.fixture
def loaded(tmp_path):
    """Loads the shipped parameters with some of them changed: by section, then by name."""

    def load_changed(concepts=None, model=None, **student):
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        content["concepts"].update(concepts or {})
        content["concepts"]["model"].update(model or {})
        content["student"].update(student)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(path)

    return load_changed


@pytest.mark.parametrize("recipe", KNOWLEDGE)
def test_a_recipe_of_knowledge_needs_concepts(loaded, recipe):
    with pytest.raises(ParamsError, match=rf"student\.recipe {recipe.replace('+', '[+]')} needs concepts\.enabled"):
        loaded({"enabled": False}, recipe=recipe, text="trainable")
    assert loaded({"enabled": True}, recipe=recipe, text="trainable").student.recipe == recipe


@pytest.mark.parametrize("recipe", KNOWLEDGE)
def test_a_recipe_of_knowledge_needs_a_trained_text_tower(loaded, recipe):
    with pytest.raises(ParamsError, match=r"needs student\.text to be trainable, because it distils into"):
        loaded({"enabled": True}, recipe=recipe, text="frozen")


def test_concepts_are_not_needed_by_any_other_recipe(loaded):
    assert loaded({"enabled": False}, recipe="contrastive").concepts.enabled is False


@pytest.mark.parametrize(
    ("concepts", "model", "named"),
    [
        ({"count": 0}, {}, "concepts.count"), ({"count": "all"}, {}, "concepts.count"),
        ({"temperature": 0}, {}, "concepts.temperature"), ({"top": 0}, {}, "concepts.top"),
        ({"iterations": 0}, {}, "concepts.iterations"), ({"batch": 0}, {}, "concepts.batch"),
        ({}, {"kind": "llama"}, "concepts.model.kind"), ({}, {"pooling": "max"}, "concepts.model.pooling"),
        ({}, {"sha256": "abc"}, "concepts.model.sha256"), ({}, {"dtype": "int8"}, "concepts.model.dtype"),
        ({}, {"layer": 0.5}, "concepts.model.layer"), ({}, {"layers": 1}, "concepts.model.layer"),
    ],
)  # fmt: skip
def test_a_parameter_of_concepts_out_of_range_is_named(loaded, concepts, model, named):
    with pytest.raises(ParamsError) as caught:
        loaded(concepts, model)
    assert named in str(caught.value)


@pytest.mark.parametrize("count", ["auto", 1, 1000])
def test_the_number_of_concepts_is_a_count_or_auto(loaded, count):
    assert loaded({"count": count}).concepts.count == count
