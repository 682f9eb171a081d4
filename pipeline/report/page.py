"""The report: one HTML file with its pictures and plots inside, that opens from disk and asks no host for anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import files
from pipeline.evaluation.comparison import DIRECTIONS, Comparison
from pipeline.manifest import Manifest
from pipeline.params import Params
from pipeline.probes import tables
from pipeline.report import data_card, plots, probes
from pipeline.report.html import render
from pipeline.report.pictures import thumbnails
from pipeline.search.index import Hit, RetrievalIndex
from pipeline.tables import Table, offsets

TOP = 4
"""Pictures shown for a query."""


@dataclass
class Example:
    """A test caption, where base and student place its picture, and what the student finds first."""

    caption: str
    key: str
    before: int
    after: int
    found: list[Hit]


def choose_examples(result: Comparison, index: RetrievalIndex, count: int) -> dict[str, list[Example]]:
    """Captions that the student won and lost by most ranks against the base, and its worst failures.

    At most one caption a picture in each list, so that one picture does not fill it.
    """
    captions = [(key, text) for key, texts in zip(index.keys, index.texts, strict=True) for text in texts]
    before, after = (result.ranks[model]["text_to_image"] for model in ("base", "student"))
    gain = np.log(before) - np.log(after)
    _, vectors = index.vectors()

    def take(order: np.ndarray, wanted: np.ndarray) -> list[Example]:
        chosen: list[Example] = []
        used: set[str] = set()
        for row in order:
            key, text = captions[row]
            if not wanted[row] or key in used:
                continue
            used.add(key)
            hits = index.search_images(vectors[row], TOP)
            chosen.append(Example(text, key, int(before[row]), int(after[row]), hits))
            if len(chosen) == count:
                break
        return chosen

    return {
        "won": take(np.argsort(-gain, kind="stable"), (gain > 0) & (after == 1)),
        "lost": take(np.argsort(gain, kind="stable"), gain < 0),
        "worst": take(np.argsort(-after, kind="stable"), after > 1),
    }


def _boxes(regions: Table, keys: set[str], order: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Boxes of some pictures in per cent of their sides, region 0 left out."""
    start = offsets(regions.strings("key"), order, str(regions.path))
    found: dict[str, list[dict[str, Any]]] = {}
    for i, key in enumerate(order):
        if key in keys:
            part = regions.columns.slice(int(start[i]), int(start[i + 1] - start[i])).select(
                ["region_index", "box", "score", "class_name"]
            )
            found[key] = [
                {"left": 100 * r["box"][0], "top": 100 * r["box"][1], "width": 100 * (r["box"][2] - r["box"][0]),
                 "height": 100 * (r["box"][3] - r["box"][1]), "label": f"{r['class_name']} {r['score']:.2f}"}
                for r in part.to_pylist() if r["region_index"] > 0
            ]  # fmt: skip
    return found


def write(
    path: Path,
    result: Comparison,
    manifest: Manifest,
    index: RetrievalIndex,
    regions: Table,
    data: Path,
    params: Params,
) -> None:
    """Write the report page.

    Args:
        path: the HTML file.
        result: base against student.
        manifest: of the test split.
        index: the student's, over the same split.
        regions: boxes of the test pictures.
        data: folder of the stages, for their summaries and histories.
        params: shown with the results.
    """
    examples = choose_examples(result, index, params.evaluate.examples)
    shown = [e for group in examples.values() for e in group]
    keys = {e.key for e in shown} | {hit.key for e in shown for hit in e.found}
    student = plots.read_history(data / "student/history.csv")
    interpolation = plots.read_history(data / "student/interpolation.csv")
    trained = files.read_json(data / "student/metrics.json")
    html = render(
        "report.html.j2",
        metrics=result.metrics,
        directions=DIRECTIONS,
        figures=("recall@1", "recall@5", "recall@10", "mrr", "map", "map@r"),
        trained=trained,
        **data_card.values(data / "curate/card"),
        detected=files.read_json(data / "regions/metrics.json"),
        probes=probes.rows(files.read_json(data / "probe/metrics.json")),
        attributes=tables.read(data / "probe/attributes.csv"),
        has_concepts=params.concepts.enabled,
        recall=plots.recall_bars(result.metrics) + plots.recall_curves(result.ranks),
        trade_off=plots.trade_off(interpolation, trained["chosen"]["alpha"]),
        curves=[
            plots.curves(student, ["loss", *params.student.weights.model_dump()], "student: loss terms"),
            plots.curves(
                student, [n for n in student if n.startswith("val_") and "recall" in n], "student: val recall@1"
            ),
            plots.curves(student, ["val_zeroshot_top1", "val_zeroshot_unseen_top1"], "student: val zero-shot"),
            plots.curves(
                interpolation,
                ["val_text_to_image_recall@1", "val_zeroshot_top1", "val_zeroshot_unseen_top1"],
                "from base (0) to student (1): val", "alpha",
            ),
            plots.curves(
                plots.read_history(data / "teacher/history.csv"),
                ["val_text_to_image_recall@1", "val_image_to_text_recall@1"], "teacher alone: val recall@1",
            ),
            plots.curves(plots.read_history(data / "models/pretraining.csv"), ["loss"], "base: pretraining loss"),
        ],
        examples=examples,
        thumbnails=thumbnails(manifest, keys),
        boxes=_boxes(regions, keys, manifest.keys),
        captions=dict(zip(manifest.keys, manifest.captions, strict=True)),
        sources={row["key"]: row["source"] for row in manifest.rows},
        queries=len(index.owner),
        pictures_searched=len(manifest),
    )  # fmt: skip
    files.write_text(path, html)
