import numpy as np
import pytest
import torch
from tiny_models import COMPUTE, picture, tiny_clip

from pipeline.evaluation.comparison import DIRECTIONS, Embedded, add_zeroshot, compare, difference, zeroshot_difference
from pipeline.zeroshot import accuracy, classifier
from pipeline.zeroshot.sets import ZeroshotSet

OWNER = np.array([0, 0, 1, 2])
AXES = np.eye(3, dtype=np.float32)
PERFECT = Embedded(AXES, AXES[OWNER])
# The base takes the second caption of image 0 for one of image 1, and the caption of image 2 for image 0.
BASE = Embedded(AXES, np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [0.8, 0, 0.6]], np.float32))


def test_base_against_student_by_hand():
    found = compare(BASE, PERFECT, OWNER, samples=200, seed=1)
    assert found.ranks["base"]["text_to_image"].tolist() == [1, 2, 1, 2]
    assert found.ranks["student"]["text_to_image"].tolist() == [1, 1, 1, 1]
    base, student = found.metrics["base"], found.metrics["student"]
    assert base["text_to_image"]["recall@1"] == 2 / 4
    assert base["text_to_image"]["mrr"] == (1 + 1 / 2 + 1 + 1 / 2) / 4
    assert student["text_to_image"]["recall@1"] == student["image_to_text"]["map"] == 1
    change = found.metrics["difference"]["text_to_image"]
    assert change["recall@1"]["value"] == 0.5
    # Images drawn with replacement gain 1/2, 0 and 1 of their captions: at worst 0, at best 1.
    assert (change["recall@1"]["low"], change["recall@1"]["high"]) == (0, 1)
    assert change["recall@5"] == {"value": 0, "low": 0, "high": 0}


def test_every_figure_stands_on_both_sides_and_has_an_interval():
    metrics = compare(BASE, PERFECT, OWNER, samples=50, seed=1).metrics
    figures = {"recall@1", "recall@5", "recall@10", "mrr", "map", "map@r"}
    for way in DIRECTIONS:
        for model in ("base", "student"):
            assert set(metrics[model][way]) == figures | {"median_rank", "mean_rank"}
            assert set(metrics[model]) == {*DIRECTIONS, "rsum"}
        assert set(metrics["difference"][way]) == figures
        for name, change in metrics["difference"][way].items():
            assert change["low"] <= change["value"] <= change["high"]
            assert change["value"] == pytest.approx(metrics["student"][way][name] - metrics["base"][way][name])


def test_a_model_does_not_differ_from_itself():
    difference = compare(BASE, BASE, OWNER, samples=50, seed=1).metrics["difference"]
    assert difference.pop("rsum") == {"value": 0, "low": 0, "high": 0}
    assert all(change == {"value": 0, "low": 0, "high": 0} for way in difference.values() for change in way.values())


def test_rsum_by_hand():
    # Text to image the base has 2 of 4 captions at rank 1 and all among 5 and 10; image to text all three at rank 1.
    metrics = compare(BASE, PERFECT, OWNER, samples=200, seed=1).metrics
    assert (metrics["base"]["rsum"], metrics["student"]["rsum"]) == (5.5, 6)
    change = metrics["difference"]["rsum"]
    assert change["value"] == 0.5
    assert (change["low"], change["high"]) == (0, 1), "as recall@1 of the captions, the only figure that differs"


def test_the_interval_of_rsum_draws_the_same_pictures_both_ways():
    # What is gained one way is lost the other, image by image: with draws of their own the sum would vary.
    gain = np.array([1.0, 0, 1, 0, 0, 1, 1, 0])
    zero = np.zeros(8)
    names = ("recall@1", "recall@5", "recall@10", "mrr")
    base = {way: dict.fromkeys((*names, "rank"), zero) for way in DIRECTIONS}
    other = {"text_to_image": dict.fromkeys(names, gain), "image_to_text": dict.fromkeys(names, -gain)}
    found = difference(base, other, np.arange(8), samples=300, seed=2)
    assert found["text_to_image"]["recall@1"]["low"] < found["text_to_image"]["recall@1"]["high"]
    assert found["rsum"] == pytest.approx({"value": 0, "low": 0, "high": 0}, abs=1e-12)


def test_the_bootstrap_is_seeded():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(20), 3)
    one, other = (Embedded(rng.normal(size=(20, 8)), rng.normal(size=(60, 8))) for _ in range(2))
    first = compare(one, other, owner, samples=50, seed=1).metrics
    assert compare(one, other, owner, samples=50, seed=1).metrics == first
    assert compare(one, other, owner, samples=50, seed=2).metrics != first


@pytest.fixture
def classes(tmp_path):
    paths = []
    for i in range(6):
        paths.append(tmp_path / f"{i}.png")
        picture(i).save(paths[-1])
    seen = np.array([True, True, False])
    return ZeroshotSet(["cat", "dog", "moon"], seen, ["a {}", "one {}"], paths, np.array([0, 0, 1, 1, 2, 2]))


