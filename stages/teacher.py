"""Stage `teacher`: train the cross-modal meta-teacher."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Split
from pipeline.disk import files
from pipeline.params import Params
from stages.program import LIBRARY, home, run, threads

CODE = (
    "teacher", "training/checkpoint.py", "training/loop.py", "training/schedule.py", "training/objectives.py",
    "retrieval/metrics.py",
)  # fmt: skip
"""What a checkpoint depends on, and dvc.yaml names."""


def teacher(params: Params, data: Path) -> dict[str, Any]:
    """Train DCLIP's bidirectional cross-attention teacher on cached features: data/teacher/teacher.safetensors.

    Nothing frozen is run again. Its best epoch is chosen by what its image-only targets retrieve on val; the last one
    is taken if teacher.caption_dropout is 0. A killed run
    resumes at its last checkpoint.
    """
    import torch

    from pipeline.artifacts.figures import write_history
    from pipeline.artifacts.manifest import Manifest
    from pipeline.artifacts.weights import write
    from pipeline.teacher.data import FeatureSet
    from pipeline.teacher.model import MetaTeacher
    from pipeline.teacher.train import TeacherTraining, train

    threads(params)
    p, seed = params.teacher, params.seed
    training, validation = (
        FeatureSet(Manifest(data / "curate", (s,)), data / "features", p.spans, p.inputs)
        for s in (Split.TRAIN, Split.VAL)
    )
    torch.manual_seed(seed)
    model = MetaTeacher.of(training.dimension, p.model_dump()).to(params.compute.device)
    fingerprint = files.fingerprint(
        code=files.code(*(LIBRARY / part for part in CODE), Path(__file__)),
        features=training.fingerprint,
        params=p.model_dump(),
        seed=seed,
        device=params.compute.device,
        threads=params.compute.threads,
    )
    trained = train(
        model, training, validation,
        TeacherTraining(
            epochs=p.epochs, batch=p.batch, lr=p.lr, temperature=p.temperature, caption_dropout=p.caption_dropout,
            seed=seed),
        checkpoint=home() / "runs" / fingerprint / "teacher.pt", fingerprint=fingerprint,
    )  # fmt: skip
    out = data / "teacher"
    out.mkdir(parents=True, exist_ok=True)
    write(out / "teacher.safetensors", model.state_dict())
    write_history(out / "history.csv", trained.history)
    return {"start": trained.history[0], "best": trained.best}


if __name__ == "__main__":
    run(teacher, lower="teacher.batch")
