import copy
import hashlib
import json
import shutil

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
import webdataset as wds
from tiny_world import STAGES, execute, linked

from pipeline.artifacts.catalog import PROBED_ATTRIBUTES, PROBED_CONCEPTS, PROBED_WORDS
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import REGIONS, SPANS, SpanKind, Split
from pipeline.artifacts.tables import ContractError, Table
from pipeline.artifacts.workspace import Workspace
from pipeline.concepts.names import words as words_of
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.images.formats import EXTENSIONS
from pipeline.probes import attributes
from pipeline.probes.attributes import measurable


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_metrics_have_every_figure_of_the_contract(world):
    data, _ = world
    metrics = json.loads((data / "evaluate/metrics.json").read_text())
    names = {"recall@1", "recall@5", "recall@10", "median_rank", "mean_rank", "mrr", "map", "map@r"}
    for model in ("base", "student"):
        for way in ("text_to_image", "image_to_text"):
            assert names <= metrics[model][way].keys()
        for part in ("zeroshot", "zeroshot_unseen"):
            assert {"top1", "top5"} <= metrics[model][part].keys()
        assert 0 < metrics[model]["rsum"] < 6
    for way in ("text_to_image", "image_to_text"):
        for name in names - {"median_rank", "mean_rank"}:
            interval = metrics["difference"][way][name]
            assert interval["low"] <= interval["value"] <= interval["high"]
            before, after = metrics["base"][way][name], metrics["student"][way][name]
            assert interval["value"] == pytest.approx(after - before, abs=1e-9)
    assert set(metrics["teachers"]) == {"large"}
    large = metrics["teachers"]["large"]
    assert (large["dimension"], large["image_size"]) == (metrics["base"]["dimension"], 96)
    for way in ("text_to_image", "image_to_text"):
        assert names == large[way].keys()
        lead = large["difference"][way]["recall@1"]
        assert lead["low"] <= lead["value"] <= lead["high"]
        assert lead["value"] == pytest.approx(metrics["student"][way]["recall@1"] - large[way]["recall@1"], abs=1e-9)
    assert all({"top1", "top5"} <= large[part].keys() for part in ("zeroshot", "zeroshot_unseen"))
    assert "teacher large" in (data / "evaluate/report/index.html").read_text()
    zeroshot = metrics["student"]["zeroshot"]
    assert zeroshot["candidates"] == 100
    if metrics["base"]["zeroshot"]["top1"]:
        assert zeroshot["retained"] == pytest.approx(zeroshot["top1"] / metrics["base"]["zeroshot"]["top1"])


def test_probes_have_every_figure_of_the_contract(world):
    data, _ = world
    metrics = json.loads((data / "probe/metrics.json").read_text())
    assert set(metrics) == {"enabled", "base", "student", "end_point", "difference"}
    shown = attributes.read(data / "sample/attributes")
    measured = {shown.groups[i] for i in measurable(shown)}
    assert measured == set(shown.groups), "the tiny world has images enough"
    figures = {"attributes": {"all", *measured}, "captions": {"words", "exact", "near_misses"}}
    for model in ("base", "student", "end_point"):
        assert {kind: set(of) for kind, of in metrics[model].items()} == figures
        assert all(0 <= value <= 1 for of in metrics[model].values() for value in of.values())
    assert metrics["student"]["captions"] == metrics["base"]["captions"], "its text tower is the base's"
    assert set(metrics["difference"]) == {"student", "end_point"}
    for model, of_model in metrics["difference"].items():
        for kind, names in figures.items():
            for name in names:
                change = of_model[kind][name]
                assert change["low"] <= change["value"] <= change["high"]
                after, before = metrics[model][kind][name], metrics["base"][kind][name]
                assert change["value"] == pytest.approx(after - before, abs=1e-9)


