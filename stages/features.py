"""Stage `features`: frozen CLIP embeddings of everything."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, store, threads

_TABLES = (catalog.IMAGE_EMBEDDINGS, catalog.REGION_EMBEDDINGS, catalog.CAPTION_EMBEDDINGS)


@stage(
    reads=[catalog.MANIFEST, *catalog.SHARDS.values(), catalog.BASE_CLIP, catalog.REGIONS, catalog.SPANS],
    writes=[*_TABLES, *catalog.SPAN_EMBEDDINGS.values(), *catalog.ZEROSHOT_EMBEDDINGS],
    takes=["compute.device", "compute.dtype", "compute.batch", "compute.threads", "features", "zeroshot"],
    unwatched=["compute.workers"],
    folders=["zeroshot.path"],
    less_memory="compute.batch or compute.workers",
)
def features(params: Params, ws: Workspace) -> dict[str, Any]:
    """Embed images, crops, captions, spans and the zero-shot set with the frozen base CLIP.

    In batches of one fixed shape; float16, unit length. Every embedding is kept in the feature store as it is made: a
    killed run goes on where it stopped, and only what was never seen is embedded.
    """
    from pipeline.clip import encode, towers
    from pipeline.clip.cached import CachedClip
    from pipeline.clip.encode import Compute
    from pipeline.features import classes, image_embeddings, texts
    from pipeline.images import decoding

    threads(params)
    p, compute = params.features, params.compute
    manifest = ws.manifest()
    regions = ws.table(catalog.REGIONS, manifest)
    spans = ws.table(catalog.SPANS, manifest)
    model = towers.load(ws.path(catalog.BASE_CLIP), compute.device)
    if SpanKind.TOKENS in p.spans:
        encode.check_tokens(model)
    clip = CachedClip(model, Compute(compute.device, compute.dtype, compute.batch, compute.workers), store())
    made_with = {"batch": compute.batch, "dtype": compute.dtype, "spans": list(p.spans), **model.config}
    used = [clip.images, clip.texts, *([clip.tokens] if SpanKind.TOKENS in p.spans else [])]
    made_by = {"weights": clip.weights}
    code, name = f"{encode.CODE}, {towers.CODE}, {decoding.CODE}", f"data/{catalog.BASE_CLIP.path}"
    common: dict[str, Any] = {"code": code, "model": name, "weights": clip.weights, "parameters": made_with}
    common |= {"dimension": model.dimension, "normalised": True, "dtype": compute.dtype, "device": compute.device}
    common["collections"] = [collection.folder.name for collection in used]
    made_from = {table.metadata["kind"]: table.metadata["fingerprint"] for table in (regions, spans)}
    metadata = provenance("features", manifest=manifest.fingerprint, inputs={**made_from, **made_by}, **common)
    metadata["features"] = metadata["fingerprint"]
    shown = classes.Contents(Path(params.zeroshot.path))
    class_metadata = provenance(
        "zero-shot features", manifest="", inputs={"zeroshot": shown.fingerprint, **made_by}, **common
    )

    out = ws.folder("features")
    out.mkdir(parents=True, exist_ok=True)
    image_embeddings.write(clip, manifest, regions, out, metadata)
    distinct, _ = texts.write(clip, manifest, spans, p.spans, out, metadata)
    classes.write(clip, shown, out, class_metadata)
    return {"images": len(manifest), "regions": len(regions), "distinct_texts": distinct, "dimension": model.dimension}


if __name__ == "__main__":
    run(features)
