"""Which values of other parameters a recipe needs: asked of the registry for every recipe and every kind of need."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.artifacts.schema import SpanKind
from pipeline.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from pipeline.params import Params


class Requirement(NamedTuple):
    """A parameter, the value that it has to have, and why, where the parameter's name does not say it."""

    parameter: str
    value: str | bool
    why: str = ""


def requirements(recipe: Recipe) -> list[Requirement]:
    """The values of parameters without which a recipe cannot run."""
    found = []
    if recipe.teacher is not None:
        found.append(Requirement("teacher.inputs", recipe.teacher))
    if recipe.knowledge:
        found.append(Requirement("concepts.enabled", True))
        found.append(Requirement("student.text", "trainable", "it distils into the text tower"))
    if not recipe.contrastive:
        found.append(Requirement("student.contrastive", "softmax", "it has no contrastive loss to be another"))
    if recipe.linear:
        cached = "it maps the base's cached features"
        found += [Requirement("student.init", "base", cached), Requirement("student.text", "frozen", cached)]
    return found


def check(params: Params) -> None:
    """Compare `student.recipe` with all other parameters.

    Raises:
        ValueError: they do not go together; the message names every parameter that has to change.
    """
    recipe = RECIPES[params.student.recipe]
    lacking = []
    for parameter, value, why in requirements(recipe):
        section, name = parameter.split(".")
        if getattr(getattr(params, section), name) != value:
            lacking.append(f"needs {parameter} to be {_written(value)}" + (f", because {why}" if why else ""))
    teacher = params.teacher
    if recipe.target == "image" and teacher.inputs != "text" and teacher.caption_dropout == 0:
        lacking.append(
            "takes the teacher's embedding of an image alone, which is not trained where teacher.caption_dropout is 0; "
            "expected more, such as 0.5"
        )
    if recipe.teachers == "given" and not params.teachers:
        lacking.append("needs a teacher in teachers, which names none; the base alone teaches in affinity_base")
    if recipe.teachers == "base" and params.views.count:
        lacking.append("needs views.count to be 0, because the base's embeddings are of images, not of their views")
    if recipe.phrases and SpanKind.PHRASES not in params.features.spans:
        lacking.append("needs phrases in features.spans")
    if params.student.rewrites and (why := _of_captions_alone(recipe)):
        lacking.append(f"needs student.rewrites to be false, because {why}")
    if lacking:
        raise ValueError(f"student.recipe {recipe.name} {', and '.join(lacking)}")


def _of_captions_alone(recipe: Recipe) -> str:
    """Why a recipe cannot train on rewrites; empty if it can."""
    if recipe.target == "pair":
        return "its targets are of captions alone"
    if recipe.knowledge:
        return "the language model's embeddings are of captions alone"
    if recipe.terms is None:
        return "it is found in closed form from captions"
    return "the base's own pairs have none" if recipe.data == "base" else ""


def _written(value: str | bool) -> str:
    """A value as it stands in params.yaml."""
    return str(value).lower() if isinstance(value, bool) else value