def test_probes_have_a_row_for_every_attribute_and_word_that_give_their_means(world):
    data, params = world
    metrics = json.loads((data / "probe/metrics.json").read_text())
    shown = attributes.read(data / "sample/attributes")
    rows = {row["attribute"]: row for row in Workspace(data).rows(PROBED_ATTRIBUTES)}
    assert list(rows) == [shown.names[i] for i in measurable(shown)]
    for i in measurable(shown):
        row = rows[shown.names[i]]
        assert row["group"] == shown.groups[i]
        assert int(row["pictures"]) == shown.labels[~shown.training, i].sum()
    words = Workspace(data).rows(PROBED_WORDS)
    assert 0 < len(words) <= params["probe"]["words"]
    for model in ("base", "student"):
        for kind, name, of in (("attributes", "all", list(rows.values())), ("captions", "words", words)):
            mean = np.mean([float(row[model]) for row in of])
            assert mean == pytest.approx(metrics[model][kind][name], abs=1e-4)
        for group in {row["group"] for row in rows.values()}:
            mean = np.mean([float(row[model]) for row in rows.values() if row["group"] == group])
            assert mean == pytest.approx(metrics[model]["attributes"][group], abs=1e-4)
    for row in words:
        texts = [text for own in Manifest(data / "curate", (Split.TEST,)).captions for text in own]
        assert int(row["captions"]) == sum(row["word"] in words_of(text) for text in texts) > 0
    assert Workspace(data).rows(PROBED_CONCEPTS) == [], "concepts are not enabled"


def test_every_stage_leaves_a_summary(world):
    data, _ = world
    for stage in STAGES:
        assert json.loads((data / stage / "metrics.json").read_text()), stage


def test_student_loads_in_open_clip_and_gives_our_embeddings(world):
    data, _ = world
    model = open_clip.create_model(f"local-dir:{data / 'student'}")
    model.eval()
    _, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{data / 'student'}")
    manifest = Manifest(data / "curate", (Split.TEST,))
    pictures = torch.stack([preprocess(decoding.decode(picture)) for _, picture in manifest.images("test")])
    with torch.no_grad():
        theirs = torch.nn.functional.normalize(model.encode_image(pictures), dim=-1).numpy()
    from pipeline.search import index

    ours, _ = index.load(data / "index/faiss").vectors()
    assert np.abs(theirs - ours).max() < 2**-12, "but for rounding to float16"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_beside_itself_differs_by_nothing(world, tmp_path, dtype):
    given, params = world
    if dtype == "bfloat16":
        params = copy.deepcopy(params)
        params["compute"]["dtype"] = dtype
        data = linked(tmp_path / "data", given, set(STAGES) - {"features", "student", "embed", "index", "evaluate"})
        execute(["features"], params, data)
    else:
        data = linked(tmp_path / "data", given, set(STAGES) - {"student", "embed", "index", "evaluate"})
    shutil.copytree(given / "student", data / "student")
    shutil.copytree(data / "models/clip", data / "student", dirs_exist_ok=True)
    execute(["embed", "index", "evaluate"], params, data)
    metrics = json.loads((data / "evaluate/metrics.json").read_text())
    for way in ("text_to_image", "image_to_text"):
        assert metrics["student"][way] == metrics["base"][way]
        assert all(change == {"value": 0, "low": 0, "high": 0} for change in metrics["difference"][way].values())
    assert metrics["difference"]["rsum"] == {"value": 0, "low": 0, "high": 0}


def test_frozen_text_tower_is_the_base_one_bit_for_bit(world):
    data, _ = world
    from safetensors.torch import load_file

    base = load_file(data / "models/clip/open_clip_model.safetensors")
    student = load_file(data / "student/open_clip_model.safetensors")
    moved = {name for name in base if not torch.equal(base[name], student[name])}
    assert moved and all(name.startswith("visual.") or name == "logit_scale" for name in moved)
    statistics = [n for n in base if "running_" in n or "num_batches" in n]
    assert statistics and not moved & set(statistics)


