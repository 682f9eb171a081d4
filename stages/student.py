"""Stage `student`: train the student against cached targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.disk import files
from pipeline.params import Params
from stages.program import LIBRARY, home, run, threads

CODE = (
    "distillation", "training", "clip/encode.py", "clip/towers.py", "retrieval/metrics.py", "spans/phrases.py",
    "spans/words.py", "teacher/targets.py", "zeroshot", "features/classes.py", "concepts/tables.py",
)  # fmt: skip
"""What a checkpoint depends on, and dvc.yaml names."""

_TRAINED_ALIKE = {"keep", "pixels", "checkpoint_seconds"}
"""Parameters that change nothing in the training itself."""


def _left_to_the_first(clip: object) -> dict[str, float]:
    """Validation in all processes but the first, which tells them what it finds."""
    return {}


def student(params: Params, data: Path) -> dict[str, Any]:
    """Train a CLIP student by student.recipe: data/student is an open_clip local directory.

    With frozen text the text tower is not trained: its embeddings are read from the cache. The epoch that retrieves
    best on val is taken (data/student/end_point); then, on the way from the base's weights to its own, the point that
    retrieves best on val among those that keep student.keep of the zero-shot accuracy, at the lower end of its 95 %
    interval. A killed run resumes where its last checkpoint was. With compute.processes above 1 it starts itself again
    under torchrun.
    """
    import torch

    from pipeline.artifacts.figures import write_history
    from pipeline.clip import towers
    from pipeline.clip.encode import Compute
    from pipeline.distillation import interpolation
    from pipeline.distillation.inputs import Inputs
    from pipeline.distillation.recipes import RECIPES
    from pipeline.distillation.student import BASE, Student, start
    from pipeline.distillation.train import StudentTraining, train
    from pipeline.spans.phrases import load_parser
    from pipeline.training.distributed import join
    from pipeline.training.live import logger

    threads(params)
    group, device = join(params.compute.device)
    p, seed, out = params.student, params.seed, data / "student"
    recipe, train_text = RECIPES[p.recipe], p.text == "trainable"
    base = towers.load(data / "models/clip", device)
    model = start(p.init, base, seed)
    model.model.to(device)
    inputs = Inputs(
        data, home(), base=base, student=model, train_text=train_text, threads=params.compute.workers,
        compute=Compute(device, params.compute.dtype, params.compute.batch),
    )  # fmt: skip
    pairs = group.in_turn(
        lambda: (
            inputs.of_base(Path(params.models.path))
            if recipe.data == "base"
            else inputs.of_corpora(
                recipe, decoded=p.pixels == "decoded", parser=lambda: load_parser(params.spans.parser)
            )
        )
    )
    validate: Callable[[towers.Clip], dict[str, float]] = _left_to_the_first
    if group.first:
        own = Compute(device, p.precision, params.compute.batch)
        validate = inputs.validator(Path(params.zeroshot.path), own)
    known = pairs.knowledge
    torch.manual_seed(seed)
    trained = Student(
        model,
        target_dimension=base.dimension,
        train_text=train_text,
        temperature=p.temperature,
        linear=recipe.linear,
        language_dimension=None if known is None else known.language.shape[1],
        concepts=None if known is None else known.count,
    ).to(device)
    fingerprint = files.fingerprint(
        code=files.code(*(LIBRARY / part for part in CODE), Path(__file__)), weights=inputs.weights,
        manifest=inputs.training.fingerprint, architecture=model.config, made_from=inputs.made_from, seed=seed,
        params=p.model_dump(exclude=_TRAINED_ALIKE), device=params.compute.device, processes=group.size,
        threads=params.compute.threads, batch=params.compute.batch,
    )  # fmt: skip
    result = train(
        trained, pairs, validate,
        StudentTraining(
            recipe=p.recipe, epochs=p.epochs, batch=p.batch, lr=p.lr, weight_decay=p.weight_decay,
            weights=p.weights.model_dump(), seed=seed, captions=None if p.captions == "all" else p.captions,
            warmup=p.warmup, max_norm=p.max_grad_norm, chunk=p.micro_batch, precision=p.precision, compiled=p.compile,
            layers=None if p.layers == "all" else p.layers, unfreeze=p.unfreeze, average=p.ema_decay,
            patience=p.patience, interval=p.checkpoint_seconds,
            threads=1 if p.pixels == "cached" and device == "cpu" else params.compute.workers),
        device=device, base_scale=base.scale, steps=len(inputs.training) // p.batch, group=group,
        checkpoint=home() / "runs" / fingerprint / "student.pt", fingerprint=fingerprint,
        log=logger(out / "live") if group.first else lambda history: None,
    )  # fmt: skip
    if not group.first:
        return {}
    end = trained.finished()
    end.save(out / "end_point")
    chosen: dict[str, float] = {"alpha": 1.0}
    points: list[dict[str, float]] = []
    if p.init == BASE:
        chosen, points = interpolation.choose(
            end.model, base.model.state_dict(), lambda: validate(end), result.history[0], p.keep
        )
    end.save(out)
    write_history(out / "interpolation.csv", points)
    write_history(out / "history.csv", result.history)
    return {
        "recipe": p.recipe, "steps_an_epoch": len(inputs.training) // p.batch, "pairs": len(pairs.captions),
        "start": result.history[0], "best": result.best, "chosen": {**result.best, **chosen},
    }  # fmt: skip


if __name__ == "__main__":
    run(student, lower="student.micro_batch (0 is all of student.batch) or student.batch", in_processes=True)
