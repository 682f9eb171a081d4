"""The concepts stage with the real MiniLM on the tiny world, and everything that reads what it writes."""

import copy
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from counting import Forwards
from test_stages import digests
from tiny_world import BEFORE_CONCEPTS, execute, linked

from pipeline.artifacts.catalog import PROBED_CONCEPTS, PROBED_WORDS
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import LABELS, Split, embeddings
from pipeline.artifacts.schema import concepts as concepts_schema
from pipeline.artifacts.tables import ContractError, Table, check_unit
from pipeline.artifacts.weights import WrongWeights
from pipeline.artifacts.workspace import Workspace
from pipeline.errors import InputError
from pipeline.probes import tables as probed

TABLES = ("language.arrow", "labels.arrow", "concepts.arrow")
WIDTH = 384
MODELS = ("base", "student", "end_point")


def summary(data, stage="concepts"):
    return json.loads((data / stage / "metrics.json").read_text())


def of_tables(data):
    return {name: digest for name, digest in digests(data / "concepts").items() if name in TABLES}


@pytest.fixture(scope="module")
def finished(knowing, tmp_path_factory):
    """The tiny world after a student was trained with concepts and measured."""
    given, params = knowing
    data = linked(tmp_path_factory.mktemp("finished") / "data", given, (*BEFORE_CONCEPTS, "concepts"))
    execute(["student", "embed", "index", "probe", "evaluate"], params, data)
    return data, params


# The tables


def test_language_and_labels_have_a_row_for_every_caption_in_the_manifests_order(knowing):
    data, _ = knowing
    manifest = Manifest(data / "curate")
    wanted = [(key, i) for key, own in zip(manifest.keys, manifest.captions, strict=True) for i in range(len(own))]
    language = Table(data / "concepts/language.arrow", embeddings("caption_index", dimension=WIDTH))
    for table in (language, Table(data / "concepts/labels.arrow", LABELS)):
        assert table.metadata["manifest"] == manifest.fingerprint
        assert list(zip(table.strings("key"), table.integers("caption_index").tolist(), strict=True)) == wanted
    check_unit(language)


def test_equal_captions_have_equal_rows_and_others_have_not(knowing):
    data, _ = knowing
    texts = [text for own in Manifest(data / "curate").captions for text in own]
    rows = {}
    for text, row in zip(texts, Table(data / "concepts/language.arrow").vectors(), strict=True):
        rows.setdefault(text, set()).add(row.tobytes())
    assert all(len(found) == 1 for found in rows.values())
    assert len({found for own in rows.values() for found in own}) > 0.95 * len(rows)


def test_soft_labels_are_shares_of_the_nearest_concepts(knowing):
    data, params = knowing
    manifest = Manifest(data / "curate")
    concepts, shares = Workspace(data).labels(manifest)
    told = Table(data / "concepts/concepts.arrow", concepts_schema(WIDTH))
    assert concepts.shape[1] == min(params["concepts"]["top"], len(told))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (shares > 0).all() and (np.diff(shares, axis=1) <= 0).all()
    assert (concepts >= 0).all() and (concepts < len(told)).all()
    assert all(len(set(row)) == len(row) for row in concepts.tolist())
    similarity = Table(data / "concepts/language.arrow").vectors().astype(np.float32) @ told.vectors("centre").T
    nearest = np.take_along_axis(similarity, concepts[:, :1].astype(np.int64), axis=1)[:, 0]
    np.testing.assert_allclose(nearest, similarity.max(axis=1), atol=1e-5)


def test_there_are_as_many_concepts_as_the_root_of_the_distinct_training_captions(knowing):
    data, params = knowing
    assert params["concepts"]["count"] == "auto"
    training = {text for own in Manifest(data / "curate", (Split.TRAIN,)).captions for text in own}
    every = {text for own in Manifest(data / "curate").captions for text in own}
    rows = Table(data / "concepts/concepts.arrow").columns.to_pylist()
    sizes = [row["size"] for row in rows]
    assert [row["concept"] for row in rows] == list(range(round(len(training) ** 0.5)))
    assert sum(sizes) == len(training)
    assert {text for row in rows for text in row["captions"]} <= training, "named after nothing that is measured on"
    assert sum(bool(row["words"]) for row in rows) > 0.9 * len(rows)
    assert summary(data).items() >= {
        "enabled": True, "dimension": WIDTH, "distinct_captions": len(every), "concepts": len(rows),
        "smallest": min(sizes), "largest": max(sizes),
    }.items()  # fmt: skip