def test_shards_are_plain_webdataset_with_original_bytes(world):
    data, _ = world
    rows = {row["key"]: row for row in Manifest(data / "curate").rows}
    seen = 0
    for split in Split:
        for shard in sorted((data / "curate" / split).glob("*.tar")):
            for row, sample in enumerate(wds.WebDataset(str(shard), shardshuffle=False)):
                expected = rows[sample["__key__"]]
                assert (expected["split"], expected["shard"], expected["row"]) == (split, int(shard.stem), row)
                (image,) = (sample[form] for form in set(EXTENSIONS.values()) & sample.keys())
                assert hashlib.sha256(image).hexdigest() == expected["image_sha256"]
                assert json.loads(sample["json"])["captions"] == expected["captions"]
                seen += 1
    assert seen == len(rows)


def test_no_evaluation_image_trains(world):
    data, _ = world
    planted = json.loads((data / "sample/planted.json").read_text())
    guarded = {key for defects in planted.values() for key in defects.get("evaluation_image", [])}
    copies = {copy for defects in planted.values() for _, copy in defects.get("evaluation_copy", [])}
    assert guarded and copies
    guarded |= copies
    rows = Manifest(data / "curate").rows
    assert not guarded & {row["key"] for row in rows}
    hashes = {split: {r["image_sha256"] for r in rows if r["split"] == split} for split in Split}
    assert not hashes["train"] & hashes["test"] and not hashes["train"] & hashes["val"]


def test_every_planted_broken_image_and_caption_is_rejected_for_its_reason(world):
    data, _ = world
    planted = json.loads((data / "sample/planted.json").read_text())
    rejected = pq.read_table(data / "curate/rejected.parquet").to_pylist()
    for reason in ("missing_image", "unreadable_image", "empty_file", "not_an_image", "oversized_image"):
        wanted = {key for defects in planted.values() for key in defects.get(reason, [])}
        found = {r["key"] for r in rejected if r["kind"] == "image" and r["reason"] == reason}
        over_quota = {r["key"] for r in rejected if r["reason"] == "over_quota"}
        assert found <= wanted and wanted <= found | over_quota
    for reason in ("empty_caption", "no_words", "long_caption", "duplicate_caption", "not_utf8", "malformed_row"):
        wanted = {place for defects in planted.values() for place in defects.get(reason, [])}
        assert {r["place"] for r in rejected if r["reason"] == reason} == wanted


def test_tables_follow_the_manifest_and_region_0_is_the_whole_picture(world):
    data, _ = world
    manifest = Manifest(data / "curate")
    regions = Table(data / "regions/regions.arrow", REGIONS, manifest=manifest.fingerprint)
    rows = regions.columns.to_pylist()
    first = [row for row in rows if row["region_index"] == 0]
    assert [row["key"] for row in first] == manifest.keys
    assert all(row["box"] == [0, 0, 1, 1] and row["crop"] is None for row in first)
    others = [row for row in rows if row["region_index"] > 0]
    assert others, "the tiny detector finds something at this confidence"
    for row in others:
        x0, y0, x1, y1 = row["box"]
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        width, height = decoding.decode(row["crop"]).size
        assert width == height
    vectors = Table(data / "features/regions.arrow", manifest=manifest.fingerprint)
    assert vectors.strings("key") == regions.strings("key")
    norms = np.linalg.norm(vectors.vectors().astype(np.float32), axis=1)
    assert np.abs(norms - 1).max() < 2e-3


def test_spans_are_words_of_their_captions(world):
    data, _ = world
    manifest = Manifest(data / "curate")
    captions = dict(zip(manifest.keys, manifest.captions, strict=True))
    for row in Table(data / "spans/spans.arrow", SPANS).columns.slice(0, 500).to_pylist():
        text = captions[row["key"]][row["caption_index"]][row["start"] : row["end"]]
        assert text == text.strip() != ""
        if row["kind"] == SpanKind.TOKENS:
            assert " " not in text


