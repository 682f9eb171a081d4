"""The report: one HTML file with its images and plots inside, that opens from disk and asks no host for anything."""

from __future__ import annotations

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
from pipeline.report import data_card, examples, plots, probes


@dataclass
class Told:
    """What the stages before have told in small files.

    Attributes:
        card: what the data card's template needs.
        trained: the student's summary.
        detected: the regions'.
        probed: the probes'.
        attributes: rows of the probes' table.
        pretraining: columns of the base's history.
        teacher: of the teacher's.
        student: of the student's.
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


def read(ws: Workspace) -> Told:
    """Read them all; a stage does so before its work, too, so that it does not stop after hours of it.

    Raises:
        InputError: one is missing or is not what its stage wrote.
    """
    return Told(
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
        path: the HTML file.
        result: base against student.
        models: embeddings of the test split of `base` and `student`.
        manifest: of the test split.
        regions: boxes of the test images.
        ws: the folder of the stages, for their summaries and histories.
        params: shown with the results.
    """
    chosen = examples.choose(result, models, manifest, params.evaluate.examples)
    keys = set().union(*(example.keys for group in chosen.values() for example in group))
    told = read(ws)
    html = render(
        "report.html.j2",
        metrics=result.metrics,
        directions=DIRECTIONS,
        trained=told.trained,
        **told.card,
        detected=told.detected,
        probes=probes.rows(told.probed),
        attributes=told.attributes,
        has_concepts=params.concepts.enabled,
        recall=[*plots.recall_bars(result.metrics), *plots.recall_curves(result.ranks)],
        trade_off=plots.trade_off(told.interpolation, told.trained["chosen"]["alpha"]),
        curves=[
            plots.curves(told.student, ["loss", *params.student.weights.model_dump()], "student: loss terms"),
            plots.curves(
                told.student, [n for n in told.student if n.startswith("val_") and "recall" in n],
                "student: val recall@1",
            ),
            plots.curves(told.student, ["val_zeroshot_top1", "val_zeroshot_unseen_top1"], "student: val zero-shot"),
            plots.curves(
                told.interpolation,
                ["val_text_to_image_recall@1", "val_zeroshot_top1", "val_zeroshot_unseen_top1"],
                "from base (0) to student (1): val", "alpha",
            ),
            plots.curves(
                told.teacher,
                ["val_text_to_image_recall@1", "val_image_to_text_recall@1"], "teacher alone: val recall@1",
            ),
            plots.curves(told.pretraining, ["loss"], "base: pretraining loss"),
        ],
        examples=chosen,
        thumbnails=thumbnails(manifest, keys),
        boxes=examples.boxes(regions, keys, manifest.keys),
        captions=dict(zip(manifest.keys, manifest.captions, strict=True)),
        sources={row["key"]: row["source"] for row in manifest.rows},
        queries=len(manifest.texts),
        images_searched=len(manifest),
    )  # fmt: skip
    files.write_text(path, html)
