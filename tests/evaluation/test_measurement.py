import json
import re
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.factory import _MODEL_CONFIGS
from tiny_corpora import png
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, CONFIG, picture, tiny_clip, unit_rows
from tiny_zeroshot import put, put_webdataset

from pipeline.artifacts.schema import Split
from pipeline.artifacts.weights import WrongWeights
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.evaluation import comparison, datasets, measurement
from pipeline.retrieval import metrics
from pipeline.zeroshot import accuracy, classifier, sets

WAYS = ("text_to_image", "image_to_text")
CAPTIONS = [["a red star", "a star"], ["a blue moon"], ["a cat", "two cats", "cats"], ["a sun"], ["dogs"], ["a", "b"]]
SAMPLES = {f"cc-{i}": captions for i, captions in enumerate(CAPTIONS)}
OWNER = np.repeat(np.arange(6), [2, 1, 3, 1, 1, 2])


@pytest.fixture(scope="module")
def clips():
    """Two CLIPs of other random weights."""
    return {"model": tiny_clip(seed=0), "against": tiny_clip(seed=4)}


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Six test images, which are image(0) to image(5), with one to three captions each."""
    folder = tmp_path_factory.mktemp("curate")
    write_manifest(folder, {Split.TEST: SAMPLES})
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Three classes of several images."""
    return put(tmp_path_factory.mktemp("classes"), {"cat": 4, "red_star": 5, "moon": 3})


def embedded(clip):
    """Images and captions of `curated`, each in a forward of its own."""
    to_pixels = clip.pixels()
    images = [encode.images(clip, [to_pixels(picture(i))], COMPUTE) for i in range(6)]
    texts = [encode.texts(clip, [text], COMPUTE) for own in CAPTIONS for text in own]
    return torch.cat(images).numpy(), torch.cat(texts).numpy()


def measured(models, path, compute=COMPUTE, samples=50):
    return measurement.retrieval(models, path, Split.TEST, compute, samples=samples)


def alone(clips, role="model"):
    return {"model": clips[role]}


# Loading


@pytest.mark.parametrize(("name", "folder"), [("student", "student"), ("base", "models/clip")])
def test_the_pipelines_own_models_have_names(tmp_path, clips, name, folder):
    clips["against"].save(tmp_path / folder)
    found = measurement.load(name, Workspace(tmp_path), "cpu")
    assert found.weights == clips["against"].weights
    assert not found.model.training


def test_a_model_may_be_a_folder(tmp_path, clips):
    clips["model"].save(tmp_path / "mine")
    found = measurement.load(str(tmp_path / "mine"), Workspace(tmp_path / "data"), "cpu")
    assert found.weights == clips["model"].weights


@pytest.mark.parametrize("name", ["student", "base"])
def test_an_own_model_that_is_not_there_says_where_it_would_be(tmp_path, name):
    where = {"student": "student", "base": "models/clip"}[name]
    with pytest.raises(WrongWeights, match=re.escape(f"{tmp_path / where} has no open_clip_config.json")):
        measurement.load(name, Workspace(tmp_path), "cpu")


@pytest.mark.parametrize("name", ["teacher", "no/such/folder", "ViT-B-32"])
def test_an_unknown_name_says_what_a_model_may_be(tmp_path, name):
    with pytest.raises(InputError, match=f"no folder {name}; expected student, base, a folder, or NAME:PRETRAINED"):
        measurement.load(name, Workspace(tmp_path), "cpu")


@pytest.mark.parametrize("tag", ["nobody", ""])
def test_an_unknown_tag_is_told_the_known_ones(tmp_path, tag):
    with pytest.raises(
        WrongWeights, match=rf"'{tag}' is neither .* tag of ViT-B-32; tags: .*openai.*laion2b_s34b_b79k"
    ):
        measurement.load(f"ViT-B-32:{tag}", Workspace(tmp_path), "cpu")