def test_same_parameters_give_the_same_bytes(world, tmp_path):
    data, params = world
    again = copy.deepcopy(params)
    again["compute"]["workers"] = 2
    again["sources"]["path"] = str(tmp_path / "sample/corpora")
    execute(["sample", "curate"], again, tmp_path)
    assert digests(tmp_path / "sample") == digests(data / "sample")
    assert digests(tmp_path / "curate") == digests(data / "curate")


def test_same_parameters_give_the_same_models_and_results(world, tmp_path, monkeypatch):
    data, params = world
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))  # whose feature store is empty
    for stage in ("sample", "curate"):
        (tmp_path / stage).symlink_to(data / stage)
    frozen = ("models", "teachers", "regions", "spans", "features", "teacher", "targets")
    execute(frozen, params, tmp_path)
    for stage in frozen:
        assert digests(tmp_path / stage) == digests(data / stage), stage


@pytest.mark.parametrize(
    "recipe, text, init",
    [
        ("hard_negatives", "frozen", "base"),
        ("procrustes", "frozen", "base"),
        ("dclip", "trainable", "base"),
        ("shuffled_targets", "frozen", "base"),
        ("continue_base", "frozen", "base"),
        ("dclip_clean", "trainable", "small"),
    ],
)
def test_other_recipes_and_a_lightweight_student(world, tmp_path, recipe, text, init):
    data, params = world
    before = ("sample", "curate", "models", "teachers", "regions", "features", "targets", "teacher", "concepts")
    for stage in before:
        (tmp_path / stage).symlink_to(data / stage)
    changed = copy.deepcopy(params)
    changed["student"] |= {"recipe": recipe, "text": text, "epochs": 1}
    if init == "small":
        config = json.loads((data / "models/clip/open_clip_config.json").read_text())
        config["model_cfg"]["embed_dim"] = 48
        config["model_cfg"]["vision_cfg"]["width"] = 8
        architecture = tmp_path / "small.json"
        architecture.write_text(json.dumps(config))
        changed["student"]["init"] = str(architecture)
    execute(["student", "embed", "index", "probe", "evaluate"], changed, tmp_path)
    metrics = json.loads((tmp_path / "evaluate/metrics.json").read_text())
    assert 0 <= metrics["student"]["text_to_image"]["recall@1"] <= 1
    probed = json.loads((tmp_path / "probe/metrics.json").read_text())
    assert (probed["student"]["captions"] == probed["base"]["captions"]) == (text == "frozen")
    assert json.loads((tmp_path / "student/metrics.json").read_text())["recipe"] == recipe


def test_features_of_another_curation_are_refused(world, tmp_path):
    data, params = world
    for stage in ("sample", "models", "regions", "spans", "features"):
        (tmp_path / stage).symlink_to(data / stage)
    changed = copy.deepcopy(params)
    changed["seed"] += 1
    execute(["curate"], changed, tmp_path)
    with pytest.raises(ContractError, match=r"manifest is .* expected"):
        execute(["teacher"], changed, tmp_path)


def test_bad_input_ends_in_an_error_that_says_what_to_do(world, tmp_path):
    data, params = world
    missing = copy.deepcopy(params)
    missing["sources"]["path"] = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        execute(["curate"], missing, tmp_path)

    shutil.rmtree(tmp_path / "curate")  # what was known until then
    (tmp_path / "curate").symlink_to(data / "curate")
    (tmp_path / "models").mkdir()
    for name in ("metrics.json", "detector.pt"):
        (tmp_path / "models" / name).write_bytes((data / "models" / name).read_bytes())
    (tmp_path / "models/detector.pt").write_bytes(b"not the weights that were hashed")
    with pytest.raises(InputError, match=r"has sha256 .* expected"):
        execute(["regions"], params, tmp_path)

    starved = copy.deepcopy(params)
    starved["curate"]["validation"] = 1e-9
    (tmp_path / "curate").unlink()
    with pytest.raises(InputError, match="no sample was kept for the val split"):
        execute(["curate"], starved, tmp_path)
