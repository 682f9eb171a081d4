"""Stage `evaluate`: the honest table, and the report."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads


@stage(
    reads=[
        catalog.MANIFEST,
        catalog.DATA_CARD,
        catalog.SHARDS[Split.TEST],
        catalog.BASE_CLIP,
        catalog.PRETRAINING,
        catalog.TEST_BOXES,
        catalog.summary("regions"),
        catalog.IMAGE_EMBEDDINGS,
        catalog.CAPTION_EMBEDDINGS,
        catalog.ZEROSHOT_IMAGES,
        catalog.ZEROSHOT_PROMPTS,
        catalog.TEACHER_HISTORY,
        catalog.STUDENT_CONFIG,
        catalog.STUDENT_WEIGHTS,
        catalog.STUDENT_HISTORY,
        catalog.INTERPOLATION,
        catalog.summary("student"),
        catalog.INDEX,
        catalog.LANGUAGE,
        catalog.CONCEPT_LABELS,
        catalog.CONCEPTS,
        catalog.summary("probe"),
        catalog.PROBED_ATTRIBUTES,
        catalog.PROBED_CONCEPTS,
    ],
    writes=[catalog.REPORT, catalog.RECALL],
    takes=[
        "seed",
        "compute.device",
        "compute.dtype",
        "compute.threads",
        "features.batch",
        "evaluate",
        "zeroshot",
        "concepts.enabled",
        "student.recipe",
        "student.text",
        "student.weights",
    ],
    unwatched=["compute.workers"],
    folders=["zeroshot.path"],
    less_memory="features.batch or evaluate.bootstrap",
)
def evaluate(params: Params, ws: Workspace) -> dict[str, Any]:
    """Compare student and base on the test data, which nothing is chosen on.

    metrics.json holds recall@1/5/10, median rank, MRR, MAP and mAP@R both ways, zero-shot of seen and unseen classes
    with the share retained, and bootstrap intervals of every difference. recall.csv feeds
    `dvc plots show`; report/index.html is a page to look at, with example retrievals, and report/concepts.html, with
    concepts, tells what each is of.
    """
    import numpy as np

    from pipeline.clip import towers
    from pipeline.clip.encode import Compute
    from pipeline.evaluation.comparison import Embedded, add_zeroshot, compare
    from pipeline.features import classes
    from pipeline.probes import tables
    from pipeline.report import concepts, page, plots
    from pipeline.search import index
    from pipeline.zeroshot import classifier, sets

    threads(params)
    page.read(ws)  # before the work
    if params.concepts.enabled:
        tables.read(ws, catalog.PROBED_CONCEPTS)
    device = params.compute.device
    models = {"base": towers.load(ws.path(catalog.BASE_CLIP), device), "student": towers.load(ws.student, device)}
    manifest = ws.manifest(Split.TEST)
    found = index.load(ws.path(catalog.INDEX), models["student"].weights, manifest.fingerprint)
    base = Embedded(
        ws.images(manifest, weights=models["base"].weights).astype(np.float32),
        ws.captions(manifest, weights=models["base"].weights).astype(np.float32),
    )
    result = compare(base, Embedded(*found.vectors()), found.owner, samples=params.evaluate.bootstrap, seed=params.seed)
    student, zeroshot_path = models["student"], Path(params.zeroshot.path)
    compute = Compute(device, params.compute.dtype, params.features.batch, params.compute.workers)
    test = sets.read(zeroshot_path, Split.TEST)
    of_base = classes.read(ws, zeroshot_path, test, weights=models["base"].weights)
    of_student = classifier.embed(student, test, compute)
    frozen = params.student.text == "frozen"
    weights = of_base[1] if frozen else classifier.class_weights(student, test, compute)
    embedded = {"base": of_base, "student": (of_student, weights)}
    add_zeroshot(result.metrics, embedded, test, samples=params.evaluate.bootstrap, seed=params.seed)

    report = ws.path(catalog.REPORT)
    plots.write_recall(ws.path(catalog.RECALL), result.metrics)
    page.write(
        report / "index.html", result, base, manifest, found,
        ws.table(catalog.TEST_BOXES, manifest), ws, params,
    )  # fmt: skip
    if params.concepts.enabled:
        concepts.write(report / "concepts.html", ws, manifest)
    return result.metrics


if __name__ == "__main__":
    run(evaluate)
