"""Students trained side by side on the same data, each in a folder of its own: what `dclip compare` compares."""

import logging
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.artifacts import columns
from pipeline.artifacts.catalog import (
    CAPTION_EMBEDDINGS,
    CONCEPT_LABELS,
    NEGATIVES,
    TARGETS,
    VIEWS,
    tables_of,
    targets_of,
)
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files, sums
from pipeline.errors import Damaged, InputError
from pipeline.params import Params
from pipeline.recipes import RECIPES, Recipe
from stages.declaration import Stage
from stages.program import perform
from stages.student import student
from stages.targets import targets
from stages.teacher import teacher

log = logging.getLogger(__name__)

FINISHED = "finished"
"""The file that says what a run depends on, once it is complete."""

MARKS: dict[str, dict[str, Any]] = {"trainable": {"text": "trainable"}, "rewrites": {"rewrites": True}}
"""What may stand behind a recipe's name and a colon, and the parameters of the student that it changes."""


def planned(p: Params, name: str, seed: int) -> Params:
    """The parameters of one run.

    Args:
        p: the parameters of all others.
        name: a recipe's, with or without some of `MARKS`.

    Raises:
        InputError: there is no such recipe, or it does not go with the other parameters.
    """
    recipe, *marks = name.split(":")
    if unknown := [mark for mark in marks if mark not in MARKS]:
        raise InputError(f"{name}: expected {' or '.join(MARKS)} behind a colon, found {unknown[0]!r}")
    if recipe not in RECIPES:
        raise InputError(f"there is no recipe {recipe}; there are: {', '.join(RECIPES)}")
    changed = p.model_dump() | {"seed": seed}
    changed["student"] |= {"recipe": recipe}
    for mark in [*marks, *(["trainable"] if RECIPES[recipe].knowledge else [])]:
        changed["student"] |= MARKS[mark]
    changed["teacher"] |= {"inputs": RECIPES[recipe].teacher or p.teacher.inputs}
    if RECIPES[recipe].teachers == "base":
        changed["views"] |= {"count": 0}
    try:
        return Params.model_validate(changed)
    except ValidationError as error:
        raise InputError(f"{name}: {error.errors()[0]['msg']}; take it out of --recipes") from error


def possible(p: Params, ws: Workspace) -> list[str]:
    """All recipes but those that these parameters, or what is here, do not allow; they are named."""
    training = ws.manifest(Split.TRAIN)
    lacks_negatives = not any(columns.texts(NEGATIVES, training))
    names = []
    for name, recipe in RECIPES.items():
        lacks_pairs = recipe.data == "base" and not any(Path(p.models.path).glob("*.tar"))  # the base's own
        lacks_images = recipe.semi and len(training.captioned) == len(training)
        if lacks_pairs or lacks_images or (recipe.negatives == "given" and lacks_negatives):
            continue
        with suppress(InputError):
            planned(p, name, p.seed)
            names.append(name)
    if without := ", ".join(sorted(RECIPES.keys() - names)):
        print(f"left out, since these parameters, or what is here, do not allow them: {without}", file=sys.stderr)
    return names


def train(run_params: Params, p: Params, ws: Workspace, out: Path) -> Workspace:
    """Run the student stage, unless that was done before.

    A teacher that has read something else than `p`'s is trained, too, with p's seed.

    Args:
        p: those that the tables in `ws` were made with.
        out: where runs are kept.

    Returns:
        the run's folder, with what the student stage has written.

    Raises:
        InputError: a stage has not run, or the targets are of another teacher.
    """
    taught = ws
    if (inputs := run_params.teacher.inputs) != p.teacher.inputs:
        taught = _teach(run_params.model_copy(update={"seed": p.seed}), ws, out / f"teacher-{inputs}")
    text = "" if run_params.student.text == "frozen" else f"-{run_params.student.text}"
    text += "-rewrites" if run_params.student.rewrites else ""
    run = Workspace(out / f"{run_params.student.recipe}{text}-{run_params.seed}")
    recipe = RECIPES[run_params.student.recipe]
    for name in student.upstream:
        if recipe.knowledge or name != CONCEPT_LABELS.stage:
            _link(run, taught if name == TARGETS.stage else ws, name)
    stages = (teacher, student) if recipe.target else (student,)
    identity = _identity(run_params, run, stages, **_made_from(recipe, run_params, run))
    if not _is_finished(run, identity, student):
        print(f"{run_params.student.recipe}, seed {run_params.seed}", file=sys.stderr)
        shutil.rmtree(run.folder(student.name), ignore_errors=True)
        perform(student, run_params, run)
        files.write_text(run.data / FINISHED, identity)
    return run


