"""Stage `student`: train the student against cached targets."""

from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.params import Params
from pipeline.schema import Split
from stages.program import home, run, store, threads


def student(params: Params, data: Path) -> dict[str, Any]:
    """Train a CLIP student by student.recipe: data/student is an open_clip local directory.

    With frozen text the text tower never runs: its embeddings are read from the cache. The epoch that retrieves best
    on val is taken; then, on the way from the base's weights to its own, the point that retrieves best on val among
    those that keep student.keep of the zero-shot accuracy. A killed run resumes after its last epoch.
    """
    import torch

    from pipeline import zeroshot
    from pipeline.base_models import base_pairs, write_history
    from pipeline.clip import towers
    from pipeline.clip.cached import CachedClip
    from pipeline.clip.encode import Compute
    from pipeline.features import classes
    from pipeline.manifest import Manifest
    from pipeline.store import keys
    from pipeline.tables import Table
    from pipeline.teacher.targets import Targets
    from pipeline.training import interpolation, pixels
    from pipeline.training.recipes import RECIPES
    from pipeline.training.student import BASE, Student, start
    from pipeline.training.train import Pairs, StudentTraining, Validator, train

    threads(params)
    p, seed, device = params.student, params.seed, params.compute.device
    recipe = RECIPES[p.recipe]
    compute = Compute(device, "float32", params.features.batch)
    base = towers.load(data / "models/clip", device)
    weights = base.weights
    model = start(p.init, base, seed)
    model.model.to(device)

    def pairs(split: Split) -> tuple[Pairs, Manifest]:
        manifest = Manifest(data / "curate", (split,))
        origin = {"manifest": manifest.fingerprint, "weights": weights}
        return Pairs(
            pixels.cached(model, manifest, home() / "pixels"), manifest.captions,
            Table(data / "features/captions.arrow", **origin).of(manifest.keys),
            Table(data / "features/images.arrow", **origin).of(manifest.keys),
        ), manifest  # fmt: skip

    training_pairs, manifest = pairs(Split.TRAIN)
    validation_pairs, _ = pairs(Split.VAL)
    steps = len(training_pairs.captions) // p.batch
    made_from = {
        name: Table(data / f"features/{name}.arrow", weights=weights).metadata["fingerprint"]
        for name in ("captions", "images", "zeroshot/images", "zeroshot/prompts")
    }
    if recipe.target:
        targets = Targets(data / "targets/targets.arrow", manifest)
        training_pairs.targets = targets.images if recipe.target == "image" else targets.pairs
        made_from["targets"] = targets.metadata["fingerprint"]
    if recipe.data == "base":
        rows, captions = base_pairs(Path(params.models.path), model)
        of_captions = CachedClip(base, compute, store()).vectors_of(captions, "embed base captions")
        training_pairs = Pairs(rows, [[c] for c in captions], of_captions)
        made_from["base pairs"] = keys.of(rows.tobytes(), "\n".join(captions).encode()).hex()

    shown = zeroshot.read(Path(params.zeroshot.path), Split.VAL)
    class_weights = classes.class_weights(data / "features/zeroshot", shown, weights=weights)
    torch.manual_seed(seed)
    trained = Student(
        model, target_dimension=base.dimension, train_text=p.text == "trainable", temperature=p.temperature
    ).to(device)
    fingerprint = files.fingerprint(
        code="student 1", weights=weights, manifest=manifest.fingerprint, made_from=made_from, seed=seed,
        params=p.model_dump(), device=device, threads=params.compute.threads, batch=params.features.batch,
    )  # fmt: skip
    validate = Validator(trained, validation_pairs, shown, zeroshot.pixels(model, shown), class_weights, compute)
    result = train(
        trained, training_pairs, validate,
        StudentTraining(
            recipe=p.recipe, epochs=p.epochs, batch=p.batch, lr=p.lr, weight_decay=p.weight_decay,
            weights=p.weights.model_dump(), seed=seed),
        device=device, steps=steps, checkpoint=home() / "runs" / fingerprint / "student.pt", fingerprint=fingerprint,
    )  # fmt: skip
    out = data / "student"
    chosen: dict[str, float] = {"alpha": 1.0}
    points: list[dict[str, float]] = []
    if p.init == BASE:
        chosen, points = interpolation.choose(model.model, base.model.state_dict(), validate, result.history[0], p.keep)
    model.save(out)
    write_history(out / "interpolation.csv", points)
    write_history(out / "history.csv", result.history)
    return {
        "recipe": p.recipe, "steps_an_epoch": steps, "pairs": len(training_pairs.captions),
        "start": result.history[0], "best": result.best, "chosen": {**result.best, **chosen},
    }  # fmt: skip


if __name__ == "__main__":
    run(student)
