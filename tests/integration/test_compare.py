"""`dclip compare` on the tiny world: recipes and seeds side by side, none trained twice."""

import copy
import json

import pytest
import yaml
from typer.testing import CliRunner

import stages.student
import stages.targets
import stages.teacher
from pipeline.training.recipes import RECIPES
from stages.dclip import app

RECIPES_HERE = ("contrastive", "dclip_clean", "no_regions", "text_only_teacher", "procrustes")


@pytest.fixture(scope="module")
def compared(world, tmp_path_factory):
    given, params = world
    data = tmp_path_factory.mktemp("compared") / "data"
    data.mkdir()
    for stage in ("sample", "curate", "models", "regions", "features", "targets"):
        (data / stage).symlink_to(given / stage)
    changed = copy.deepcopy(params)
    changed["student"]["epochs"] = 1
    file = data.parent / "params.yaml"
    file.write_text(yaml.safe_dump(changed))

    def compare(*arguments):
        return CliRunner().invoke(app, ["compare", "--params", str(file), "--data", str(data), *arguments])

    found = compare("--recipes", ",".join(RECIPES_HERE), "--seeds", "0,1", "--against", "dclip_clean")
    assert found.exit_code == 0, found.output + repr(found.exception)
    return data, compare, found.output


def test_every_recipe_is_in_the_table_with_its_seeds(compared):
    data, _, output = compared
    found = json.loads((data / "compare/comparison.json").read_text())
    assert [row["recipe"] for row in found["rows"]] == list(RECIPES_HERE)
    for row in found["rows"]:
        assert row["recipe"] in output
        for way in ("text_to_image", "image_to_text"):
            figures = row[way]
            assert len(figures["values"]) == row["seeds"] == 2
            assert figures["mean"] == pytest.approx(sum(figures["values"]) / 2)
            change = figures["difference"]
            assert change["value"] == pytest.approx(figures["mean"] - found["base"][way], abs=1e-9)
            assert change["low"] <= change["value"] <= change["high"]
        runs = [json.loads((data / f"compare/{row['recipe']}-{i}/student/metrics.json").read_text()) for i in (0, 1)]
        for figure in ("val_text_to_image_recall@1", "val_zeroshot_top1"):
            assert row["validation"][figure] == pytest.approx(sum(run["chosen"][figure] for run in runs) / 2)
    (own,) = [row for row in found["rows"] if row["recipe"] == found["against"]]
    assert own["text_to_image"]["lead"] == {"value": 0, "low": 0, "high": 0}
    assert any(row["front"] for row in found["rows"])


def test_the_map_shows_every_recipe(compared):
    data, _, _ = compared
    drawn = (data / "compare/map.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(name in drawn for name in RECIPES_HERE)


def test_controls_get_a_teacher_of_their_own(compared):
    data, _, _ = compared
    assert {p.name for p in (data / "compare").glob("teacher-*")} == {"teacher-picture", "teacher-text"}
    assert (data / "compare/no_regions-0/targets").resolve() == (data / "compare/teacher-picture/targets").resolve()
    assert (data / "compare/contrastive-0/targets").resolve() == (data / "targets").resolve()


def test_nothing_is_trained_twice(compared, monkeypatch):
    data, compare, _ = compared
    before = (data / "compare/comparison.json").read_bytes()
    for module, name in ((stages.student, "student"), (stages.teacher, "teacher"), (stages.targets, "targets")):
        monkeypatch.setattr(module, name, None)
    found = compare("--recipes", ",".join(RECIPES_HERE), "--seeds", "0,1", "--against", "dclip_clean")
    assert found.exit_code == 0, repr(found.exception)
    assert (data / "compare/comparison.json").read_bytes() == before


def test_a_mistyped_recipe_is_named(compared):
    _, compare, _ = compared
    found = compare("--recipes", "contrastiv")
    assert "there is no recipe contrastiv" in str(found.exception)
    assert all(name in str(found.exception) for name in RECIPES)
