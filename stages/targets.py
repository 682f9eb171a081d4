"""Stage `targets`: the embeddings of every teacher and of the meta-teacher, aligned: what a team shares."""

import shutil
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads

_FEATURES = (*catalog.TEACHER_INPUTS, catalog.TEACHER_TABLES, catalog.summary("teachers"))


@stage(
    reads=[catalog.MANIFEST, catalog.SPANS, *_FEATURES, catalog.TEACHER],
    writes=[catalog.TARGETS, catalog.CLIP_TARGETS],
    takes=["compute.device", "compute.threads", "teacher"],
    less_memory="teacher.heads or teacher.depth",
)
def targets(params: Params, ws: Workspace) -> dict[str, Any]:
    """Bring the embeddings of all teachers of what trains into tables, aligned: what a team shares.

    Of every teacher those of the training images, their views, crops, captions and distinct phrases, as they are in its
    features. Of the trained meta-teacher one row for the image alone (caption_index -1, the caption-free target of
    dclip_clean) and one with each of its captions (the published target). Written with full metadata, and read back
    through every check.
    """
    from pipeline.artifacts.weights import read, weights_hash
    from pipeline.features.targets import Trained
    from pipeline.teacher import targets as library
    from pipeline.teacher.data import FeatureSet
    from pipeline.teacher.model import MetaTeacher

    threads(params)
    p = params.teacher
    every, manifest = ws.manifest(), ws.manifest(Split.TRAIN)
    features = FeatureSet(manifest, ws, p.spans, p.inputs, p.of)
    state = read(ws.path(catalog.TEACHER), "run: dvc repro -sf teacher")
    model = MetaTeacher.from_parameters(features.dimension, p.model_dump()).filled(state).to(params.compute.device)
    weights = weights_hash(state)
    inputs = {"weights": weights, "features": features.fingerprint}
    made_by: dict[str, Any] = {
        "code": "targets 2",
        "model": "dclip meta-teacher",
        "inputs": inputs,
        "parameters": p.model_dump(),
    }
    read_from = {"of": p.of, "of_weights": features.weights}
    shown = {**inputs, **read_from, "dimension": features.dimension, "normalised": True}
    metadata = provenance("targets", manifest=manifest.fingerprint, **made_by, **shown)
    counts = library.write(model, features, ws.path(catalog.TARGETS), metadata)
    ws.targets(manifest, weights=weights)

    shutil.rmtree(ws.path(catalog.CLIP_TARGETS), ignore_errors=True)  # of teachers that are no longer there, too
    ws.path(catalog.CLIP_TARGETS).mkdir(parents=True)
    trained = Trained(ws, every, manifest, ws.table(catalog.SPANS, every))
    teachers = {name: trained.write(name) for name in ws.summary("teachers")}
    for name in teachers:
        ws.clip_targets(name, manifest).check()
    return {**counts, "weights": weights, "teachers": teachers}


if __name__ == "__main__":
    run(targets)
