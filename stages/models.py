"""Stage `models`: the base CLIP and the detector, as files with hashes."""

from pathlib import Path
from typing import Any

from pipeline.disk import files
from pipeline.params import Params
from pipeline.params.models import ClipFromOpenClip
from stages.program import allow_downloads, run, threads


def models(params: Params, data: Path) -> dict[str, Any]:
    """Fetch, copy or train the base CLIP and the detector into data/models.

    clip/ is an open_clip local directory, detector.pt an ultralytics weights file; metrics.json holds the hash of
    each, so that DVC and every table see a change of weights. Only `models.clip.kind: open_clip` with a pretrained
    tag reaches the network.
    """
    if isinstance(params.models.clip, ClipFromOpenClip) and not Path(params.models.clip.pretrained).is_file():
        allow_downloads()
    from pipeline.artifacts.figures import write_history
    from pipeline.models import base_models

    threads(params)
    out = data / "models"
    source = Path(params.models.path)
    clip, history = base_models.clip(params.models.clip, source, seed=params.seed)
    clip.save(out / "clip")
    base_models.detector(
        params.models.detector, source, out / "detector.pt", image_size=params.regions.image_size, seed=params.seed,
        device=params.compute.device,
    )  # fmt: skip
    write_history(out / "pretraining.csv", history)
    return {
        "clip": {"weights": clip.weights, "dimension": clip.dimension, "image_size": clip.image_size,
                 **({"last_loss": history[-1]["loss"]} if history else {})},
        "detector": {"sha256": files.sha256(out / "detector.pt")},
    }  # fmt: skip


if __name__ == "__main__":
    run(models, lower="models.clip.batch, models.detector.batch or models.detector.images")
