"""Students trained side by side on the same data, each in a folder of its own: what `dclip compare` compares."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

from pydantic import ValidationError

from pipeline.artifacts.tables import Table
from pipeline.disk import files, sums
from pipeline.distillation.recipes import RECIPES
from pipeline.errors import Damaged, InputError
from pipeline.params import Params
from stages import student, targets, teacher
from stages.program import LIBRARY, perform

log = logging.getLogger(__name__)

_READ = ("curate", "models", "regions", "features")
"""Stages whose results all runs share."""


TRAINABLE = ":trainable"
"""What stands behind a recipe's name if its text tower is trained, too, whatever student.text is."""


def planned(p: Params, name: str, seed: int) -> Params:
    """The parameters of one run.

    Args:
        p: the parameters of all others.
        name: a recipe's, with or without `TRAINABLE`.
        seed: the student's.

    Raises:
        InputError: there is no such recipe, or it does not go with the other parameters.
    """
    recipe = name.removesuffix(TRAINABLE)
    if recipe not in RECIPES:
        raise InputError(f"there is no recipe {recipe}; there are: {', '.join(RECIPES)}")
    changed = p.model_dump() | {"seed": seed}
    changed["student"] |= {"recipe": recipe}
    if name != recipe or RECIPES[recipe].knowledge:
        changed["student"] |= {"text": "trainable"}
    changed["teacher"] |= {"inputs": RECIPES[recipe].teacher or p.teacher.inputs}
    try:
        return Params.model_validate(changed)
    except ValidationError as error:
        raise InputError(f"{name}: {error.errors()[0]['msg']}; take it out of --recipes") from error


def train(own: Params, p: Params, data: Path, out: Path) -> Path:
    """Run the student stage, unless that was done before.

    A teacher that has read something else than `p`'s is trained, too, with p's seed.

    Args:
        own: the run's parameters.
        p: those that the tables in `data` were made with.
        data: the folder with a folder for every stage.
        out: where runs are kept.

    Returns:
        the student's folder.

    Raises:
        InputError: a stage has not run, or the targets are of another teacher.
    """
    upstream = data
    if own.teacher.inputs != p.teacher.inputs:
        upstream = _teach(own.model_copy(update={"seed": p.seed}), data, out / f"teacher-{own.teacher.inputs}")
    text = "" if own.student.text == "frozen" else f"-{own.student.text}"
    folder = out / f"{own.student.recipe}{text}-{own.seed}"
    _link(folder, data, (*_READ, "concepts") if RECIPES[own.student.recipe].knowledge else _READ)
    _link(folder, upstream, ("targets",))
    table = Table(folder / "targets/targets.arrow")
    if table.json("parameters") != own.teacher.model_dump():
        raise InputError(f"{table.path} was made with other parameters of the teacher; run: dvc repro targets")
    made_from = {"targets": table.metadata["fingerprint"]}
    if RECIPES[own.student.recipe].knowledge:
        made_from["concepts"] = Table(folder / "concepts/labels.arrow").metadata["fingerprint"]
    identity = _identity(own, folder, ("teacher", "student", "zeroshot"), **made_from)
    if not _is(folder, identity, "student"):
        print(f"{own.student.recipe}, seed {own.seed}", file=sys.stderr)
        shutil.rmtree(folder / "student", ignore_errors=True)
        perform(student.student, own, folder)
        files.write_text(folder / "finished", identity)
    return folder / "student"


def _teach(own: Params, data: Path, folder: Path) -> Path:
    """Train another teacher and write its targets."""
    _link(folder, data, _READ)
    identity = _identity(own, folder, ("teacher",))
    if not _is(folder, identity, "teacher"):
        perform(teacher.teacher, own, folder)
        perform(targets.targets, own, folder)
        files.write_text(folder / "finished", identity)
    return folder


def _link(folder: Path, data: Path, stages: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        if not (data / stage).exists():
            raise InputError(f"{data / stage} does not exist; run: dvc repro student")
        (folder / stage).unlink(missing_ok=True)
        (folder / stage).symlink_to((data / stage).resolve())


def _identity(params: Params, folder: Path, sections: tuple[str, ...], **made_from: str) -> str:
    """Stands for all that a run depends on: parameters, tables, and the library's code."""
    from pipeline.clip.towers import architecture
    from pipeline.distillation.student import BASE

    tables = sorted((folder / "features").rglob("*.arrow"))
    return files.fingerprint(
        seed=params.seed, features={path.name: Table(path).metadata["fingerprint"] for path in tables}, **made_from,
        device=params.compute.device, batch=params.compute.batch, parser=params.spans.parser,
        architecture="" if params.student.init == BASE else architecture(params.student.init),
        code=files.code(*(LIBRARY / part for part in dict.fromkeys((*teacher.CODE, *student.CODE)))),
        **{section: getattr(params, section).model_dump() for section in sections},
    )  # fmt: skip


def _is(folder: Path, identity: str, stage: str) -> bool:
    """Whether a folder holds this finished run, and its figures are those that were written; if not, it is said."""
    path = folder / "finished"
    if not path.is_file() or path.read_bytes() != identity.encode():
        return False
    try:
        sums.check_all(folder / stage)
    except Damaged as error:
        log.warning("%s; it is made again", error)
        return False
    return True
