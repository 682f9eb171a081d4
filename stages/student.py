"""Stage `student`: train the student against cached targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.params import Params
from stages.declaration import stage
from stages.program import home, run, threads

_TRAINED_ALIKE = {"keep", "pixels", "checkpoint_seconds"}
"""Parameters that change nothing in the training itself."""


def _left_to_the_first(clip: object) -> dict[str, float]:
    """Validation in all processes but the first, which tells them what it finds."""
    return {}


@stage(
    reads=[
        catalog.MANIFEST,
        catalog.SHARDS[Split.TRAIN],
        catalog.SHARDS[Split.VAL],
        catalog.BASE_CLIP,
        catalog.REGIONS,
        catalog.CAPTION_EMBEDDINGS,
        catalog.IMAGE_EMBEDDINGS,
        catalog.REGION_EMBEDDINGS,
        catalog.ZEROSHOT_IMAGES,
        catalog.ZEROSHOT_PROMPTS,
        catalog.TARGETS,
        catalog.LANGUAGE,
        catalog.CONCEPT_LABELS,
        catalog.CONCEPTS,
    ],
    writes=[
        catalog.STUDENT_CONFIG,
        catalog.STUDENT_WEIGHTS,
        catalog.END_POINT,
        catalog.STUDENT_HISTORY,
        catalog.LIVE_METRICS,
        catalog.INTERPOLATION,
        catalog.LIVE_PLOTS,
    ],
    takes=[
        "seed",
        "compute.device",
        "compute.dtype",
        "compute.threads",
        "compute.processes",
        "models.path",
        "spans.parser",
        "features.batch",
        "student",
        "zeroshot",
    ],
    unwatched=["compute.workers"],
    folders=["zeroshot.path"],
    less_memory="student.chunk (0 is all of student.batch) or student.batch",
    in_processes=True,
)
def student(params: Params, ws: Workspace) -> dict[str, Any]:
    """Train a CLIP student by student.recipe against cached targets.

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
    p, seed, out = params.student, params.seed, ws.student
    recipe, train_text = RECIPES[p.recipe], p.text == "trainable"
    base = towers.load(ws.path(catalog.BASE_CLIP), device)
    model = start(p.init, base, seed)
    model.model.to(device)
    inputs = Inputs(
        ws, home(), base=base, student=model, train_text=train_text, threads=params.compute.workers,
        compute=Compute(device, params.compute.dtype, params.features.batch),
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
        own = Compute(device, p.precision, params.features.batch)
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
        code=student.code(), weights=inputs.weights,
        manifest=inputs.training.fingerprint, architecture=model.config, made_from=inputs.made_from, seed=seed,
        params=p.model_dump(exclude=_TRAINED_ALIKE), device=params.compute.device, processes=group.size,
        threads=params.compute.threads, batch=params.features.batch,
    )  # fmt: skip
    result = train(
        trained, pairs, validate,
        StudentTraining(
            recipe=p.recipe, epochs=p.epochs, batch=p.batch, lr=p.lr, weight_decay=p.weight_decay,
            weights=p.weights.model_dump(), seed=seed, captions=None if p.captions == "all" else p.captions,
            warmup=p.warmup, max_norm=p.max_norm, chunk=p.chunk, precision=p.precision, compiled=p.compile,
            layers=None if p.layers == "all" else p.layers, unfreeze=p.unfreeze, average=p.average,
            patience=p.patience, interval=p.checkpoint_seconds,
            threads=1 if p.pixels == "cached" and device == "cpu" else params.compute.workers),
        device=device, base_scale=base.scale, steps=len(inputs.training) // p.batch, group=group,
        checkpoint=home() / "runs" / fingerprint / "student.pt", fingerprint=fingerprint,
        log=logger(ws.path(catalog.LIVE_METRICS).parent) if group.first else lambda history: None,
    )  # fmt: skip
    if not group.first:
        return {}
    end = trained.finished()
    end.save(ws.path(catalog.END_POINT))
    chosen: dict[str, float] = {"alpha": 1.0}
    points: list[dict[str, float]] = []
    if p.init == BASE:
        chosen, points = interpolation.choose(
            end.model, base.model.state_dict(), lambda: validate(end), result.history[0], p.keep
        )
    end.save(out)
    write_history(ws.path(catalog.INTERPOLATION), points)
    write_history(ws.path(catalog.STUDENT_HISTORY), result.history)
    return {
        "recipe": p.recipe, "steps_an_epoch": len(inputs.training) // p.batch, "pairs": len(pairs.captions),
        "start": result.history[0], "best": result.best, "chosen": {**result.best, **chosen},
    }  # fmt: skip


if __name__ == "__main__":
    run(student)
