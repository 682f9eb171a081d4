"""Stage `embed`: the student's embeddings of everything that it is measured on."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads

_BASE = (catalog.BASE_CLIP, catalog.CAPTION_EMBEDDINGS, catalog.ZEROSHOT_PROMPTS)
_STUDENT = (catalog.STUDENT_CONFIG, catalog.STUDENT_WEIGHTS, catalog.END_POINT)
_COMPUTE = [f"compute.{name}" for name in ("device", "dtype", "batch", "compile", "threads")]
_PROBED = ("probe.enabled", "probe.attributes", "probe.captions")


@stage(
    reads=[catalog.MANIFEST, catalog.SHARDS[Split.TEST], *_BASE, *_STUDENT],
    writes=catalog.EMBEDDED.values(),
    takes=["seed", *_COMPUTE, "student.text", "zeroshot", *_PROBED],
    unwatched=["compute.workers"],
    folders=["zeroshot.path", "probe.attributes"],
    less_memory="compute.batch or compute.workers",
)
def embed(params: Params, ws: Workspace) -> dict[str, Any]:
    """Embed all that models are measured on with the student, and what is probed with the base and the end point.

    That is test images and captions, and zero-shot test images and prompts; for the probes, images with attributes and
    drawn training captions. With frozen text the embeddings of texts are the base's. Tables that nothing asks for, as
    those of the probes where these are not enabled, are empty.
    """
    import numpy as np

    from pipeline.clip import towers
    from pipeline.clip.encode import Compute
    from pipeline.disk.files import names_below
    from pipeline.evaluation.embeddings import Images, ModelTables, Texts, captions
    from pipeline.probes import attributes
    from pipeline.probes.drawn import drawn
    from pipeline.zeroshot import accuracy, sets

    threads(params)
    p, c, zeroshot_path = params.probe, params.compute, Path(params.zeroshot.path)
    models = {name: towers.load(ws.model(name), c.device) for name in catalog.MEASURED}
    base, test = models["base"].weights, ws.manifest(Split.TEST)
    classes = sets.read(zeroshot_path, Split.TEST)
    prompts = list(dict.fromkeys(accuracy.prompts(classes)))
    measured: dict[str, Images | Texts] = {
        "images": Images(test.keys, test.image_files),
        "captions": captions(test, ws.captions(test, weights=base), np.arange(len(test.texts))),
        "class_images": Images(names_below(zeroshot_path, classes.paths), classes.paths),
        "class_prompts": Texts(prompts, prompts, ws.table(catalog.ZEROSHOT_PROMPTS, weights=base).lookup(prompts)),
    }
    probed: dict[str, Images | Texts] = {}
    if p.enabled:
        train, shown = ws.manifest(Split.TRAIN), attributes.read(Path(p.attributes))
        rows = drawn(len(train.texts), p.captions, params.seed)
        probed["training_captions"] = captions(train, ws.captions(train, weights=base), rows)
        probed["attribute_images"] = Images(names_below(Path(p.attributes), shown.paths), shown.paths)
    given = {"base": probed, "student": measured | probed, "end_point": measured | probed if p.enabled else {}}
    compute = Compute(c.device, c.dtype, c.batch, c.workers, c.compile)
    counts: dict[str, dict[str, int]] = {name: {} for name in models}
    frozen = params.student.text == "frozen"
    for name, clip in models.items():
        tables = ModelTables(ws, name, clip, compute, base=base, frozen_text=frozen, manifest=test.fingerprint)
        for what in (what for model, what in catalog.EMBEDDED if model == name):
            counts[name][what] = tables.write(what, given[name].get(what))
    return counts


if __name__ == "__main__":
    run(embed)
