"""Stage `targets`: the teacher's embeddings, cached: what a team shares."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads


@stage(
    reads=[
        catalog.MANIFEST,
        catalog.REGION_EMBEDDINGS,
        catalog.CAPTION_EMBEDDINGS,
        *catalog.SPAN_EMBEDDINGS.values(),
        catalog.TEACHER,
    ],
    writes=[catalog.TARGETS],
    takes=["compute.device", "compute.threads", "teacher"],
    less_memory="teacher.heads or teacher.depth",
)
def targets(params: Params, ws: Workspace) -> dict[str, Any]:
    """Embed every training image with the trained teacher: what a team shares.

    One row for the image alone (caption_index -1, the caption-free target of dclip_clean) and one with each of its
    captions (the published target). Written with full metadata, and read back through every check.
    """
    from pipeline.artifacts.weights import read, weights_hash
    from pipeline.teacher import targets as library
    from pipeline.teacher.data import FeatureSet
    from pipeline.teacher.model import MetaTeacher

    threads(params)
    p = params.teacher
    manifest = ws.manifest(Split.TRAIN)
    features = FeatureSet(manifest, ws, p.spans, p.inputs)
    state = read(ws.path(catalog.TEACHER), "run: dvc repro -sf teacher")
    model = MetaTeacher.of(features.dimension, p.model_dump()).filled(state).to(params.compute.device)
    weights = weights_hash(state)
    metadata = provenance(
        "targets", code="targets 2", manifest=manifest.fingerprint, model="dclip meta-teacher", weights=weights,
        features=features.fingerprint, dimension=features.dimension, normalised=True,
        inputs={"weights": weights, "features": features.fingerprint}, parameters=p.model_dump(),
    )  # fmt: skip
    counts = library.write(model, features, ws.path(catalog.TARGETS), metadata)
    ws.targets(manifest, weights=weights)
    return {**counts, "weights": weights}


if __name__ == "__main__":
    run(targets)
