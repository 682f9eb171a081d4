"""Stage `concepts`: what a frozen language model makes of the captions, and the concepts they fall into."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.engine import PARAMETERS, cluster
from stages.program import run, store, threads


@stage(
    reads=[catalog.MANIFEST],
    writes=catalog.CONCEPT_TABLES,
    takes=["seed", "compute.device", "compute.threads", "concepts"],
    unwatched=PARAMETERS,
    less_memory="concepts.batch or concepts.count",
)
def concepts(params: Params, ws: Workspace) -> dict[str, Any]:
    """Embed every distinct caption with a language model and find concepts by spherical K-means.

    language.arrow has an embedding of every caption, labels.arrow its soft labels, concepts.arrow the concepts with the
    words and captions that tell them. Embeddings are kept in the feature store as they are made. With
    `concepts.enabled: false` the tables are empty, and no language model is opened.
    """
    from pipeline.concepts import tables

    p, out = params.concepts, ws.folder("concepts")
    manifest = ws.manifest()
    if not p.enabled:
        nothing: dict[str, Any] = {"code": "", "model": "none", "inputs": {}, "parameters": {}}
        tables.write_empty(out, provenance("concepts", manifest=manifest.fingerprint, **nothing))
        return {"enabled": False}
    from pipeline.concepts import labelling
    from pipeline.concepts.cached import CachedLanguage
    from pipeline.concepts.language import CODE, LanguageModel, Source

    threads(params)
    source = Source(**p.model.model_dump())
    language = CachedLanguage(LanguageModel(source, params.compute.device), source, p.batch, store())
    with cluster(params) as actors:
        if actors:
            from pipeline.cluster import language as by_actors

            by_actors.fill(actors, language, source, list(dict.fromkeys(manifest.texts)))
    parameters = p.model_dump(exclude={"enabled"}) | {"seed": params.seed}
    made_by: dict[str, Any] = {"code": f"{CODE}, {labelling.CODE}", "model": source.name, "parameters": parameters}
    made_from: dict[str, Any] = {
        "inputs": {"weights": language.model.weights},
        "collections": [language.rows.folder.name],
    }
    dimension = language.model.dimension
    shown: dict[str, Any] = {"dimension": dimension, "normalised": True, "device": params.compute.device}
    metadata = provenance("concepts", manifest=manifest.fingerprint, **made_by, **made_from, **shown)
    how = labelling.Clustering(None if p.count == "auto" else p.count, p.temperature, p.top, p.iterations, params.seed)
    counts = labelling.write(language, manifest, how, out, metadata)
    return {"enabled": True, "dimension": dimension, **counts}


if __name__ == "__main__":
    run(concepts)
