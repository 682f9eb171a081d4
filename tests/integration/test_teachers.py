"""The stages with two teachers: a sister of the base, and one of another width, input and tokenizer."""

import copy
import re
import shutil

import pyarrow as pa
import pytest
from counting import Forwards
from test_stages import digests
from tiny_models import save_worded_clip
from tiny_world import execute, linked
from verifying import as_column, check, embeddings_of, rewrite

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import tables_of
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import ContractError
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.clip.encode import Compute
from pipeline.distillation.inputs import Inputs
from pipeline.errors import InputError
from pipeline.recipes import RECIPES

GIVEN = ("sample", "models", "curate", "regions", "spans")
STAGES = ("teachers", "features", "teacher", "targets")
VIEWS = 2


@pytest.fixture(scope="module")
def folders(world, tmp_path_factory):
    """Two open_clip local directories."""
    root, base = tmp_path_factory.mktemp("given"), towers.load(world[0] / "models/clip")
    for parameter in base.model.parameters():
        parameter.data.mul_(1.01)
    base.save(root / "sister")
    save_worded_clip(root / "worded", embed_dim=24, image_size=32)
    return root


def with_teachers(params, folders):
    changed = copy.deepcopy(params)
    changed["teachers"] = {
        "sister": {"kind": "directory", "path": str(folders / "sister"), "scale": "own"},
        "worded": {"kind": "directory", "path": str(folders / "worded"), "scale": 30.0},
    }
    changed["views"] = {"count": VIEWS, "area": 0.5, "flip": 0.5, "colour": 0.2}
    changed["teacher"] |= {"of": "worded", "spans": "phrases", "heads": 2, "epochs": 1}
    return changed


@pytest.fixture(scope="module")
def taught(world, folders, tmp_path_factory):
    """The tiny world with teachers up to targets, its parameters, and the home of its feature store."""
    given, params = world
    home = tmp_path_factory.mktemp("home")
    data = linked(tmp_path_factory.mktemp("taught") / "data", given, GIVEN)
    changed = with_teachers(params, folders)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCLIP_HOME", str(home))
        execute(STAGES, changed, data)
    return data, changed, home


@pytest.fixture
def own(taught, tmp_path, monkeypatch):
    """The same in folders of which a test may change anything."""
    data, params, home = taught
    shutil.copytree(data, tmp_path / "data", symlinks=True)
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    return tmp_path / "data", copy.deepcopy(params)


def test_targets_are_there_of_every_teacher_and_read_without_features(own):
    data, _ = own
    shutil.rmtree(data / "features/teachers")
    ws = Workspace(data)
    train = ws.manifest(Split.TRAIN)
    stated = ws.summary("teachers")
    assert set(stated) == {"sister", "worded"}
    for name, about in stated.items():
        found = ws.clip_targets(name, train)
        assert (found.weights, found.scale) == (about["weights"], about["scale"])
        assert found.images.shape == (len(train), about["dimension"])
        assert len(found.views) == VIEWS * len(train)
        assert len(found.captions) == len(train.texts)
        assert len(found.crops) and len(found.phrases)
    assert ws.clip_targets("worded", train).scale == 30.0


def test_the_meta_teacher_is_that_of_its_teacher(own):
    data, params = own
    ws = Workspace(data)
    targets = ws.targets(ws.manifest(Split.TRAIN))
    worded = ws.summary("teachers")["worded"]
    assert targets.metadata["of"] == "worded"
    assert targets.metadata["of_weights"] == worded["weights"]
    assert targets.images.shape[1] == worded["dimension"]
    features = ws.table(tables_of("worded").captions).metadata["features"]
    assert targets.metadata["features"] == features != ws.table(catalog.CAPTION_EMBEDDINGS).metadata["features"]
    params["teacher"] |= {"of": "base"}
    with pytest.raises(InputError):  # of another width
        execute(["targets"], params, data)


def test_the_bases_tables_are_those_without_teachers(own, world):
    given, _ = world
    for artifact in (*catalog.TEACHER_INPUTS, catalog.IMAGE_EMBEDDINGS, *catalog.ZEROSHOT_EMBEDDINGS):
        assert (own[0] / artifact.path).read_bytes() == (given / artifact.path).read_bytes(), artifact.path


def test_a_changed_teacher_computes_its_own_rows_and_nothing_else(own, folders, tmp_path, monkeypatch):
    data, params = own
    forwards = Forwards(monkeypatch)
    execute(STAGES, params, data)
    assert forwards.taken()[0] == {}
    before = digests(data / "features"), digests(data / "targets")
    save_worded_clip(tmp_path / "other", seed=1, embed_dim=20, image_size=32)
    params["teachers"]["worded"]["path"] = str(tmp_path / "other")
    execute(STAGES, params, data)
    ws, (rows, _) = Workspace(data), forwards.taken()
    crops = ws.table(catalog.REGIONS).columns["crop"].to_pylist()
    images = set(ws.manifest().image_keys[:, 0].tolist())
    assert rows["pictures"] >= len(images) + len({c for c in crops if c}) + VIEWS * len(ws.manifest(Split.TRAIN))
    assert rows["texts"] > len(set(ws.manifest().texts))
    assert set(rows) == {"pictures", "texts"}
    after = digests(data / "features"), digests(data / "targets")
    changed = [{n for n in b if n.endswith(".arrow") and b[n] != a[n]} for a, b in zip(before, after, strict=True)]
    assert all(name.startswith("teachers/worded/") for name in changed[0])
    assert {name.partition("/worded/")[0] for name in changed[1]} == {"teachers", "targets.arrow"}

    params["teachers"]["other"] = params["teachers"].pop("worded")
    params["teacher"]["of"] = "other"
    execute(STAGES, params, data)
    assert forwards.taken()[0] == {}, "the same weights under another name"
    assert {path.name for path in (data / "features/teachers").iterdir()} == {"sister", "other"}
    assert {path.name for path in (data / "targets/teachers").iterdir()} == {"sister", "other"}


