"""Stage `features`: frozen CLIP embeddings of everything."""

from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.params import Params
from pipeline.schema import REGIONS, SPANS
from stages.program import run, threads


def features(params: Params, data: Path) -> dict[str, Any]:
    """Embed pictures, region crops, captions and spans with the frozen base CLIP: data/features/*.arrow.

    One pass, in batches of one fixed shape; float16 unit vectors on disk. A distinct string is encoded once.
    """
    from pipeline import features as library
    from pipeline.clip import towers
    from pipeline.clip.encode import Compute
    from pipeline.manifest import Manifest
    from pipeline.tables import Table

    threads(params)
    manifest = Manifest(data / "curate")
    origin = {"manifest": manifest.fingerprint}
    regions = Table(data / "regions/regions.arrow", REGIONS, **origin)
    spans = Table(data / "spans/spans.arrow", SPANS, **origin)
    clip = towers.load(data / "models/clip", params.compute.device)
    compute = Compute(params.compute.device, params.compute.dtype, params.features.batch)
    weights = clip.weights
    fingerprint = files.fingerprint(
        code="features 1",
        weights=weights,
        preprocess=clip.config["preprocess_cfg"],
        compute=params.compute.model_dump(),
        params=params.features.model_dump(),
        regions=regions.metadata["fingerprint"],
        spans=spans.metadata["fingerprint"],
    )
    metadata = {
        "kind": "features", "manifest": manifest.fingerprint, "model": "data/models/clip", "weights": weights,
        "dimension": clip.dimension, "normalised": True, "dtype": params.compute.dtype, "features": fingerprint,
        "fingerprint": fingerprint,
    }  # fmt: skip
    out = data / "features"
    out.mkdir(parents=True, exist_ok=True)
    library.write_images(clip, manifest, regions, out, metadata, compute)
    distinct = library.write_texts(clip, manifest, spans, params.features.spans, out, metadata, compute)
    return {"images": len(manifest), "regions": len(regions), "distinct_texts": distinct, "dimension": clip.dimension}


if __name__ == "__main__":
    run(features)
