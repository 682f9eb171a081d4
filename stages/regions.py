"""Stage `regions`: YOLO boxes and their crops."""

from pathlib import Path
from typing import Any

from pipeline.disk import sums
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.program import run, store, threads


def regions(params: Params, data: Path) -> dict[str, Any]:
    """Detect objects on every kept picture and cut them out: data/regions/regions.arrow.

    Region 0 is always the whole picture, so a picture without a box still has a region. The detector's file is
    opened only after its hash has been checked. Boxes and crops are kept in the feature store as they are made: a
    killed run goes on where it stopped, and only pictures never seen are looked at.
    """
    from pipeline import images
    from pipeline.artifacts.manifest import Manifest
    from pipeline.detector import regions as library
    from pipeline.detector import weights
    from pipeline.detector.cached import CachedDetector, Cropping, Detection
    from pipeline.detector.detect import CODE

    threads(params)
    sha256 = sums.read_json(data / "models", "metrics.json")["detector"]["sha256"]
    manifest = Manifest(data / "curate")
    p = params.regions
    detector = CachedDetector(
        weights.load(data / "models/detector.pt", sha256), sha256,
        Detection(p.confidence, p.iou, p.image_size, p.batch),
        Cropping(p.max_regions, p.min_side, p.margin, p.crop_side, p.crop_quality), params.compute.device, store(),
        params.compute.workers,
    )  # fmt: skip
    metadata = provenance(
        "regions", code=f"{CODE}, {images.CODE}", manifest=manifest.fingerprint, model="ultralytics", weights=sha256,
        inputs={"weights": sha256}, parameters=p.model_dump(), device=params.compute.device,
        collections=detector.folders,
    )  # fmt: skip
    return library.write(detector, manifest, data / "regions", metadata)


if __name__ == "__main__":
    run(regions, lower="regions.batch, regions.image_size or compute.workers")
