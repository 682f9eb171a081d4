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


@stage(
    reads=[catalog.MANIFEST, *catalog.SHARDS.values(), catalog.BASE_CLIP, catalog.REGIONS, catalog.SPANS],
    writes=[
        catalog.IMAGE_EMBEDDINGS,
        catalog.REGION_EMBEDDINGS,
        catalog.CAPTION_EMBEDDINGS,
        *catalog.SPAN_EMBEDDINGS.values(),
        catalog.ZEROSHOT_IMAGES,
        catalog.ZEROSHOT_PROMPTS,
    ],
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
    of_weights = {"weights": clip.weights}
    common: dict[str, Any] = {
        "code": f"{encode.CODE}, {towers.CODE}, {decoding.CODE}",
        "model": f"data/{catalog.BASE_CLIP.path}",
        "weights": clip.weights,
        "dimension": model.dimension,
        "normalised": True,
        "dtype": compute.dtype,
        "device": compute.device,
        "parameters": made_with,
        "collections": [collection.folder.name for collection in used],
    }
    made_from = {table.metadata["kind"]: table.metadata["fingerprint"] for table in (regions, spans)}
    metadata = provenance("features", manifest=manifest.fingerprint, inputs={**made_from, **of_weights}, **common)
    metadata["features"] = metadata["fingerprint"]
    shown = classes.Contents(Path(params.zeroshot.path))
    of_classes = provenance(
        "zero-shot features", manifest="", inputs={"zeroshot": shown.fingerprint, **of_weights}, **common
    )

    out = ws.folder("features")
    out.mkdir(parents=True, exist_ok=True)
    image_embeddings.write(clip, manifest, regions, out, metadata)
    distinct, _ = texts.write(clip, manifest, spans, p.spans, out, metadata)
    classes.write(clip, shown, out, of_classes)
    return {"images": len(manifest), "regions": len(regions), "distinct_texts": distinct, "dimension": model.dimension}


if __name__ == "__main__":
    run(features)