def test_a_students_checkpoint_is_bound_to_the_views_and_targets_that_it_trains_on(own):
    data, params = own
    ws, base = Workspace(data), towers.load(data / "models/clip")
    how = {"base": base, "student": base, "compute": Compute("cpu", "float32", 32), "train_text": False}
    inputs = Inputs(ws, data.parent / "home", **how, teachers=list(params["teachers"]))
    inputs.corpus_pairs(RECIPES["affinity"], decoded=True, parser=None)
    assert inputs.made_from["views"] == ws.table(catalog.VIEWS).metadata["fingerprint"]
    assert set(inputs.made_from["teachers"]) == {"sister", "worded"}


def test_tokens_are_embedded_for_the_teacher_that_the_meta_teacher_reads(own):
    data, params = own
    params["teacher"] |= {"of": "sister", "spans": "tokens", "heads": 4}
    execute(["features", "teacher", "targets"], params, data)
    assert [Workspace(data).has(tables_of(name).spans[SpanKind.TOKENS]) for name in ("sister", "worded")] == [1, 0]
    params["teacher"] |= {"of": "worded"}
    with pytest.raises(InputError, match=r"set teacher\.spans to phrases"):
        execute(["features"], params, data)


def test_features_of_different_teachers_are_not_mixed(own):
    data, params = own
    shutil.copyfile(data / tables_of("sister").regions.path, data / tables_of("worded").regions.path)
    with pytest.raises(ContractError, match="weights is"):
        execute(["teacher"], params, data)
    with pytest.raises(ContractError, match="weights is"):
        execute(["targets"], params, data)


# Verification


WHAT = ("images", "regions", "captions", "views", "spans/phrases", "zeroshot/images", "zeroshot/prompts")
TEACHERS_TABLES = [f"features/teachers/{name}/{what}.arrow" for name in ("sister", "worded") for what in WHAT]


def test_teachers_are_right_and_their_rows_computed_anew_are_the_same(own):
    found, faults = check(*own)
    assert faults == {}
    anew = {f.artefact: f for f in found if f.deviation is not None}
    assert {*TEACHERS_TABLES, "features/views.arrow", "targets/targets.arrow"} <= set(anew)
    copies = [f"targets/teachers/sister/{what}.arrow" for what in ("images", "views", "crops", "captions", "phrases")]
    assert all(anew[name].recomputed >= 4 and anew[name].deviation == 0 for name in copies)
    assert all(anew[name].recomputed >= 4 and anew[name].deviation < 1e-3 for name in TEACHERS_TABLES)
    assert anew["features/views.arrow"].deviation == 0
    checked = {f.artefact for f in found if not f.absent}
    assert {f"teachers/clips/{name}" for name in ("sister", "worded")} <= checked
    assert {f"targets/teachers/{name}/images.arrow" for name in ("sister", "worded")} <= checked


@pytest.mark.parametrize("what", ["views", "captions", "spans/phrases"])
def test_rows_of_a_teacher_that_are_wrong_are_named(own, what):
    data, params = own
    name = f"features/teachers/worded/{what}.arrow"
    rewrite(data / name, lambda columns: {"vector": as_column(-embeddings_of(columns["vector"]))})
    _, faults = check(data, params)
    copied = f"targets/teachers/worded/{what.removeprefix('spans/')}.arrow"
    assert {name, copied} <= set(faults) <= {name, copied, "targets/targets.arrow"}
    collection = "views" if what == "views" else "texts"
    assert f"dclip cache forget {collection}-" in faults[name]


def test_targets_that_are_others_than_their_features_are_named(own):
    data, params = own

    def turned(columns):
        rows = embeddings_of(columns["vector"]).copy()
        rows[3] = rows[4]
        return {"vector": as_column(rows)}

    rewrite(data / "targets/teachers/sister/crops.arrow", turned)
    _, faults = check(data, params, sample=500)
    assert set(faults) == {"targets/teachers/sister/crops.arrow"}
    assert re.search(r"row 3 \(.*run: dvc repro -sf targets", faults["targets/teachers/sister/crops.arrow"])


def test_views_that_are_others_than_drawn_are_named(own):
    data, params = own
    rewrite(data / "features/views.arrow", lambda columns: {"flip": pa.array([True] * len(columns["flip"]))})
    _, faults = check(data, params, sample=500)
    assert "differs by 1" in faults["features/views.arrow"]


def test_another_teacher_in_the_folder_is_named(own):
    data, params = own
    shutil.copytree(data / "models/clip", data / "teachers/clips/sister", dirs_exist_ok=True)
    _, faults = check(data, params)
    assert "run: dvc repro -sf teachers" in faults["teachers/clips/sister"]
    assert {name for name in faults if name.startswith("features/")} == {
        "features/teachers/sister/columns.arrow", *(name for name in TEACHERS_TABLES if "/sister/" in name),
    }  # fmt: skip
    assert "targets/teachers/sister/images.arrow" in faults


def test_a_member_without_features_of_teachers_is_told_what_is_not_here(own):
    data, params = own
    shutil.rmtree(data / "features/teachers")
    shutil.rmtree(data / "teachers/clips")
    found, faults = check(data, params)
    assert faults == {}
    assert set(TEACHERS_TABLES) <= {f.artefact for f in found if f.absent}
    assert "targets/teachers/worded/images.arrow" in {f.artefact for f in found if not f.absent}