# Again


def test_a_second_run_embeds_nothing_and_a_new_caption_embeds_one(knowing, tmp_path, monkeypatch):
    given, params = knowing
    forwards = Forwards(monkeypatch)
    data = linked(tmp_path / "data", given, [stage for stage in BEFORE_CONCEPTS if stage != "curate"])
    (data / "curate").mkdir()
    path = data / "curate/manifest.parquet"
    path.write_bytes((given / "curate/manifest.parquet").read_bytes())
    execute(["concepts"], params, data)
    assert forwards.taken()[0] == {}
    assert of_tables(data) == of_tables(given)

    table = pq.read_table(path)
    captions = table["captions"].to_pylist()
    captions[0][0] = "a lighthouse that nobody has seen before"
    pq.write_table(table.set_column(table.schema.get_field_index("captions"), "captions", [captions]), path)
    execute(["concepts"], params, data)
    assert forwards.taken()[0] == {"language": 1}
    rows, before = (Table(folder / "concepts/language.arrow").vectors() for folder in (data, given))
    assert not np.array_equal(rows[0], before[0])
    assert np.array_equal(rows[1:], before[1:])


def test_a_second_run_leaves_the_same_summary(knowing, tmp_path):
    given, params = knowing
    data = linked(tmp_path / "data", given, BEFORE_CONCEPTS)
    execute(["concepts"], params, data)
    assert summary(data) == summary(given)


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(knowing, tmp_path, monkeypatch):
    """From an empty feature store, so every vector is made anew: the same parameters give the same bytes."""
    given, params = knowing
    data = linked(tmp_path / "data", given, BEFORE_CONCEPTS)
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    forwards = Forwards(monkeypatch, stop_after={"language": 3})
    with pytest.raises(KeyboardInterrupt):
        execute(["concepts"], params, data)
    assert not (data / "concepts").exists()
    done = forwards.taken()[0]["language"]
    forwards.stop_after.clear()
    execute(["concepts"], params, data)
    lacking = summary(given)["distinct_captions"] - done
    assert 0 < forwards.taken()[0]["language"] == lacking
    assert of_tables(data) == of_tables(given)


# Refusals


def test_more_concepts_than_captions_are_refused(knowing, tmp_path):
    given, params = knowing
    data = linked(tmp_path / "data", given, BEFORE_CONCEPTS)
    changed = copy.deepcopy(params)
    changed["concepts"]["count"] = 100_000
    training = {text for own in Manifest(data / "curate", (Split.TRAIN,)).captions for text in own}
    with pytest.raises(
        InputError, match=rf"concepts\.count is 100000, and there are {len(training)} distinct captions"
    ):
        execute(["concepts"], changed, data)
    assert not (data / "concepts").exists()


def test_a_model_that_is_not_installed_is_named_with_what_can_be_done(knowing, tmp_path):
    given, params = knowing
    data = linked(tmp_path / "data", given, BEFORE_CONCEPTS)
    changed = copy.deepcopy(params)
    changed["concepts"]["model"] |= {"name": "nobody/has-this-model", "sha256": ""}
    with pytest.raises(WrongWeights, match=r"no language model at nobody/has-this-model .* expected a folder, an ins"):
        execute(["concepts"], changed, data)
    assert not (data / "concepts").exists()


def test_a_model_with_another_hash_is_refused(knowing, tmp_path):
    given, params = knowing
    data = linked(tmp_path / "data", given, BEFORE_CONCEPTS)
    changed = copy.deepcopy(params)
    changed["concepts"]["model"]["sha256"] = "0" * 64
    with pytest.raises(WrongWeights, match=r"has sha256 53aa51172d.*, expected 0{64}; .*concepts\.model\.sha256"):
        execute(["concepts"], changed, data)


# Not enabled


def test_without_concepts_the_tables_are_empty_and_valid(world):
    data, params = world
    assert params["concepts"]["enabled"] is False
    assert summary(data) == {"enabled": False}
    schemas = (embeddings("caption_index", dimension=1), LABELS, concepts_schema(1))
    for name, schema in zip(TABLES, schemas, strict=True):
        table = Table(data / "concepts" / name, schema, manifest=Manifest(data / "curate").fingerprint)
        assert len(table) == 0


