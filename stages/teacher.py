"""Stage `teacher`: train the cross-modal meta-teacher."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.params import Params
from stages.declaration import stage
from stages.program import home, run, threads


@stage(
    reads=[catalog.MANIFEST, *catalog.TEACHER_INPUTS, catalog.TEACHER_TABLES],
    writes=[catalog.TEACHER, catalog.TEACHER_HISTORY],
    takes=["seed", "compute.device", "compute.threads", "teacher"],
    less_memory="teacher.batch",
)
def teacher(params: Params, ws: Workspace) -> dict[str, Any]:
    """Train DCLIP's bidirectional cross-attention teacher on cached features of the base or of one of the teachers.

    Nothing frozen is run again. Its best epoch is chosen by what its image-only targets retrieve on val; the last one
    is taken if teacher.caption_dropout is 0. A killed run resumes at its last checkpoint.
    """
    import torch

    from pipeline.artifacts.figures import write_history
    from pipeline.artifacts.weights import write
    from pipeline.teacher.data import FeatureSet
    from pipeline.teacher.model import MetaTeacher
    from pipeline.teacher.train import TeacherTraining, train

    threads(params)
    p, seed = params.teacher, params.seed
    training, validation = (FeatureSet(ws.manifest(s), ws, p.spans, p.inputs, p.of) for s in (Split.TRAIN, Split.VAL))
    torch.manual_seed(seed)
    model = MetaTeacher.from_parameters(training.dimension, p.model_dump()).to(params.compute.device)
    fingerprint = files.fingerprint(
        code=teacher.code(),
        features=training.fingerprint,
        params=p.model_dump(),
        seed=seed,
        device=params.compute.device,
        threads=params.compute.threads,
    )
    checkpoint = home() / "runs" / fingerprint / "teacher.pt"
    how = TeacherTraining(p.epochs, p.batch, p.lr, p.temperature, p.caption_dropout, seed)
    trained = train(model, training, validation, how, checkpoint=checkpoint, fingerprint=fingerprint)
    ws.folder("teacher").mkdir(parents=True, exist_ok=True)
    write(ws.path(catalog.TEACHER), model.state_dict())
    write_history(ws.path(catalog.TEACHER_HISTORY), trained.history)
    return {"start": trained.history[0], "best": trained.best}


if __name__ == "__main__":
    run(teacher)
