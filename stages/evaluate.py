"""Stage `evaluate`: the honest table, and the report."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads

_DATA = (catalog.MANIFEST, catalog.DATA_CARD, catalog.SHARDS[Split.TEST], catalog.PRETRAINING, catalog.TEST_BOXES)
_MODELS = (catalog.summary("models"), catalog.summary("teachers"), catalog.TEACHER_TABLES)
_BASE = (catalog.IMAGE_EMBEDDINGS, catalog.CAPTION_EMBEDDINGS, *catalog.ZEROSHOT_EMBEDDINGS)
_TRAINED = (catalog.TEACHER_HISTORY, catalog.STUDENT_HISTORY, catalog.INTERPOLATION, catalog.summary("student"))
_STUDENT = (catalog.EMBEDDED["student", "images"], catalog.EMBEDDED["student", "captions"], *catalog.STUDENT_CLASSES)
_PROBED = (catalog.summary("probe"), catalog.PROBED_ATTRIBUTES, catalog.PROBED_CONCEPTS)
_SHOWN = ("concepts.enabled", "student.recipe", "student.weights")


@stage(
    reads=[
        *(*_DATA, catalog.summary("regions"), *_MODELS, *_BASE),
        *(*_TRAINED, *_STUDENT, *catalog.CONCEPT_TABLES, *_PROBED),
    ],
    writes=[catalog.REPORT, catalog.RECALL],
    takes=["seed", "compute.device", "compute.threads", "evaluate", "zeroshot", *_SHOWN],
    folders=["zeroshot.path"],
    less_memory="evaluate.bootstrap",
)
def evaluate(params: Params, ws: Workspace) -> dict[str, Any]:
    """Compare student and base on the test data, which nothing is chosen on.

    metrics.json holds recall@1/5/10, median rank, MRR, MAP and mAP@R both ways, zero-shot of seen and unseen classes
    with the share retained, and bootstrap intervals of every difference; and of every frozen teacher the same as it is,
    from its cached embeddings. recall.csv feeds
    `dvc plots show`; report/index.html is a page to look at, with example retrievals, and report/concepts.html, with
    concepts, tells what each is of.
    """
    from pipeline.evaluation import frozen_teachers
    from pipeline.evaluation.comparison import Embedded, add_zeroshot, compare
    from pipeline.probes import tables
    from pipeline.report import concepts, page, plots
    from pipeline.zeroshot import embedded, sets

    threads(params)
    page.read(ws)  # before the work
    if params.concepts.enabled:
        tables.read(ws, catalog.PROBED_CONCEPTS)
    manifest, zeroshot_path = ws.manifest(Split.TEST), Path(params.zeroshot.path)
    images, captions = (ws.table(catalog.EMBEDDED["student", what], manifest) for what in ("images", "captions"))
    student = Embedded.from_halves(images.rows_of(manifest.keys), captions.rows_of(manifest.keys))
    base_weights = {"weights": images.metadata["base"]}
    base = Embedded.from_halves(ws.images(manifest, **base_weights), ws.captions(manifest, **base_weights))
    evaluated = {"samples": params.evaluate.bootstrap, "seed": params.seed}
    classes = sets.read(zeroshot_path, Split.TEST)
    teachers = frozen_teachers.read(ws, manifest, zeroshot_path, classes)
    sizes = {name: ws.summary("models")["clip"][name] for name in ("dimension", "image_size")}
    result = compare(base, student, manifest.owner, **evaluated)
    result.metrics["base"] |= sizes
    class_embeddings = {
        "base": embedded.read(ws, catalog.ZEROSHOT_EMBEDDINGS, zeroshot_path, classes, **base_weights),
        "student": embedded.read(
            ws, catalog.STUDENT_CLASSES, zeroshot_path, classes, weights=images.metadata["weights"]
        ),
    }
    add_zeroshot(result.metrics, class_embeddings, classes, **evaluated)
    of_student = result.per_query["student"]
    result.metrics["teachers"] = {
        name: frozen_teachers.figures(teacher, of_student, manifest.owner, classes, **evaluated)
        for name, teacher in teachers.items()
    }

    report = ws.path(catalog.REPORT)
    plots.write_recall(ws.path(catalog.RECALL), result.metrics)
    boxes = ws.table(catalog.TEST_BOXES, manifest)
    page.write(report / "index.html", result, {"base": base, "student": student}, manifest, boxes, ws, params)
    if params.concepts.enabled:
        concepts.write(report / "concepts.html", ws, manifest)
    return result.metrics


if __name__ == "__main__":
    run(evaluate)
