"""Stage `regions`: YOLO boxes and their crops."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.engine import PARAMETERS, cluster
from stages.program import run, store, threads

_IMAGES = (catalog.GIVEN_BOXES, *catalog.SHARDS.values())


@stage(
    reads=[catalog.MANIFEST, *_IMAGES, catalog.DETECTOR, catalog.summary("models")],
    writes=[catalog.REGIONS, catalog.TEST_BOXES],
    takes=["compute.device", "compute.threads", "regions"],
    unwatched=PARAMETERS,
    less_memory="regions.batch, regions.image_size or compute.workers",
)
def regions(params: Params, ws: Workspace) -> dict[str, Any]:
    """Detect objects on every kept image and cut them out.

    Region 0 is always the whole image, so an image without a box still has a region. With regions.boxes: given
    the boxes that came with training images stand in place of the detector's. The detector's file is
    opened only after its hash has been checked. Boxes and crops are kept in the feature store as they are made: a
    killed run goes on where it stopped, and only images never seen are looked at.
    """
    from pipeline.detector import regions as library
    from pipeline.detector import weights
    from pipeline.detector.cached import CachedDetector, Cropping, Detection
    from pipeline.detector.detect import CODE
    from pipeline.detector.given import GivenBoxes
    from pipeline.images import decoding

    threads(params)
    sha256 = ws.summary("models")["detector"]["sha256"]
    manifest = ws.manifest()
    p = params.regions
    model, device = weights.load(ws.path(catalog.DETECTOR), sha256), params.compute.device
    detection = Detection(p.confidence, p.iou, p.image_size, p.batch)
    cropping = Cropping(p.max_regions, p.min_side, p.margin, p.crop_side, p.crop_quality)
    given = GivenBoxes(ws.manifest(Split.TRAIN)) if p.boxes == "given" else None
    detector = CachedDetector(model, sha256, detection, cropping, device, store(), params.compute.workers, given)
    parameters = p.model_dump(exclude={"boxes"})
    made_by: dict[str, Any] = {"model": "ultralytics", "code": f"{CODE}, {decoding.CODE}", "parameters": parameters}
    inputs = {"weights": sha256} | ({"boxes": given.fingerprint} if given else {})
    made_from: dict[str, Any] = {"manifest": manifest.fingerprint, "inputs": inputs}
    made_from |= {"collections": detector.folders, "weights": sha256, "device": device}
    metadata = provenance("regions", **made_by, **made_from)
    with cluster(params) as actors:
        if actors:
            from pipeline.cluster import regions as by_actors

            by_actors.fill(actors, detector, ws.path(catalog.DETECTOR), sha256, manifest)
    return library.write(detector, manifest, ws.folder("regions"), metadata)


if __name__ == "__main__":
    run(regions)
