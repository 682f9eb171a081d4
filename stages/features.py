"""Stage `features`: frozen CLIP embeddings of everything."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import REGIONS, SPANS, SpanKind
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.program import run, store, threads


def features(params: Params, data: Path) -> dict[str, Any]:
    """Embed pictures, crops, captions, spans and the zero-shot set with the frozen base CLIP: data/features/*.arrow.

    In batches of one fixed shape; float16 unit vectors. Every embedding is kept in the feature store as it is made: a
    killed run goes on where it stopped, and only what was never seen is embedded.
    """
    from pipeline import images
    from pipeline.artifacts.manifest import Manifest
    from pipeline.artifacts.tables import Table
    from pipeline.clip import encode, towers
    from pipeline.clip.cached import CachedClip
    from pipeline.clip.encode import Compute
    from pipeline.features import classes, pictures, texts

    threads(params)
    p, compute = params.features, params.compute
    manifest = Manifest(data / "curate")
    origin = {"manifest": manifest.fingerprint}
    regions = Table(data / "regions/regions.arrow", REGIONS, **origin)
    spans = Table(data / "spans/spans.arrow", SPANS, **origin)
    model = towers.load(data / "models/clip", compute.device)
    if SpanKind.TOKENS in p.spans:
        encode.check_tokens(model)
    clip = CachedClip(model, Compute(compute.device, compute.dtype, compute.batch, compute.workers), store())
    made_with = {"batch": compute.batch, "dtype": compute.dtype, "spans": list(p.spans), **model.config}
    used = [clip.pictures, clip.texts, *([clip.tokens] if SpanKind.TOKENS in p.spans else [])]
    of_weights = {"weights": clip.weights}
    facts: dict[str, Any] = {
        "code": f"{encode.CODE}, {towers.CODE}, {images.CODE}", "model": "data/models/clip", "weights": clip.weights,
        "dimension": model.dimension, "normalised": True, "dtype": compute.dtype, "device": compute.device,
        "parameters": made_with, "collections": [collection.folder.name for collection in used],
    }  # fmt: skip
    made_from = {table.metadata["kind"]: table.metadata["fingerprint"] for table in (regions, spans)}
    metadata = provenance("features", manifest=manifest.fingerprint, inputs={**made_from, **of_weights}, **facts)
    metadata["features"] = metadata["fingerprint"]
    shown = classes.Contents(Path(params.zeroshot.path))
    of_classes = provenance(
        "zero-shot features", manifest="", inputs={"zeroshot": shown.fingerprint, **of_weights}, **facts
    )

    out = data / "features"
    out.mkdir(parents=True, exist_ok=True)
    pictures.write(clip, manifest, regions, out, metadata)
    distinct, _ = texts.write(clip, manifest, spans, p.spans, out, metadata)
    classes.write(clip, shown, out / "zeroshot", of_classes)
    return {"images": len(manifest), "regions": len(regions), "distinct_texts": distinct, "dimension": model.dimension}


if __name__ == "__main__":
    run(features, lower="compute.batch or compute.workers")
