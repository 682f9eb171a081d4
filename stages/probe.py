"""Stage `probe`: what can be read from the embeddings of base, student and language model."""

from pathlib import Path
from typing import Any

from pipeline.params import Params
from stages.program import run, threads


def probe(params: Params, data: Path) -> dict[str, Any]:
    """Measure what a linear probe reads from embeddings, on pictures and captions it was not trained on: data/probe.

    metrics.json holds, for the base, the student, the student before interpolation (end_point) and, with concepts, the
    language model: attributes of pictures and words of captions, as areas under the ROC curve; captions read without an
    error; captions found among near-misses; whether pictures and captions fall into the language model's concepts.
    attributes.csv, words.csv and concepts.csv have a row for each.
    """
    from pipeline.probes import tables

    out, p = data / "probe", params.probe
    if not p.enabled:
        tables.write_empty(out)
        return {"enabled": False}
    from pipeline.clip import pictures, towers
    from pipeline.clip.encode import Compute
    from pipeline.probes import attributes, measure
    from pipeline.probes.material import Material

    threads(params)
    shown = attributes.read(Path(p.attributes))
    folders = {"base": "models/clip", "student": "student", "end_point": "student/end_point"}
    models = {name: towers.load(data / folder, params.compute.device) for name, folder in folders.items()}
    material = Material(data, models["base"].weights, most=p.captions, seed=params.seed)
    words, near_misses = material.words(p.words), material.near_misses(p.near_misses)
    task = measure.Task(shown, words, near_misses, material.owner, material.labels())
    compute = Compute(params.compute.device, params.compute.dtype, params.compute.batch, params.compute.workers)
    found = {}
    for name, clip in models.items():
        frozen = name == "base" or params.student.text == "frozen"
        captions = material.cached() if frozen else material.embedded(clip, compute)
        with_attributes = pictures.embed(clip, shown.paths, compute, f"attribute pictures, {name}").numpy()
        images = material.images(clip, compute)
        found[name] = measure.probe(measure.Embedded(*captions, images, with_attributes), task)
    if (language := material.language()) is not None:
        found["language"] = measure.probe(measure.Embedded(*language), task)
    tables.write(out, found, task)
    return {"enabled": True, **measure.compare(found, task, samples=params.evaluate.bootstrap, seed=params.seed)}


if __name__ == "__main__":
    run(probe, lower="compute.batch or probe.captions")
