"""Stage `probe`: what can be read from the embeddings of base, student and language model."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads


@stage(
    reads=[
        catalog.MANIFEST,
        catalog.CAPTION_EMBEDDINGS,
        catalog.IMAGE_EMBEDDINGS,
        catalog.LANGUAGE,
        catalog.CONCEPT_LABELS,
        catalog.CONCEPTS,
        *(table for table in catalog.EMBEDDED.values() if table not in catalog.STUDENT_CLASSES),
    ],
    writes=[catalog.PROBED_ATTRIBUTES, catalog.PROBED_WORDS, catalog.PROBED_CONCEPTS],
    takes=["seed", "compute.device", "compute.threads", "evaluate.bootstrap", "probe"],
    folders=["probe.attributes"],
    less_memory="probe.captions",
)
def probe(params: Params, ws: Workspace) -> dict[str, Any]:
    """Measure what a linear probe reads from the embeddings of base, student and language model.

    metrics.json holds, for the base, the student, the student before interpolation (end_point) and, with concepts, the
    language model: attributes of images and words of captions, as areas under the ROC curve; captions read without an
    error; captions found among near-misses; whether images and captions fall into the language model's concepts.
    attributes.csv, words.csv and concepts.csv have a row for each.
    """
    from pipeline.probes import tables

    out, p = ws.folder("probe"), params.probe
    if not p.enabled:
        tables.write_empty(out)
        return {"enabled": False}
    from pipeline.probes import attributes, measure
    from pipeline.probes.material import Material

    threads(params)
    shown = attributes.read(Path(p.attributes))
    material = Material(ws, most=p.captions, seed=params.seed)
    words, near_misses = material.words(p.words), material.near_misses(p.near_misses)
    task = measure.Task(shown, words, near_misses, material.owner, material.labels())
    found = {}
    for model in catalog.MEASURED:
        with_attributes = material.attributes(model, shown, Path(p.attributes))
        embedded = measure.Embedded(*material.captions(model), material.images(model), with_attributes)
        found[model] = measure.probe(embedded, task)
    if (language := material.language()) is not None:
        found["language"] = measure.probe(measure.Embedded(*language), task)
    tables.write(out, found, task)
    return {"enabled": True, **measure.compare(found, task, samples=params.evaluate.bootstrap, seed=params.seed)}


if __name__ == "__main__":
    run(probe)