def test_an_unknown_architecture_is_named(tmp_path):
    with pytest.raises(WrongWeights, match="no architecture 'ViT-B-33'"):
        measurement.load("ViT-B-33:openai", Workspace(tmp_path), "cpu")


def test_an_architecture_may_have_a_weights_file(tmp_path, monkeypatch, clips):
    monkeypatch.setitem(_MODEL_CONFIGS, "tiny", CONFIG["model_cfg"])
    torch.save(clips["model"].model.state_dict(), tmp_path / "weights.pt")
    found = measurement.load(f"tiny:{tmp_path / 'weights.pt'}", Workspace(tmp_path), "cpu")
    assert found.weights == clips["model"].weights
    assert not found.model.training
    assert found.config["preprocess_cfg"]["mean"] == list(open_clip.OPENAI_DATASET_MEAN)


# Retrieval


def test_figures_are_those_of_the_embeddings(clips, curated):
    found = measured(clips, curated)
    assert (found["pictures"], found["captions"]) == (6, 10)
    for role, clip in clips.items():
        expected = metrics.evaluate(*embedded(clip), OWNER)
        assert set(found[role]) == {*WAYS, "rsum"}
        for way in WAYS:
            assert found[role][way] == pytest.approx(metrics.summarise(expected[way]))
    assert found["model"] != found["against"], "of unequal models"


def test_rsum_is_the_sum_of_the_six_recalls(clips, curated):
    of_model = measured(alone(clips), curated)["model"]
    six = [of_model[way][f"recall@{k}"] for way in WAYS for k in (1, 5, 10)]
    assert of_model["rsum"] == pytest.approx(sum(six))
    assert 2 < sum(six) < 6, "all six images are among ten, and not every figure is 1"


def test_rsum_by_hand(clips, curated, monkeypatch):
    # An image is one axis, and each of its captions the same axis: everything is found at once.
    axes = np.eye(6, dtype=np.float32)
    monkeypatch.setattr(measurement, "_embedded", lambda clip, data, compute: (axes, axes[data.owner]))
    found = measured(alone(clips), curated)["model"]
    assert found["rsum"] == 6
    assert found["text_to_image"]["median_rank"] == found["image_to_text"]["mean_rank"] == 1


@pytest.mark.parametrize("batch", [1, 5, 16])
def test_figures_do_not_depend_on_the_batch(clips, curated, batch):
    assert measured(alone(clips), curated, replace(COMPUTE, batch=batch)) == measured(alone(clips), curated)


