"""The report: one HTML file with its pictures and plots inside, that opens from disk and asks no host for anything."""

from __future__ import annotations

from pathlib import Path

from pipeline import files
from pipeline.evaluation.comparison import DIRECTIONS, Comparison, Embedded
from pipeline.manifest import Manifest
from pipeline.params import Params
from pipeline.probes import tables
from pipeline.report import data_card, examples, plots, probes
from pipeline.report.html import render
from pipeline.report.pictures import thumbnails
from pipeline.search.index import RetrievalIndex
from pipeline.tables import Table


def write(
    path: Path,
    result: Comparison,
    base: Embedded,
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
        base: the base's embeddings of the test split.
        manifest: of the test split.
        index: the student's, over the same split.
        regions: boxes of the test pictures.
        data: folder of the stages, for their summaries and histories.
        params: shown with the results.
    """
    chosen = examples.choose(result, base, index, params.evaluate.examples)
    keys = set().union(*(example.keys for group in chosen.values() for example in group))
    student = plots.read_history(data / "student/history.csv")
    interpolation = plots.read_history(data / "student/interpolation.csv")
    trained = files.read_json(data / "student/metrics.json")
    html = render(
        "report.html.j2",
        metrics=result.metrics,
        directions=DIRECTIONS,
        trained=trained,
        **data_card.values(data / "curate/card"),
        detected=files.read_json(data / "regions/metrics.json"),
        probes=probes.rows(files.read_json(data / "probe/metrics.json")),
        attributes=tables.read(data / "probe/attributes.csv"),
        has_concepts=params.concepts.enabled,
        recall=[*plots.recall_bars(result.metrics), *plots.recall_curves(result.ranks)],
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
        examples=chosen,
        thumbnails=thumbnails(manifest, keys),
        boxes=examples.boxes(regions, keys, manifest.keys),
        captions=dict(zip(manifest.keys, manifest.captions, strict=True)),
        sources={row["key"]: row["source"] for row in manifest.rows},
        queries=len(index.owner),
        pictures_searched=len(manifest),
    )  # fmt: skip
    files.write_text(path, html)