def _made_from(recipe: Recipe, run_params: Params, run: Workspace) -> dict[str, Any]:
    """Fingerprints of what a recipe reads and others do not: another teacher trains again those that it teaches.

    Raises:
        InputError: the meta-teacher's targets are of another teacher.
        ContractError: a table is missing.
    """
    found: dict[str, Any] = {}
    if recipe.target:
        table = run.table(TARGETS)
        if table.json("parameters") != run_params.teacher.model_dump():
            raise InputError(f"{table.path} was made with other parameters of the teacher; run: dvc repro targets")
        found["targets"] = table.metadata["fingerprint"]
    if recipe.teachers == "given":
        found["teachers"] = [
            [name, *(run.table(table).metadata["fingerprint"] for table in vars(targets_of(name)).values())]
            for name in run_params.teachers
        ]
    if recipe.knowledge:
        found["concepts"] = run.table(CONCEPT_LABELS).metadata["fingerprint"]
    return found


def _teach(run_params: Params, ws: Workspace, folder: Path) -> Workspace:
    """Train another teacher and write its targets."""
    run = Workspace(folder)
    for name in dict.fromkeys((*teacher.upstream, *targets.upstream)):
        if name != teacher.name:
            _link(run, ws, name)
    read = run.table(tables_of(run_params.teacher.of).captions).metadata["fingerprint"]
    identity = _identity(run_params, run, (teacher,), read=read)
    if not _is_finished(run, identity, teacher):
        perform(teacher, run_params, run)
        perform(targets, run_params, run)
        files.write_text(run.data / FINISHED, identity)
    return run


def _link(run: Workspace, ws: Workspace, stage: str) -> None:
    """Link what a stage has left in `ws` into a run's folder."""
    if not ws.folder(stage).exists():
        raise InputError(f"{ws.folder(stage)} does not exist; run: dvc repro student")
    run.data.mkdir(parents=True, exist_ok=True)
    run.folder(stage).unlink(missing_ok=True)
    run.folder(stage).symlink_to(ws.folder(stage).resolve())


def _identity(params: Params, run: Workspace, stages: tuple[Stage, ...], **made_from: Any) -> str:
    """Stands for all that a run depends on: parameters, tables, and the library's code.

    Frozen teachers and views are not among them: their targets stand for both, in `made_from` of what reads them.
    """
    from pipeline.clip.towers import architecture
    from pipeline.distillation.student import BASE

    tables = [table for table in student.reads if table.stage == CAPTION_EMBEDDINGS.stage and table != VIEWS]
    watched = {stage.name: stage.watched(params) for stage in stages}
    watched.get(student.name, {}).pop("teachers", None)
    return files.fingerprint(
        features={table.path: run.table(table).metadata["fingerprint"] for table in tables},
        architecture="" if params.student.init == BASE else architecture(params.student.init),
        code={stage.name: stage.code() for stage in stages},
        parameters=watched,
        **made_from,
    )


def _is_finished(run: Workspace, identity: str, stage: Stage) -> bool:
    """Whether a folder holds this finished run, and its figures are those that were written; if not, it is said."""
    path = run.data / FINISHED
    if not path.is_file() or path.read_bytes() != identity.encode():
        return False
    try:
        sums.check_all(run.folder(stage.name))
    except Damaged as error:
        log.warning("%s; it is made again", error)
        return False
    return True
