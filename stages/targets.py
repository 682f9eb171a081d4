"""Stage `targets`: the teacher's embeddings, cached: what a team shares."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Split
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.program import run, threads


def targets(params: Params, data: Path) -> dict[str, Any]:
    """Embed every training picture with the trained teacher: data/targets/targets.arrow.

    One row for the picture alone (caption_index -1, the caption-free target of dclip_clean) and one with each of its
    captions (the published target). Written with full metadata, and read back through every check.
    """
    from pipeline.artifacts.manifest import Manifest
    from pipeline.artifacts.weights import read, weights_hash
    from pipeline.teacher import targets as library
    from pipeline.teacher.data import FeatureSet
    from pipeline.teacher.model import MetaTeacher

    threads(params)
    p = params.teacher
    manifest = Manifest(data / "curate", (Split.TRAIN,))
    features = FeatureSet(manifest, data / "features", p.spans, p.inputs)
    state = read(data / "teacher/teacher.safetensors", "run: dvc repro -sf teacher")
    model = MetaTeacher.of(features.dimension, p.model_dump()).filled(state).to(params.compute.device)
    weights = weights_hash(state)
    metadata = provenance(
        "targets", code="targets 2", manifest=manifest.fingerprint, model="dclip meta-teacher", weights=weights,
        features=features.fingerprint, dimension=features.dimension, normalised=True,
        inputs={"weights": weights, "features": features.fingerprint}, parameters=p.model_dump(),
    )  # fmt: skip
    path = data / "targets/targets.arrow"
    counts = library.write(model, features, path, metadata)
    library.Targets(path, manifest, weights=weights)
    return {**counts, "weights": weights}


if __name__ == "__main__":
    run(targets, lower="teacher.heads or teacher.depth")
