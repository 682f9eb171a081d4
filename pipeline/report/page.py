"""The report: one HTML file with its images and plots inside, that opens from disk and asks no host for anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import Table
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.evaluation.comparison import DIRECTIONS, Comparison, Embedded
from pipeline.pages.html import render
from pipeline.pages.thumbnails import thumbnails
from pipeline.params import Params
from pipeline.probes import tables
from pipeline.report import as_they_are, data_card, examples, plots, probes


@dataclass
class Summaries:
    """What the stages before have told in small files.

    Attributes:
        card: what the data card's template needs.
        interpolation: figures of points between base and student.
    """

    card: dict[str, Any]
    trained: dict[str, Any]
    detected: dict[str, Any]
    probed: dict[str, Any]
    attributes: list[dict[str, str]]
    pretraining: dict[str, list[float]]
    teacher: dict[str, list[float]]
    student: dict[str, list[float]]
    interpolation: dict[str, list[float]]


def read(ws: Workspace) -> Summaries:
    """Read them all; a stage does so before its work, too, so that it does not stop after hours of it.

    Raises:
        InputError: one is missing or is not what its stage wrote.
    """
    return Summaries(
        card=data_card.values(ws),
        trained=ws.summary("student"),
        detected=ws.summary("regions"),
        probed=ws.summary("probe"),
        attributes=tables.read(ws, catalog.PROBED_ATTRIBUTES),
        pretraining=ws.columns(catalog.PRETRAINING, "epoch"),
        teacher=ws.columns(catalog.TEACHER_HISTORY, "epoch"),
        student=ws.columns(catalog.STUDENT_HISTORY, "epoch"),
        interpolation=ws.columns(catalog.INTERPOLATION, "alpha", "val_text_to_image_recall@1"),
    )


def write(
    path: Path,
    result: Comparison,
    models: Mapping[str, Embedded],
    manifest: Manifest,
    regions: Table,
    ws: Workspace,
    params: Params,
) -> None:
    """Write the report page.

    Args:
        models: embeddings of the test split of `base` and `student`.
        regions: boxes of the test images.
    """
    chosen = examples.choose(result, models, manifest, params.evaluate.examples)
    keys = set().union(*(example.keys for group in chosen.values() for example in group))
    summaries = read(ws)
    student, interpolation = summaries.student, summaries.interpolation
    both_ways = ["val_text_to_image_recall@1", "val_image_to_text_recall@1"]
    classes = ["val_zeroshot_top1", "val_zeroshot_unseen_top1"]
    terms, recalls = params.student.weights.model_dump(), [n for n in student if n.startswith("val_") and "recall" in n]
    values: dict[str, Any] = {
        "metrics": result.metrics,
        "directions": DIRECTIONS,
        "as_they_are": as_they_are.rows(result.metrics),
        "trained": summaries.trained,
        **summaries.card,
        "detected": summaries.detected,
        "probes": probes.rows(summaries.probed),
        "attributes": summaries.attributes,
        "has_concepts": params.concepts.enabled,
        "recall": [*plots.recall_bars(result.metrics), *plots.recall_curves(result.ranks)],
        "trade_off": plots.trade_off(interpolation, summaries.trained["chosen"]["alpha"]),
        "curves": [
            plots.curves(student, ["loss", *terms], "student: loss terms"),
            plots.curves(student, recalls, "student: val recall@1"),
            plots.curves(student, classes, "student: val zero-shot"),
            plots.curves(interpolation, [both_ways[0], *classes], "from base (0) to student (1): val", "alpha"),
            plots.curves(summaries.teacher, both_ways, "teacher alone: val recall@1"),
            plots.curves(summaries.pretraining, ["loss"], "base: pretraining loss"),
        ],
        "examples": chosen,
        "thumbnails": thumbnails(manifest, keys),
        "boxes": examples.boxes(regions, keys, manifest.keys),
        "captions": dict(zip(manifest.keys, manifest.captions, strict=True)),
        "sources": {row["key"]: row["source"] for row in manifest.rows},
        "queries": len(manifest.texts),
        "images_searched": len(manifest),
    }
    files.write_text(path, render("report.html.j2", **values))
