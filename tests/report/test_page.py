import re
from pathlib import Path

import numpy as np
import pytest
from tiny_card import write_card
from tiny_manifest import write_manifest
from tiny_models import unit_rows
from tiny_page import HOSTILE, Links, assert_asks_no_host

from pipeline import params
from pipeline.artifacts.figures import write_history
from pipeline.artifacts.schema import REGIONS, Split
from pipeline.artifacts.tables import Table, TableWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.evaluation.comparison import Embedded, compare
from pipeline.report import as_they_are, page

SAMPLES = {f"mscoco-{i}": [f"{i} a {HOSTILE}", f"{i} b {HOSTILE}"] for i in range(6)}
OWNER = np.repeat(np.arange(6), 2)
PROBED = {
    "enabled": True,
    "base": {"attributes": {"all": 0.61, "has_color": 0.62}, "captions": {"words": 0.71}},
    "student": {"attributes": {"all": 0.64, "has_color": 0.60}, "captions": {"words": 0.71}},
    "end_point": {"attributes": {"all": 0.66, "has_color": 0.58}, "captions": {"words": 0.71}},
    "difference": {
        "student": {
            "attributes": {
                "all": {"value": 0.03, "low": 0.011, "high": 0.049},
                "has_color": {"value": -0.02, "low": -0.057, "high": 0.017},
            },
            "captions": {"words": {"value": 0.0, "low": 0.0, "high": 0.0}},
        }
    },
}
ATTRIBUTES = "attribute,group,pictures,base,student\nhas_color::<i>red,has_color,17,0.6250,0.5850\n"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("page") / "curate", {Split.TEST: SAMPLES})


@pytest.fixture(scope="module")
def comparison():
    images = unit_rows(6, 8, seed=1)
    noisy = (images[OWNER] + noise * unit_rows(12, 8, seed=2) for noise in (1.5, 0.8))
    base, student = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in noisy)
    result = compare(Embedded(images, base), Embedded(images, student), OWNER, samples=50, seed=1)
    for model, top1 in (("base", 0.5), ("student", 0.45)):
        result.metrics[model]["zeroshot"] = {"top1": top1}
    result.metrics["student"]["zeroshot"]["retained"] = 0.9
    result.metrics["base"] |= {"dimension": 64, "image_size": 96}
    ways = {way: {"recall@1": 0.625} for way in ("text_to_image", "image_to_text")}
    leads = {way: {"recall@1": {"value": -0.2, "low": -0.3, "high": -0.1}} for way in ways}
    of_teacher = {"dimension": 768, "image_size": 224, "zeroshot_unseen": {"top1": 0.875}}
    result.metrics["teachers"] = {"large_<i>": {**ways, **of_teacher, "difference": leads}}
    result.metrics["difference"]["zeroshot"] = {
        "top1": {"value": -0.05, "low": -0.125, "high": 0.031}, "retained": {"value": 0.9, "low": 0.75, "high": 1.0625},
    }  # fmt: skip
    return result, images, base, student


@pytest.fixture(scope="module")
def written(manifest, comparison):
    result, images, of_base, captions = comparison
    root = manifest.folder.parent
    with TableWriter(root / "regions/regions.arrow", REGIONS, {}) as writer:
        for key in manifest.keys:
            writer.write({
                "key": [key, key], "region_index": [0, 1], "box": [[0, 0, 1, 1], [0.25, 0.5, 0.75, 1.0]],
                "score": [1, 0.875], "class_name": ["image", "star <i>"], "crop": [None, b""],
            })  # fmt: skip
    figures = {"val_text_to_image_recall@1": 0.5, "val_image_to_text_recall@1": 0.5}
    for stage in ("student", "teacher"):
        rows = [{"epoch": 0, **figures}, {"epoch": 1, "loss": 2.0, **figures}, {"epoch": 2, "loss": 1.0, **figures}]
        write_history(root / stage / "history.csv", rows)
    write_history(root / "student/interpolation.csv", [])
    write_history(root / "models/pretraining.csv", [])
    best = {"epoch": 2}
    files.write_json(
        root / "student/metrics.json",
        {"recipe": "dclip_clean", "pairs": 1234, "best": best, "chosen": {**best, "alpha": 0.5}},
    )
    write_card(root / "curate/card")
    files.write_json(root / "regions/metrics.json", {"boxes_per_image": 1.0, "images_without_boxes": 0})
    files.write_json(root / "probe/metrics.json", PROBED)
    files.write_text(root / "probe/attributes.csv", ATTRIBUTES)
    files.write_json(root / "concepts/metrics.json", {"enabled": False})
    out = root / "evaluate/report/index.html"
    given = params.load(Path(__file__).parents[2] / "params.yaml")
    page.write(
        out,
        result,
        {"base": Embedded(images, of_base), "student": Embedded(images, captions)},
        manifest,
        Table(root / "regions/regions.arrow"),
        Workspace(root),
        given,
    )
    return out.read_text(encoding="utf-8")


