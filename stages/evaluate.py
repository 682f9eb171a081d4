"""Stage `evaluate`: the honest table, and the report."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import BOXES, Split
from pipeline.params import Params
from stages.program import run, threads


def evaluate(params: Params, data: Path) -> dict[str, Any]:
    """Compare student and base on the test data, which nothing is chosen on: data/evaluate.

    metrics.json holds recall@1/5/10, median rank, MRR, MAP and mAP@R both ways, zero-shot of seen and unseen classes
    with the share retained, and bootstrap intervals of every difference. recall.csv feeds
    `dvc plots show`; report/index.html is a page to look at, with example retrievals, and report/concepts.html, with
    concepts, tells what each is of.
    """
    import numpy as np

    from pipeline.artifacts.manifest import Manifest
    from pipeline.artifacts.tables import Table
    from pipeline.clip import towers
    from pipeline.clip.encode import Compute
    from pipeline.evaluation.comparison import Embedded, add_zeroshot, compare
    from pipeline.features import classes
    from pipeline.probes import tables
    from pipeline.report import concepts, page, plots
    from pipeline.search import index
    from pipeline.zeroshot import classifier, sets

    threads(params)
    page.read(data)  # before the work
    if params.concepts.enabled:
        tables.read(data / "probe/concepts.csv")
    device = params.compute.device
    models = {"base": towers.load(data / "models/clip", device), "student": towers.load(data / "student", device)}
    manifest = Manifest(data / "curate", (Split.TEST,))
    found = index.load(data / "index/faiss", models["student"].weights, manifest.fingerprint)
    origin = {"manifest": manifest.fingerprint, "weights": models["base"].weights}
    base = Embedded(
        Table(data / "features/images.arrow", **origin).of(manifest.keys).astype(np.float32),
        Table(data / "features/captions.arrow", **origin).of(manifest.keys).astype(np.float32),
    )
    result = compare(base, Embedded(*found.vectors()), found.owner, samples=params.evaluate.bootstrap, seed=params.seed)
    student, zeroshot_path = models["student"], Path(params.zeroshot.path)
    compute = Compute(device, params.compute.dtype, params.compute.batch, params.compute.workers)
    test = sets.read(zeroshot_path, Split.TEST)
    of_base = classes.read(data / "features/zeroshot", zeroshot_path, test, weights=models["base"].weights)
    of_student = classifier.embed(student, test, compute)
    frozen = params.student.text == "frozen"
    weights = of_base[1] if frozen else classifier.class_weights(student, test, compute)
    embedded = {"base": of_base, "student": (of_student, weights)}
    add_zeroshot(result.metrics, embedded, test, samples=params.evaluate.bootstrap, seed=params.seed)

    out = data / "evaluate"
    plots.write_recall(out / "recall.csv", result.metrics)
    page.write(
        out / "report/index.html", result, base, manifest, found,
        Table(data / "regions/test_boxes.arrow", BOXES, manifest=manifest.fingerprint), data, params,
    )  # fmt: skip
    if params.concepts.enabled:
        concepts.write(out / "report/concepts.html", data, manifest)
    return result.metrics


if __name__ == "__main__":
    run(evaluate, lower="compute.batch or evaluate.bootstrap")