def embedded(classes):
    """Images and class weights under two models."""
    return {
        name: (
            classifier.embed(clip, classes, COMPUTE),
            classifier.class_weights(clip, classes, COMPUTE),
        )
        for name, clip in (("base", tiny_clip(0)), ("student", tiny_clip(1)))
    }


def test_zero_shot_figures_are_those_of_each_model(classes):
    models = embedded(classes)
    metrics = {"base": {}, "student": {}, "difference": {}}
    add_zeroshot(metrics, models, classes, samples=50, seed=0)
    for name, (vectors, weights) in models.items():
        for part, seen in (("zeroshot", True), ("zeroshot_unseen", False)):
            wanted = accuracy.accuracy(vectors, weights, classes, seen=seen)
            assert {k: v for k, v in metrics[name][part].items() if k != "retained"} == wanted
    assert "retained" not in metrics["base"]["zeroshot"]


def test_zero_shot_differences_are_of_the_student_over_the_base_and_of_their_own_classes(classes):
    # Unit axes as class weights: the base is right of all cats and no dog or moon, the student of all but one cat.
    weights = torch.eye(3)
    pictures = {"base": weights[[0, 0, 0, 0, 0, 0]], "student": weights[[0, 1, 1, 1, 2, 2]]}
    metrics = {"base": {}, "student": {}, "difference": {}}
    add_zeroshot(metrics, {name: (rows, weights) for name, rows in pictures.items()}, classes, samples=400, seed=0)
    seen, unseen = (metrics["difference"][part] for part in ("zeroshot", "zeroshot_unseen"))
    assert (metrics["base"]["zeroshot"]["top1"], metrics["student"]["zeroshot"]["top1"]) == (0.5, 0.75)
    assert (seen["top1"]["value"], seen["top1"]["low"], seen["top1"]["high"]) == (0.25, -0.5, 1)
    assert unseen["top1"] == {"value": 1, "low": 1, "high": 1}
    assert metrics["student"]["zeroshot"]["retained"] == 1.5
    assert "retained" not in metrics["student"]["zeroshot_unseen"]


@pytest.mark.parametrize(
    ("base", "student", "retained"), [(0.5, 0.45, 0.9), (0.5, 0.6, 1.2), (0.4, 0.0, 0.0), (0.0, 0.3, None)]
)
def test_retained_is_the_students_share_of_the_bases_accuracy(classes, monkeypatch, base, student, retained):
    given = iter([{"top1": top1} for top1 in (base, base / 2, student, student / 2)])
    monkeypatch.setattr(accuracy, "accuracy", lambda *_, **__: next(given))
    metrics = {"base": {}, "student": {}, "difference": {}}
    add_zeroshot(metrics, embedded(classes), classes, samples=50, seed=0)
    for part in ("zeroshot", "zeroshot_unseen"):
        assert metrics["student"][part].get("retained") == (None if retained is None else pytest.approx(retained))


def test_without_unseen_classes_nothing_is_said_of_them(classes):
    metrics = {"base": {}, "student": {}, "difference": {}}
    everything = ZeroshotSet(classes.names, np.array([True] * 3), classes.templates, classes.paths, classes.labels)
    add_zeroshot(metrics, embedded(everything), everything, samples=50, seed=0)
    assert set(metrics["student"]) == {"zeroshot"}


def hits(*top1):
    rows = np.array(top1, np.float64)
    return {"top1": rows, "top5": np.ones(len(rows))}


def test_zero_shot_differences_by_hand():
    # The base is right of two images of four, the other of one of those and of a third one.
    found = zeroshot_difference(hits(1, 1, 0, 0), hits(1, 0, 1, 0), samples=400, seed=0)
    assert found["top1"]["value"] == 0
    assert found["top1"]["low"] < 0 < found["top1"]["high"]
    assert found["top5"] == {"value": 0, "low": 0, "high": 0}


def test_the_share_retained_has_an_interval_of_the_same_draws():
    base = hits(*[1] * 60, *[0] * 20)
    assert zeroshot_difference(base, base, samples=200, seed=0)["retained"] == {"value": 1, "low": 1, "high": 1}
    other = hits(*[1] * 45, *[0] * 35)
    share = zeroshot_difference(base, other, samples=2000, seed=0)["retained"]
    assert share["value"] == 0.75
    # Of the base's 60 right ones a quarter is lost, whatever is drawn: sqrt(.75 * .25 / 60) = .056 around .75.
    assert share["low"] == pytest.approx(0.75 - 1.96 * 0.056, abs=0.02)
    assert share["high"] == pytest.approx(0.75 + 1.96 * 0.056, abs=0.02)


def test_nothing_is_retained_of_nothing():
    assert "retained" not in zeroshot_difference(hits(0, 0, 0), hits(1, 0, 1), samples=50, seed=0)