def test_the_page_asks_no_host_for_anything(written):
    assert_asks_no_host(written)


def test_captions_are_escaped(written):
    parsed = Links(written)
    assert parsed.tags.count("script") == 1, "the page's own"
    assert {alt for alt in parsed.alts if "alert(1)" in alt} == {texts[0] for texts in SAMPLES.values()}
    shown = {re.sub(r"^-?\d\.\d{3} ", "", text) for text in parsed.texts if "alert(1)" in text}
    assert shown and shown <= {text for texts in SAMPLES.values() for text in texts}, "read as they were written"


def test_class_names_are_escaped(written):
    assert 'title="star &lt;i&gt; 0.88"' in written


def test_the_page_shows_the_results(written, comparison):
    metrics = comparison[0].metrics
    text = " ".join(" ".join(Links(written).texts).split())
    for way in ("text_to_image", "image_to_text"):
        for name in ("recall@1", "mrr", "map@r"):
            change = metrics["difference"][way][name]
            row = f"{name} {metrics['base'][way][name]:.3f} {metrics['student'][way][name]:.3f} "
            assert f"{row}{change['value']:+.3f} {change['low']:+.3f} to {change['high']:+.3f}" in text
    assert f"rsum {metrics['base']['rsum']:.3f} {metrics['student']['rsum']:.3f}" in text
    assert "zero-shot kept 90.0 % (75.0 to 106.2)" in text
    assert "0.500 0.450 -0.050 -0.125 to +0.031" in text
    assert "dclip_clean" in text and "1,234" in text
    assert "unseen" not in text.lower(), "there are no such classes here"


def test_teachers_as_they_are_stand_between_base_and_student(written, comparison):
    metrics = comparison[0].metrics
    text = " ".join(" ".join(Links(written).texts).split())
    base, student = (f"{metrics[model]['text_to_image']['recall@1']:.3f}" for model in ("base", "student"))
    shown = text[text.index("student leads by 95 % interval") : text.index("Where one is better")]
    assert f"base 64 96 px {base}" in shown
    assert "teacher large_<i> 768 224 px 0.625 0.625 0.875 -0.200 -0.300 to -0.100 student" in shown
    assert f"student {student}" in shown


def test_without_teachers_nothing_is_said_of_them():
    assert as_they_are.rows({"teachers": {}}) == []


def test_the_page_shows_what_is_read_from_embeddings(written):
    text = " ".join(" ".join(Links(written).texts).split())
    for row in (
        "attributes of images 0.610 0.640 +0.030 +0.011 to +0.049 0.660",
        "has color 0.620 0.600 -0.020 -0.057 to +0.017 0.580",
        "words of captions 0.710 0.710 +0.000 +0.000 to +0.000 0.710",
        "has color: <i>red 17 0.625 0.585 -0.040",
    ):
        assert row in text, text
    assert "concepts.html" not in written, "concepts are not enabled"


def test_boxes_are_placed_in_per_cent_and_the_whole_picture_is_no_box(written):
    assert "left:25.0%;top:50.0%;width:50.0%;height:50.0%" in written
    assert "width:100.0%;height:100.0%" not in written


def test_pictures_are_inside_the_page(written):
    assert written.count('src="data:image/jpeg;base64,') == Links(written).tags.count("img") > 5


def test_a_thumbnail_is_a_small_jpeg(manifest):
    found = page.thumbnails(manifest, {"mscoco-1"})
    assert set(found) == {"mscoco-1"}
    assert found["mscoco-1"].startswith("data:image/jpeg;base64,/9j/")
