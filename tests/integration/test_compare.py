"""`dclip compare` on the tiny world: recipes and seeds side by side, none trained twice."""

import copy
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_world import BEFORE_CONCEPTS, linked
from typer.testing import CliRunner

import console.runs
import pipeline.evaluation.recipe_comparison
from console.main import app
from pipeline.artifacts.tables import Table
from pipeline.errors import InputError
from pipeline.recipes import RECIPES

KNOWLEDGE = [name for name, recipe in RECIPES.items() if recipe.knowledge]
RECIPES_HERE = ("contrastive", "dclip_clean", "no_regions", "text_only_teacher", "procrustes", "affinity_base")
TEACHER = "teacher large"


@pytest.fixture(scope="module")
def compared(world, tmp_path_factory):
    given, params = world
    data = linked(
        tmp_path_factory.mktemp("compared") / "data", given,
        ("sample", "curate", "models", "teachers", "regions", "spans", "features", "targets"),
    )  # fmt: skip
    changed = copy.deepcopy(params)
    changed["student"]["epochs"] = 1
    compare = comparing(data, changed)
    found = compare("--recipes", ",".join(RECIPES_HERE), "--seeds", "0,1", "--against", "dclip_clean")
    assert found.exit_code == 0, found.output + repr(found.exception)
    return data, compare, found.output


@pytest.fixture(scope="module")
def with_concepts(knowing, tmp_path_factory):
    given, params = knowing
    data = linked(tmp_path_factory.mktemp("with concepts") / "data", given, (*BEFORE_CONCEPTS, "concepts"))
    changed = copy.deepcopy(params)
    changed["student"] |= {"recipe": "contrastive", "text": "frozen"}
    return data, comparing(data, changed)


def comparing(data, params):
    """Runs `dclip compare` with some parameters, which are written beside the data folder."""
    file = data.parent / "params.yaml"
    file.write_text(yaml.safe_dump(params))

    def compare(*arguments):
        return CliRunner().invoke(app, ["compare", "--params", str(file), "--data", str(data), *arguments])

    return compare


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


