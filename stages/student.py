"""Stage `student`: train the student against cached targets."""

from functools import partial
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
        "compute.batch",
        "student",
        "zeroshot",
    ],
    unwatched=["compute.workers"],
    folders=["zeroshot.path"],
    less_memory="student.micro_batch (0 is all of student.batch) or student.batch",
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

    from pipeline.clip import towers
    from pipeline.clip.encode import Compute
    from pipeline.distillation.finish import finish
    from pipeline.distillation.inputs import Inputs
    from pipeline.distillation.student import BASE, Student, start
    from pipeline.distillation.train import StudentTraining, train
    from pipeline.recipes import RECIPES
    from pipeline.spans.phrases import load_parser
    from pipeline.training.distributed import join
    from pipeline.training.live import logger

    threads(params)
    group, device = join(params.compute.device)
    p, seed = params.student, params.seed
    recipe, train_text = RECIPES[p.recipe], p.text == "trainable"
    base = towers.load(ws.path(catalog.BASE_CLIP), device)
    clip = start(p.init, base, seed, device)
    workers = params.compute.workers
    frozen = Compute(device, params.compute.dtype, params.compute.batch, workers)
    inputs = Inputs(ws, home(), base=base, student=clip, compute=frozen, train_text=train_text)
    if recipe.data == "base":
        pairs = group.in_turn(lambda: inputs.base_training_pairs(Path(params.models.path)))
    else:
        decoded, parser = p.pixels == "decoded", partial(load_parser, params.spans.parser)
        pairs = group.in_turn(lambda: inputs.corpus_pairs(recipe, decoded=decoded, parser=parser))
    trained_as = Compute(device, p.precision, params.compute.batch)
    validate = inputs.validator(Path(params.zeroshot.path), trained_as) if group.first else _left_to_the_first
    torch.manual_seed(seed)
    trained = Student(
        clip,
        target_dimension=base.dimension,
        train_text=train_text,
        temperature=p.temperature,
        linear=recipe.linear,
        **pairs.heads,
    ).to(device)
    fingerprint = files.fingerprint(
        code=student.code(),
        weights=inputs.weights,
        manifest=inputs.training.fingerprint,
        architecture=clip.config,
        made_from=inputs.made_from,
        seed=seed,
        params=p.model_dump(exclude=_TRAINED_ALIKE),
        device=params.compute.device,
        processes=group.size,
        threads=params.compute.threads,
        batch=params.compute.batch,
    )
    steps, one_thread = len(inputs.training) // p.batch, p.pixels == "cached" and device == "cpu"
    training = StudentTraining.from_parameters(p, seed=seed, threads=1 if one_thread else workers)
    result = train(
        trained,
        pairs,
        validate,
        training,
        device=device,
        base_scale=base.scale,
        steps=steps,
        group=group,
        checkpoint=home() / "runs" / fingerprint / "student.pt",
        fingerprint=fingerprint,
        log=logger(ws.path(catalog.LIVE_METRICS).parent) if group.first else lambda history: None,
    )
    if not group.first:
        return {}
    towards = base if p.init == BASE else None
    chosen = finish(trained.finished(), result, validate, ws, base=towards, keep=p.keep)
    summary = {"recipe": p.recipe, "steps_an_epoch": steps, "pairs": len(pairs.captions)}
    return {**summary, "start": result.history[0], "best": result.best, "chosen": chosen}


def _left_to_the_first(clip: object) -> dict[str, float]:
    """Validation in all processes but the first, which tells them what it finds."""
    return {}


if __name__ == "__main__":
    run(student)
