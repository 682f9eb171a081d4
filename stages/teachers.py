"""Stage `teachers`: the frozen CLIPs that a student learns from, as files with hashes."""

import shutil
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from pipeline.params.models import ClipFromOpenClip
from stages.declaration import stage
from stages.program import allow_downloads, home, run, threads


@stage(
    reads=[catalog.BASE_CLIP],
    writes=[catalog.TEACHER_CLIPS, catalog.TEACHERS_HISTORY],
    takes=["seed", "compute.device", "compute.threads", "teachers"],
    folders=["models.path"],
    less_memory="teachers.large.batch, or that of another teacher that is trained here",
)
def teachers(params: Params, ws: Workspace) -> dict[str, Any]:
    """Fetch, copy or train the frozen CLIPs that a student learns from.

    clips/ holds an open_clip local directory for each; metrics.json the hash, width, input and scale of each, so that
    DVC and every table see a change. Only a teacher of `kind: open_clip` with a pretrained tag reaches the network. One
    of `kind: sample` is the base, trained on at more pixels; a killed training resumes after its last epoch.
    """
    fetched = [t.pretrained for t in params.teachers.values() if isinstance(t, ClipFromOpenClip)]
    if not all(Path(pretrained).is_file() for pretrained in fetched):
        allow_downloads()
    from pipeline.artifacts.figures import write_history
    from pipeline.models import teacher_models
    from pipeline.models.pretrain import Runs

    threads(params)
    folder = ws.path(catalog.TEACHER_CLIPS)
    shutil.rmtree(folder, ignore_errors=True)  # of teachers that are no longer named, too
    folder.mkdir(parents=True)
    how: dict[str, Any] = {"seed": params.seed, "device": params.compute.device}
    how["runs"] = Runs(home() / "runs", teachers.code())
    summary: dict[str, Any] = {}
    history: list[dict[str, float | str]] = []
    for name, source in params.teachers.items():
        base, pairs = ws.path(catalog.BASE_CLIP), Path(params.models.path)
        clip, epochs = teacher_models.clip(name, source, base, pairs, **how)
        clip.save(folder / name)
        history += [{"teacher": name, **row} for row in epochs]
        about = {"weights": clip.weights, "dimension": clip.dimension, "image_size": clip.image_size}
        summary[name] = about | {"scale": clip.scale if source.scale == "own" else source.scale}
    write_history(ws.path(catalog.TEACHERS_HISTORY), history, "teacher", "epoch", "loss")
    return summary


if __name__ == "__main__":
    run(teachers)
