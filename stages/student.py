"""Stage `student`: train the student against cached targets."""

from functools import partial
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.params import Params
from stages.declaration import stage
from stages.program import home, run, threads

_TRAINED_ALIKE = {"keep", "pixels", "checkpoint_seconds"}
"""Parameters that change nothing in the training itself."""

_DATA = (catalog.MANIFEST, catalog.REWRITES, catalog.SHARDS[Split.TRAIN], catalog.SHARDS[Split.VAL], catalog.BASE_CLIP)
_EMBEDDINGS = (catalog.CAPTION_EMBEDDINGS, catalog.IMAGE_EMBEDDINGS, catalog.REGION_EMBEDDINGS, catalog.REGIONS)
_TEXTS = (catalog.COLUMN_EMBEDDINGS, catalog.SPANS, catalog.SPAN_EMBEDDINGS[SpanKind.PHRASES])
_TARGETS = (catalog.VIEWS, catalog.TARGETS, catalog.CLIP_TARGETS)
_HISTORIES = (catalog.STUDENT_HISTORY, catalog.LIVE_METRICS, catalog.INTERPOLATION, catalog.LIVE_PLOTS)
_COMPUTE = [f"compute.{name}" for name in ("device", "dtype", "threads", "processes", "batch")]


@stage(
    reads=[*_DATA, *_EMBEDDINGS, *catalog.ZEROSHOT_EMBEDDINGS, *_TEXTS, *_TARGETS, *catalog.CONCEPT_TABLES],
    writes=[*catalog.STUDENT, catalog.END_POINT, *_HISTORIES],
    takes=["seed", *_COMPUTE, "models.path", "spans.parser", "teachers", "student", "zeroshot"],
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
    read: dict[str, Any] = {"train_text": train_text, "teachers": list(params.teachers)}
    inputs = Inputs(ws, home(), base=base, student=clip, compute=frozen, **read)
    if recipe.data == "base":
        pairs = group.in_turn(lambda: inputs.base_training_pairs(Path(params.models.path)))
    else:
        decoded, parser = p.pixels == "decoded", partial(load_parser, params.spans.parser)
        pairs = group.in_turn(lambda: inputs.corpus_pairs(recipe, decoded=decoded, parser=parser, rewrites=p.rewrites))
    trained_as = Compute(device, p.precision, params.compute.batch)
    validate = inputs.validator(Path(params.zeroshot.path), trained_as) if group.first else None
    torch.manual_seed(seed)
    how: dict[str, Any] = {"train_text": train_text, "temperature": p.temperature, "linear": recipe.linear}
    how |= {"contrastive": p.contrastive, **pairs.heads}
    trained = Student(clip, base_dimension=base.dimension, **how).to(device)
    made_from = {"manifest": inputs.training.fingerprint, "weights": inputs.weights, "made_from": inputs.made_from}
    chosen_by = {"params": p.model_dump(exclude=_TRAINED_ALIKE), "seed": seed, "architecture": clip.config}
    machine = {name: getattr(params.compute, name) for name in ("device", "threads", "batch")}
    fingerprint = files.fingerprint(code=student.code(), processes=group.size, **made_from, **chosen_by, **machine)
    steps, one_thread = len(inputs.training) // p.batch, p.pixels == "cached" and device == "cpu"
    training = StudentTraining.from_parameters(p, seed=seed, threads=1 if one_thread else workers)
    resumed = {"checkpoint": home() / "runs" / fingerprint / "student.pt", "fingerprint": fingerprint}
    run_as: dict[str, Any] = {"device": device, "base_scale": base.scale, "steps": steps, "group": group, **resumed}
    if group.first:
        run_as["log"] = logger(ws.path(catalog.LIVE_METRICS).parent)
    result = train(trained, pairs, validate.thinned() if validate else _left_to_the_first, training, **run_as)
    if validate is None:
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