def test_the_map_shows_every_recipe_and_every_teacher(compared):
    data, _, _ = compared
    drawn = (data / "compare/map.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(name in drawn for name in (*RECIPES_HERE, TEACHER))


def test_a_teacher_as_it_is_has_a_row_with_the_figures_that_evaluate_finds(compared, world):
    data, _, output = compared
    assert TEACHER in output
    found = json.loads((data / "compare/comparison.json").read_text())
    (row,) = found["teachers"]
    assert row["teacher"] == "large"
    metrics = json.loads((world[0] / "evaluate/metrics.json").read_text())
    for way in ("text_to_image", "image_to_text"):
        recall = metrics["teachers"]["large"][way]["recall@1"]
        assert row[way]["values"] == [pytest.approx(recall)]
        (against,) = [own[way]["mean"] for own in found["rows"] if own["recipe"] == found["against"]]
        assert row[way]["lead"]["value"] == pytest.approx(against - recall, abs=1e-9)
        assert row[way]["difference"]["value"] == pytest.approx(recall - found["base"][way], abs=1e-9)
        assert 0 <= row["validation"][f"val_{way}_recall@1"] <= 1
    for part, share in row["retained"].items():
        top1 = metrics["teachers"]["large"][part]["top1"]
        assert share["mean"] == pytest.approx(top1 / metrics["base"][part]["top1"])


def test_controls_get_a_teacher_of_their_own(compared):
    data, _, _ = compared
    assert {p.name for p in (data / "compare").glob("teacher-*")} == {"teacher-image", "teacher-text"}
    assert (data / "compare/no_regions-0/targets").resolve() == (data / "compare/teacher-image/targets").resolve()
    assert (data / "compare/contrastive-0/targets").resolve() == (data / "targets").resolve()


def test_nothing_is_trained_twice(compared, monkeypatch):
    data, compare, _ = compared
    before = (data / "compare/comparison.json").read_bytes()
    monkeypatch.setattr(console.runs, "perform", None)
    found = compare("--recipes", ",".join(RECIPES_HERE), "--seeds", "0,1", "--against", "dclip_clean")
    assert found.exit_code == 0, repr(found.exception)
    assert (data / "compare/comparison.json").read_bytes() == before


def test_another_teacher_trains_again_what_it_teaches_and_nothing_else(compared, monkeypatch):
    """Its targets need only say that they were made otherwise; what is asked of `perform` is what would be trained."""
    data, compare, _ = compared
    trained = []

    def perform(stage, params, ws):
        trained.append(ws.data.name)
        raise InputError("enough")

    assert compare("--recipes", "contrastive,affinity", "--seeds", "0", "--against", "affinity").exit_code == 0
    monkeypatch.setattr(console.runs, "perform", perform)
    given = (data / "targets").resolve()
    (data / "targets").unlink()
    shutil.copytree(given, data / "targets")
    path = data / "targets/teachers/large/views.arrow"
    fingerprint = Table(path).metadata["fingerprint"].encode()
    path.write_bytes(path.read_bytes().replace(fingerprint, fingerprint[::-1]))
    try:
        others = compare("--recipes", ",".join(RECIPES_HERE), "--seeds", "0,1", "--against", "dclip_clean")
        found = compare("--recipes", "contrastive,affinity", "--seeds", "0", "--against", "affinity")
    finally:
        shutil.rmtree(data / "targets")
        (data / "targets").symlink_to(given)
    assert others.exit_code == 0, repr(others.exception)
    assert "enough" in str(found.exception)
    assert trained == ["affinity-0"]


def test_a_mistyped_recipe_is_named(compared):
    _, compare, _ = compared
    found = compare("--recipes", "contrastiv")
    assert "there is no recipe contrastiv" in str(found.exception)
    assert all(name in str(found.exception) for name in RECIPES)


# Text towers that are trained, and concepts

SIDE_BY_SIDE = ("contrastive", "contrastive:trainable", "knowledge_clip", "dclip+knowledge")
FOLDERS = ("contrastive-0", "contrastive-trainable-0", "knowledge_clip-trainable-0", "dclip+knowledge-trainable-0")


@pytest.fixture(scope="module")
def side_by_side(with_concepts):
    data, compare = with_concepts
    found = compare("--recipes", ",".join(SIDE_BY_SIDE), "--seeds", "0", "--against", "contrastive")
    assert found.exit_code == 0, found.output + repr(found.exception)
    return data, found.output


def test_recipes_of_a_trained_text_tower_stand_beside_the_others_under_their_names(side_by_side):
    data, output = side_by_side
    found = json.loads((data / "compare/comparison.json").read_text())
    assert [row["recipe"] for row in found["rows"]] == list(SIDE_BY_SIDE)
    drawn = (data / "compare/map.svg").read_text()
    cells = [part.strip(" *") for line in output.splitlines() for part in line.split("│")]
    for name in SIDE_BY_SIDE:
        assert name in cells, "not cut"
        assert name in drawn
    for row, folder in zip(found["rows"], FOLDERS, strict=True):
        run = json.loads((data / f"compare/{folder}/student/metrics.json").read_text())
        for figure in ("val_text_to_image_recall@1", "val_zeroshot_top1"):
            assert row["validation"][figure] == pytest.approx(run["chosen"][figure])


def test_only_those_have_trained_the_text_tower(side_by_side):
    data, _ = side_by_side
    base = load_file(data / "models/clip/open_clip_model.safetensors")["token_embedding.weight"]
    assert {path.name for path in (data / "compare").iterdir() if path.is_dir()} == set(FOLDERS)
    for folder in FOLDERS:
        end = load_file(data / f"compare/{folder}/student/end_point/open_clip_model.safetensors")
        assert torch.equal(end["token_embedding.weight"], base) == (folder == "contrastive-0")


def test_only_recipes_of_knowledge_read_concepts(side_by_side):
    data, _ = side_by_side
    for folder, name in zip(FOLDERS, SIDE_BY_SIDE, strict=True):
        assert (data / f"compare/{folder}/concepts").exists() == (name in KNOWLEDGE)
        terms = (data / f"compare/{folder}/student/history.csv").read_text().splitlines()[0].split(",")
        assert ({"language", "concepts"} <= set(terms)) == (name in KNOWLEDGE)


def test_other_concepts_train_again_what_reads_them_and_nothing_else(side_by_side, with_concepts, monkeypatch):
    """The tables need only say that they were made otherwise; what is asked of `perform` is what would be trained."""
    data, compare = with_concepts
    trained = []

    def perform(stage, params, ws):
        trained.append(ws.data.name)
        raise InputError("enough")

    monkeypatch.setattr(console.runs, "perform", perform)
    assert compare("--recipes", ",".join(SIDE_BY_SIDE), "--seeds", "0").exit_code == 0
    assert trained == []
    given = (data / "concepts").resolve()
    (data / "concepts").unlink()
    (data / "concepts").mkdir()
    for path in given.glob("*.arrow"):
        fingerprint = Table(path).metadata["fingerprint"].encode()
        (data / "concepts" / path.name).write_bytes(path.read_bytes().replace(fingerprint, fingerprint[::-1]))
    try:
        found = compare("--recipes", ",".join(SIDE_BY_SIDE), "--seeds", "0")
    finally:
        shutil.rmtree(data / "concepts")
        (data / "concepts").symlink_to(given)
    assert "enough" in str(found.exception)
    assert trained == ["knowledge_clip-trainable-0"]


@pytest.mark.parametrize("name", KNOWLEDGE)
def test_without_concepts_a_recipe_of_them_is_refused_by_name(compared, name):
    _, compare, _ = compared
    found = compare("--recipes", f"contrastive,{name}", "--seeds", "0")
    assert isinstance(found.exception, InputError)
    assert str(found.exception).startswith(f"{name}: ")
    assert "needs concepts.enabled to be true; take it out of --recipes" in str(found.exception)


def test_a_recipe_that_never_trains_its_text_tower_is_refused_by_name(compared):
    _, compare, _ = compared
    found = compare("--recipes", "procrustes:trainable", "--seeds", "0")
    assert isinstance(found.exception, InputError)
    assert str(found.exception).startswith("procrustes:trainable: ")
    assert "take it out of --recipes" in str(found.exception)


def test_a_mistyped_recipe_with_a_trained_text_tower_is_named(compared):
    _, compare, _ = compared
    assert "there is no recipe contrastiv;" in str(compare("--recipes", "contrastiv:trainable").exception)
    refused = compare("--recipes", "contrastive:trained").exception
    assert "contrastive:trained: expected trainable or rewrites" in str(refused)


BESIDE = {"given_negatives", "semi"}
"""Recipes of what the tiny world does not have: negatives, and images without captions."""


def planned(compare, monkeypatch):
    """Names of the recipes that would be run without --recipes, and what is said of the others."""
    names = []
    real = console.runs.planned
    with monkeypatch.context() as patched:
        patched.setattr(console.runs, "planned", lambda *run: real(*run) and names.append(run[1]))
        patched.setattr(pipeline.evaluation.recipe_comparison, "TestData", None)
        found = compare("--seeds", "0")
    return names, found.output


def test_by_default_recipes_of_concepts_are_left_out_where_there_are_none(compared, with_concepts, monkeypatch):
    _, compare, _ = compared
    names, said = planned(compare, monkeypatch)
    assert set(names) == set(RECIPES) - set(KNOWLEDGE) - BESIDE
    assert "do not allow them: dclip+knowledge, given_negatives, knowledge_clip, semi" in said
    _, compare = with_concepts
    names, said = planned(compare, monkeypatch)
    assert set(names) == set(RECIPES) - BESIDE
    assert "do not allow them: given_negatives, semi" in said
