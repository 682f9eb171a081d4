"""Stage `models`: the base CLIP and the detector, as files with hashes."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.params import Params
from pipeline.params.models import ClipFromOpenClip
from stages.declaration import stage
from stages.program import allow_downloads, home, run, threads


@stage(
    writes=[catalog.BASE_CLIP, catalog.DETECTOR, catalog.PRETRAINING],
    takes=["seed", "compute.device", "compute.threads", "models", "regions.image_size"],
    folders=["models.path"],
    less_memory="models.clip.batch, models.detector.batch or models.detector.images",
)
def models(params: Params, ws: Workspace) -> dict[str, Any]:
    """Fetch, copy or train the base CLIP and the detector, as files with hashes.

    clip/ is an open_clip local directory, detector.pt an ultralytics weights file; metrics.json holds the hash of
    each, so that DVC and every table see a change of weights. Only `models.clip.kind: open_clip` with a pretrained
    tag reaches the network. A killed training of the base resumes after its last epoch.
    """
    if isinstance(params.models.clip, ClipFromOpenClip) and not Path(params.models.clip.pretrained).is_file():
        allow_downloads()
    from pipeline.artifacts.figures import write_history
    from pipeline.models import base_models
    from pipeline.models.pretrain import Runs

    threads(params)
    source = Path(params.models.path)
    runs = Runs(home() / "runs", models.code())
    clip, history = base_models.clip(params.models.clip, source, seed=params.seed, runs=runs)
    clip.save(ws.path(catalog.BASE_CLIP))
    detector = ws.path(catalog.DETECTOR)
    how: dict[str, Any] = {"image_size": params.regions.image_size, "device": params.compute.device}
    base_models.detector(params.models.detector, source, detector, seed=params.seed, **how)
    write_history(ws.path(catalog.PRETRAINING), history)
    about = {"weights": clip.weights, "dimension": clip.dimension, "image_size": clip.image_size}
    loss = {"last_loss": history[-1]["loss"]} if history else {}
    return {"clip": about | loss, "detector": {"sha256": files.sha256(detector)}}


if __name__ == "__main__":
    run(models)
