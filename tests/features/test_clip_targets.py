import shutil

import numpy as np
import pytest
from tiny_material import CROPS, SAMPLES, VIEWS, embed_all, lay_out, write_targets
from tiny_models import COMPUTE

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, Table
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode, towers

TRAIN = SAMPLES[Split.TRAIN]
PHRASES = ["a red star", "a cat", "two moons", "a mat", "?!"]
"""The phrases of the training captions, each where it is first seen."""
TABLES = ("images", "views", "crops", "captions", "phrases", "columns")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    ws = lay_out(tmp_path_factory.mktemp("data"))
    embed_all(ws, tmp_path_factory.mktemp("store"))
    return ws, write_targets(ws, "twin", "worded")


@pytest.fixture
def ws(made, tmp_path):
    """What a member has who fetched targets and the manifest."""
    for stage in ("curate", "targets"):
        shutil.copytree(made[0].data / stage, tmp_path / stage)
    return Workspace(tmp_path)


def targets_of(ws, name):
    return ws.clip_targets(name, ws.manifest(Split.TRAIN))


@pytest.mark.parametrize(("name", "width"), [("twin", 16), ("worded", 24)])
def test_targets_are_the_rows_of_the_features_that_train(made, ws, name, width):
    source, counts = made
    found, tables = targets_of(ws, name), catalog.tables_of(name)
    assert found.images.shape == (len(TRAIN), width)
    regions = source.table(tables.regions)
    train = [key in TRAIN for key in regions.strings("key")]
    wanted = {
        "images": source.table(tables.images).vectors()[: len(TRAIN)],
        "views": source.table(tables.views).vectors(),
        "crops": regions.vectors()[train & (regions.integers("region_index") > 0)],
        "captions": source.table(tables.captions).vectors()[: sum(map(len, TRAIN.values()))],
    }
    for what, rows in wanted.items():
        assert getattr(found, what).tobytes() == rows.tobytes(), what
    assert len(found.crops) == sum(CROPS[key] for key in TRAIN)
    assert found.view_count == VIEWS
    assert counts[name] == {"weights": found.weights, **{what: len(getattr(found, what)) for what in TABLES}}


@pytest.mark.parametrize("name", ["twin", "worded"])
def test_a_phrase_has_one_row_which_is_that_of_its_text(made, ws, name):
    phrases = targets_of(ws, name).phrases
    assert list(phrases.number) == PHRASES
    clip = towers.load(made[0].path(catalog.clip_of(name)))
    wanted = encode.texts(clip, ["a mat", "a cat", "a mat"], COMPUTE).numpy()
    assert np.allclose(phrases[["a mat", "a cat", "a mat"]], wanted, atol=1e-3)
    assert phrases.rows(["two moons", "a red star"]).tolist() == [2, 0]
    assert "a cat" in phrases and "a blue sky" not in phrases
    with pytest.raises(ContractError, match=r"phrases\.arrow has no row of 'a blue sky'; run: dvc repro targets"):
        phrases[["a cat", "a blue sky"]]


def test_whose_they_are_stands_in_every_table(made, ws):
    for name, scale in (("twin", towers.load(made[0].path(catalog.clip_of("twin"))).scale), ("worded", 50.0)):
        clip = towers.load(made[0].path(catalog.clip_of(name)))
        found = targets_of(ws, name)
        assert (found.scale, found.weights) == (pytest.approx(scale), clip.weights)
        for what in TABLES:
            table = ws.table(getattr(catalog.targets_of(name), what), ws.manifest(), weights=clip.weights, teacher=name)
            assert table.json("preprocessing") == {**clip.config["preprocess_cfg"], "size": clip.image_size}
            assert table.json("inputs")["weights"] == clip.weights


def test_another_scale_is_another_origin(made, tmp_path):
    shutil.copytree(made[0].data, tmp_path / "data")
    ws = Workspace(tmp_path / "data")
    path = ws.path(catalog.tables_of("twin").images)
    before = targets_of(ws, "twin").metadata["fingerprint"]
    table = Table(path)
    with EmbeddingWriter(path, table.columns.schema.remove_metadata(), table.metadata | {"scale": 7.0}) as writer:
        writer.write(table.strings("key"), table.vectors())
    write_targets(ws, "twin")
    assert ws.table(catalog.targets_of("twin").images).metadata["fingerprint"] != before


