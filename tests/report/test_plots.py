import csv

import numpy as np

from pipeline.report.plots import curves, recall_bars, recall_curves, write_recall

METRICS = {
    model: {way: {f"recall@{k}": value for k in (1, 5, 10)} for way in ("text_to_image", "image_to_text")}
    for model, value in (("base", 0.25), ("student", 0.75))
}


def test_recall_has_a_row_for_each_model_direction_and_k(tmp_path):
    write_recall(tmp_path / "recall.csv", METRICS)
    with (tmp_path / "recall.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 3
    assert list(rows[0].values()) == ["base text to image", "text_to_image", "1", "0.25"]
    assert {row["recall"] for row in rows if row["model"].startswith("student")} == {"0.75"}


def test_no_history_has_no_plot():
    assert curves({}, ["loss"], "loss") == ""
    assert curves({"epoch": [0, 1], "loss": [2.0, 1.0]}, ["other"], "other") == ""


def test_a_plot_is_svg_with_its_names_and_the_same_bytes_each_time():
    history = {"epoch": [0.0, 1.0], "val_zeroshot_top1": [0.5, 0.75]}
    first = curves(history, ["val_zeroshot_top1", "missing"], "zero-shot")
    assert first.startswith("<svg") and first.rstrip().endswith("</svg>")
    assert "zeroshot top1" in first and "missing" not in first
    assert curves(history, ["val_zeroshot_top1", "missing"], "zero-shot") == first
    assert recall_bars(METRICS) == recall_bars(METRICS)


def test_recall_bars_show_both_models_figures():
    for svg, way in zip(recall_bars(METRICS), ("text to image", "image to text"), strict=True):
        assert svg.count(">0.25<") == svg.count(">0.75<") == 3
        assert f"recall, {way}" in svg


def test_recall_curves_are_of_each_direction():
    ranks = {"text_to_image": np.array([1, 2, 60]), "image_to_text": np.array([1, 1])}
    found = recall_curves({"base": ranks, "student": ranks})
    assert ["recall@K, text to image" in svg for svg in found] == [True, False]
    assert found == recall_curves({"base": ranks, "student": ranks})
