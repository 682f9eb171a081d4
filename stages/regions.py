"""Stage `regions`: YOLO boxes and their crops."""

from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.params import Params
from stages.program import run, threads


def regions(params: Params, data: Path) -> dict[str, Any]:
    """Detect objects on every kept picture and cut them out: data/regions/regions.arrow.

    Region 0 is always the whole picture, so a picture without a box still has a region. The detector's file is
    opened only after its hash has been checked.
    """
    from pipeline import regions as library
    from pipeline.detector import weights
    from pipeline.manifest import Manifest

    threads(params)
    sha256 = files.read_json(data / "models/metrics.json")["detector"]["sha256"]
    manifest = Manifest(data / "curate")
    compute, wanted = params.compute, params.regions
    detector = weights.load(data / "models/detector.pt", sha256)
    metadata = {
        "kind": "regions", "manifest": manifest.fingerprint, "model": "ultralytics", "weights": sha256,
        "fingerprint": files.fingerprint(
            code="regions 1", manifest=manifest.fingerprint, weights=sha256, params=wanted.model_dump(),
            device=compute.device),
    }  # fmt: skip
    return library.write(
        detector, manifest, data / "regions/regions.arrow", metadata, device=compute.device, **wanted.model_dump()
    )


if __name__ == "__main__":
    run(regions)