def test_without_concepts_nothing_of_them_is_probed_or_reported(world):
    data, _ = world
    metrics = summary(data, "probe")
    assert "language" not in metrics
    assert not any("concepts" in metrics[model] for model in MODELS)
    assert probed.read(Workspace(data), PROBED_CONCEPTS) == []
    assert not (data / "evaluate/report/concepts.html").exists()
    assert "concepts.html" not in (data / "evaluate/report/index.html").read_text()


def test_a_student_of_knowledge_without_concepts_is_told_to_enable_them(world, knowing, tmp_path):
    given, _ = world
    _, params = knowing
    data = linked(tmp_path / "data", given, (*BEFORE_CONCEPTS, "concepts"))
    with pytest.raises(ContractError, match=r"set concepts\.enabled to true and run: dvc repro concepts"):
        execute(["student"], params, data)


# What follows


def test_the_student_has_learnt_by_the_terms_of_its_recipe(finished):
    data, params = finished
    history = (data / "student/history.csv").read_text().splitlines()
    assert {"contrastive", "language", "concepts"} <= set(history[0].split(","))
    metrics = summary(data, "student")
    assert (metrics["recipe"], params["student"]["text"]) == ("knowledge_clip", "trainable")
    from safetensors.torch import load_file

    base, end = (
        load_file(data / name / "open_clip_model.safetensors") for name in ("models/clip", "student/end_point")
    )
    assert set(base) == set(end), "the classifier and the projection are dropped"
    assert not (base["token_embedding.weight"] == end["token_embedding.weight"]).all()


def test_probes_tell_of_concepts_and_of_the_language_model(finished):
    data, _ = finished
    metrics = summary(data, "probe")
    assert set(metrics["language"]) == {"captions"}
    assert set(metrics["language"]["captions"]) == set(metrics["base"]["captions"])
    for model in MODELS:
        assert set(metrics[model]["concepts"]) == {"image", "text", "both"}
        assert all(0 <= value <= 1 for value in metrics[model]["concepts"].values())
    for model in ("student", "end_point"):
        for name, change in metrics["difference"][model]["concepts"].items():
            assert change["low"] <= change["value"] <= change["high"]
            after, before = metrics[model]["concepts"][name], metrics["base"]["concepts"][name]
            assert change["value"] == pytest.approx(after - before, abs=1e-9)


def test_the_language_models_words_and_the_concepts_have_tables(finished):
    data, _ = finished
    words = probed.read(Workspace(data), PROBED_WORDS)
    assert words and set(words[0]) == {"word", "captions", "base", "student", "language"}
    metrics = summary(data, "probe")
    mean = np.mean([float(row["language"]) for row in words])
    assert mean == pytest.approx(metrics["language"]["captions"]["words"], abs=1e-3)

    rows = probed.read(Workspace(data), PROBED_CONCEPTS)
    test = Manifest(data / "curate", (Split.TEST,))
    nearest = Workspace(data).labels(test)[0][:, 0]
    counts = {k: int((nearest == k).sum()) for k in np.unique(nearest).tolist()}
    assert {int(row["concept"]): int(row["captions"]) for row in rows} == counts
    for model in ("base", "student"):
        hits = sum(int(row["captions"]) * float(row[model]) for row in rows)
        assert hits / len(nearest) == pytest.approx(metrics[model]["concepts"]["image"], abs=1e-3)


def test_the_report_has_a_page_of_concepts_that_it_leads_to(finished):
    data, _ = finished
    report = data / "evaluate/report"
    assert 'href="concepts.html"' in (report / "index.html").read_text()
    page = (report / "concepts.html").read_text()
    assert 'href="index.html"' in page
    for row in Table(data / "concepts/concepts.arrow").columns.to_pylist():
        assert f"concept {row['concept']}, {row['size']:,} training captions" in page
        if row["words"]:
            assert ", ".join(row["words"]) in page
    assert "data:image/jpeg;base64," in page
    for target in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page):
        assert target == "index.html" or target.startswith("data:"), target


def test_the_page_of_concepts_is_reached_without_probes_too(finished, tmp_path):
    given, params = finished
    stages = (*BEFORE_CONCEPTS, "concepts", "student", "embed", "index")
    data = linked(tmp_path / "data", given, stages)
    changed = copy.deepcopy(params)
    changed["probe"]["enabled"] = False
    execute(["probe", "evaluate"], changed, data)
    assert summary(data, "probe") == {"enabled": False}
    report = data / "evaluate/report"
    assert (report / "concepts.html").is_file()
    assert "Probes" not in (report / "index.html").read_text()
    assert 'href="concepts.html"' in (report / "index.html").read_text()