def test_writing_again_gives_the_same_bytes(made, tmp_path):
    shutil.copytree(made[0].data, tmp_path / "data")
    before = {path.name: path.read_bytes() for path in (tmp_path / "data/targets/teachers/twin").iterdir()}
    write_targets(Workspace(tmp_path / "data"), "twin")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data/targets/teachers/twin").iterdir()} == before
    assert sorted(before) == sorted(f"{what}.arrow" for what in TABLES)


def rewritten(ws, name, what, change=lambda columns, vectors: (columns, vectors), **metadata):
    """A table of targets written again with other rows or other metadata."""
    table = Table(ws.path(getattr(catalog.targets_of(name), what)))
    schema = table.columns.schema.remove_metadata()
    columns = [table.columns[column].to_pylist() for column in schema.names[:-1]]
    columns, vectors = change(columns, np.array(table.vectors()))
    with EmbeddingWriter(table.path, schema, table.metadata | metadata) as writer:
        writer.write(*columns, vectors)


@pytest.mark.parametrize("what", [what for what in TABLES if what != "images"])
def test_a_table_of_another_teacher_is_refused(ws, what):
    mine, theirs = (getattr(catalog.targets_of(name), what) for name in ("twin", "worded"))
    shutil.copyfile(ws.path(theirs), ws.path(mine))
    with pytest.raises(ContractError, match=r"weights is .*, expected"):
        targets_of(ws, "twin").check()


@pytest.mark.parametrize("field", ["weights", "scale", "features", "manifest"])
def test_tables_of_different_origins_are_refused(ws, field):
    rewritten(ws, "twin", "captions", **{field: "other"})
    with pytest.raises(ContractError, match=f"{field} is 'other', expected"):
        targets_of(ws, "twin").check()


def reverse(columns, vectors):
    return [column[::-1] for column in columns], vectors


def first_longer(columns, vectors):
    vectors[0] *= 2
    return columns, vectors


def without_last(columns, vectors):
    return [column[:-1] for column in columns], vectors[:-1]


@pytest.mark.parametrize("what", TABLES)
def test_a_vector_that_is_not_of_unit_length_is_refused(ws, what):
    rewritten(ws, "twin", what, first_longer)
    with pytest.raises(ContractError, match=r"row 0 .* has length [12][.\d]*, expected 1; run: dvc repro -sf targets"):
        targets_of(ws, "twin").check()


@pytest.mark.parametrize("what", ["images", "views", "crops", "captions"])
def test_rows_in_another_order_are_refused(ws, what):
    rewritten(ws, "twin", what, reverse)
    with pytest.raises(ContractError, match=f"{what}.arrow"):
        targets_of(ws, "twin").check()


@pytest.mark.parametrize("what", ["images", "views", "captions"])
def test_a_table_that_lacks_a_row_is_refused(ws, what):
    rewritten(ws, "twin", what, without_last)
    with pytest.raises(ContractError, match=rf"{what}.arrow: .* expected"):
        targets_of(ws, "twin").check()


def test_a_teacher_without_targets_names_the_stage(ws):
    with pytest.raises(ContractError, match=r"does not exist.* dvc repro targets"):
        targets_of(ws, "nobody")


def test_features_of_other_spans_are_refused(made, tmp_path):
    shutil.copytree(made[0].data, tmp_path / "data")
    ws = Workspace(tmp_path / "data")
    path = ws.path(catalog.tables_of("twin").spans[SpanKind.PHRASES])
    table = Table(path)
    metadata = table.metadata | {"inputs": {"spans": "others", "regions": "r"}}
    with EmbeddingWriter(path, table.columns.schema.remove_metadata(), metadata) as writer:
        index = [table.columns[name].to_pylist() for name in table.columns.schema.names[:-1]]
        writer.write(*index, table.vectors())
    with pytest.raises(ContractError, match="made from spans others, expected s; run: dvc repro features"):
        write_targets(ws, "twin")


def test_without_views_there_are_none_of_them(tmp_path):
    ws = lay_out(tmp_path / "data")
    embed_all(ws, tmp_path / "store", count=0, teachers=("worded",))
    write_targets(ws, "worded")
    found = targets_of(ws, "worded")
    assert (found.views.shape, found.view_count) == ((0, 24), 0)
    found.check()