def test_karpathys_files_give_the_figures_of_the_same_pictures_in_shards(clips, curated, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(6):
        picture(i).save(tmp_path / f"images/{i}.png")
    entries = [
        {"filename": f"{i}.png", "split": "test", "sentences": [{"raw": text} for text in own]}
        for i, own in enumerate(CAPTIONS)
    ]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": entries}))
    assert measured(clips, tmp_path) == measured(clips, curated)


def test_one_model_has_no_difference(clips, curated):
    assert set(measured(alone(clips), curated)) == {"pictures", "captions", "captions_cut", "model"}


def test_texts_whose_ends_a_model_does_not_read_are_counted_by_model(clips, tmp_path):
    write_manifest(tmp_path / "curate", {Split.TEST: {"cc-1": ["a " * 14, "a " * 15], "cc-2": ["b " * 40]}})
    put(tmp_path / "classes", {"cat": 1, "_".join(["red"] * 20): 1})
    assert measured(clips, tmp_path / "curate")["captions_cut"] == {"model": 2, "against": 2}
    found = measurement.classification(clips, tmp_path / "classes", Split.TEST, COMPUTE, samples=10)
    prompts = accuracy.prompts(sets.find(tmp_path / "classes", Split.TEST))
    assert found["prompts_cut"] == dict.fromkeys(clips, sum(prompt.count(" ") > 13 for prompt in prompts))


def test_the_difference_is_what_the_model_has_more_with_paired_intervals(clips, curated):
    found = measured(clips, curated, samples=200)
    of_model, of_other = (comparison.Embedded(*embedded(clips[role])) for role in ("model", "against"))
    assert (
        found["difference"] == comparison.compare(of_other, of_model, OWNER, samples=200, seed=0).metrics["difference"]
    )
    rsum = found["difference"]["rsum"]
    assert rsum["value"] == pytest.approx(found["model"]["rsum"] - found["against"]["rsum"])
    assert rsum["low"] <= rsum["value"] <= rsum["high"]
    moved = 0
    for way in WAYS:
        for name, change in found["difference"][way].items():
            assert change["value"] == pytest.approx(found["model"][way][name] - found["against"][way][name])
            assert change["low"] <= change["value"] <= change["high"]
            moved += change["value"] != 0
    assert moved


def test_a_model_differs_from_itself_by_nothing(clips, curated):
    found = measured({"model": clips["model"], "against": clips["model"]}, curated)
    assert found["model"] == found["against"]
    for way in WAYS:
        assert set(found["difference"][way]) == {"recall@1", "recall@5", "recall@10", "mrr", "map", "map@r"}
        assert all(change == {"value": 0, "low": 0, "high": 0} for change in found["difference"][way].values())


def test_folds_are_told_of_cocos_5000_pictures_in_thousands():
    assert (measurement.COCO, measurement.FOLD) == (5000, 1000)


def test_folds_are_those_of_the_embeddings(clips, curated, monkeypatch):
    monkeypatch.setattr(measurement, "COCO", 6)
    monkeypatch.setattr(measurement, "FOLD", 2)
    found = measured(clips, curated)
    for role, clip in clips.items():
        expected = metrics.folds(*embedded(clip), OWNER, 2)
        for way in WAYS:
            assert found[role][f"{way}_1k"] == pytest.approx(expected[way])
            assert found[role][f"{way}_1k"]["mean_rank"] < found[role][way]["mean_rank"], "among fewer"


@pytest.mark.parametrize("count", [5, 7])
def test_another_number_of_pictures_has_no_folds(clips, curated, monkeypatch, count):
    monkeypatch.setattr(measurement, "COCO", count)
    monkeypatch.setattr(measurement, "FOLD", 2)
    assert set(measured(alone(clips), curated)["model"]) == {*WAYS, "rsum"}


def test_folds_of_five_thousand_pictures(clips, curated, monkeypatch):
    owner = np.repeat(np.arange(5000), 1 + np.arange(5000) % 3)
    data = datasets.RetrievalData([""] * 5000, [["a"] * n for n in np.bincount(owner)], [])
    vectors = unit_rows(5000, 16), unit_rows(len(owner), 16, seed=1)
    monkeypatch.setattr(datasets, "read", lambda path, split: data)
    monkeypatch.setattr(measurement, "_embedded", lambda clip, data, compute: vectors)
    found = measured(alone(clips), curated)["model"]
    for way in WAYS:
        assert found[f"{way}_1k"] == metrics.folds(*vectors, owner, 1000)[way]


@pytest.mark.parametrize("data", [b"", b"not an image", png(1)[:200]], ids=["empty", "text", "truncated"])
def test_a_picture_that_cannot_be_read_is_named(clips, tmp_path, data):
    (tmp_path / "images").mkdir()
    for name, content in (("star", png(0)), ("moon", data)):
        (tmp_path / f"images/{name}.jpg").write_bytes(content)
    entries = [{"filename": f"{n}.jpg", "split": "test", "sentences": [{"raw": n}]} for n in ("star", "moon")]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": entries}))
    with pytest.raises(InputError, match=r"moon\.jpg is no image \(.+\); take it out or replace it"):
        measured(alone(clips), tmp_path)


# Classification


def test_accuracy_is_that_of_zeroshot(clips, classes):
    found = measurement.classification(clips, classes, Split.TEST, COMPUTE, samples=50)
    data = sets.find(classes, Split.TEST)
    for role, clip in clips.items():
        vectors, weights = classifier.embed(clip, data, COMPUTE), classifier.class_weights(clip, data, COMPUTE)
        expected = accuracy.accuracy(vectors, weights, data, seen=None)
        assert {name: value for name, value in found[role].items() if name != "retained"} == expected
        assert (expected["classes"], expected["candidates"]) == (3, 3)


def test_seen_and_unseen_classes_are_measured_together(clips, tmp_path, classes):
    described = {
        "templates": ["a {}"],
        "classes": [{"folder": "cat", "name": "cat", "seen": False}, {"folder": "dog", "name": "dog"}],
    }
    found = measurement.classification(
        alone(clips), put(tmp_path, {"cat": 2, "dog": 3}, described), Split.TEST, COMPUTE, samples=50
    )
    assert found["model"]["classes"] == 2


def test_what_is_retained_is_the_share_of_top1(clips, classes):
    found = measurement.classification(clips, classes, Split.TEST, COMPUTE, samples=50)
    assert 0 < found["against"]["top1"] != found["model"]["top1"]
    assert found["model"]["retained"] == found["model"]["top1"] / found["against"]["top1"]
    assert "retained" not in found["against"]
    for name in ("top1", "top5"):
        own = found["model"][name] - found["against"][name]
        assert found["difference"][name]["value"] == pytest.approx(own)


def test_a_model_retains_all_of_itself(clips, classes):
    found = measurement.classification(dict.fromkeys(clips, clips["model"]), classes, Split.TEST, COMPUTE, samples=50)
    assert found["model"].pop("retained") == 1
    assert all(change["low"] == change["high"] for change in found["difference"].values())
    assert found["model"] == found["against"]


def test_nothing_is_retained_of_nothing(clips, classes, monkeypatch):
    blind = tiny_clip()
    with torch.no_grad():
        blind.model.text_projection.zero_()  # every class has the same similarity: the first one is taken
    data = sets.find(classes, Split.TEST)
    later = np.flatnonzero(data.labels)
    others = replace(data, paths=[data.paths[i] for i in later], labels=data.labels[later])
    monkeypatch.setattr(sets, "find", lambda *_: others)
    found = measurement.classification(
        {"model": clips["model"], "against": blind}, classes, Split.TEST, COMPUTE, samples=50
    )
    assert found["against"]["top1"] == 0
    assert "retained" not in found["model"]


def test_one_model_retains_nothing_of_another(clips, classes):
    found = measurement.classification(alone(clips), classes, Split.TEST, COMPUTE, samples=50)
    assert set(found) == {"model", "prompts_cut"}
    assert set(found["model"]) == {"top1", "top5", "mean_per_class", "classes", "candidates"}


def test_a_webdataset_gives_the_figures_of_the_same_pictures_in_folders(clips, classes, tmp_path):
    data = sets.find(classes, Split.TEST)
    samples = [{"png": p.read_bytes(), "cls": int(n)} for p, n in zip(data.paths, data.labels, strict=True)]
    put_webdataset(
        tmp_path,
        samples[::2],
        samples[1::2],
        names="\n".join(data.names).encode(),
        templates="\n".join(t.replace("{}", "{c}") for t in data.templates).encode(),
    )
    found, expected = (
        measurement.classification(clips, path, Split.TEST, COMPUTE, samples=50) for path in (tmp_path, classes)
    )
    for role in clips:
        assert found[role] == pytest.approx(expected[role])


def test_a_picture_of_a_class_that_cannot_be_read_is_named(clips, tmp_path):
    put(tmp_path, {"cat": 2})
    (tmp_path / "test/cat/1.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"cat/1\.png is no image"):
        measurement.classification(alone(clips), tmp_path, Split.TEST, COMPUTE, samples=50)
