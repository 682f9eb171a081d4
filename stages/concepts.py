"""Stage `concepts`: what a frozen language model makes of the captions, and the concepts they fall into."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, store, threads


@stage(
    reads=[catalog.MANIFEST],
    writes=catalog.CONCEPT_TABLES,
    takes=["seed", "compute.device", "compute.threads", "concepts"],
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
        tables.write_empty(out, provenance(
            "concepts", code="", manifest=manifest.fingerprint, model="none", inputs={}, parameters={}))  # fmt: skip
        return {"enabled": False}
    from pipeline.concepts import labelling
    from pipeline.concepts.cached import CachedLanguage
    from pipeline.concepts.language import CODE, LanguageModel, Source

    threads(params)
    source = Source(**p.model.model_dump())
    language = CachedLanguage(LanguageModel(source, params.compute.device), source, p.batch, store())
    metadata = provenance(
        "concepts", code=f"{CODE}, {labelling.CODE}", manifest=manifest.fingerprint, model=source.name,
        inputs={"weights": language.model.weights}, dimension=language.model.dimension, normalised=True,
        parameters=p.model_dump(exclude={"enabled"}) | {"seed": params.seed}, device=params.compute.device,
        collections=[language.rows.folder.name],
    )  # fmt: skip
    how = labelling.Clustering(None if p.count == "auto" else p.count, p.temperature, p.top, p.iterations, params.seed)
    return {"enabled": True, "dimension": language.model.dimension,
            **labelling.write(language, manifest, how, out, metadata)}  # fmt: skip


if __name__ == "__main__":
    run(concepts)
