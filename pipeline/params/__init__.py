"""The models of params.yaml: every parameter, its range and what it does. An unknown or mistyped one is an error."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError, model_validator

from pipeline.errors import InputError
from pipeline.params import document, recipe_needs
from pipeline.params.data import Curate, Sample, Sources
from pipeline.params.evaluation import Evaluate, Index, Probe, Zeroshot
from pipeline.params.features import Concepts, Features, Regions, Spans, Teacher
from pipeline.params.models import Compute, Models
from pipeline.params.section import Section, Whole
from pipeline.params.student import Student


class ParamsError(InputError):
    """params.yaml cannot be used; the message names each parameter and what was expected."""


class Params(Section):
    """The whole of params.yaml."""

    seed: Whole
    compute: Compute
    sources: Sources
    sample: Sample | None = None
    curate: Curate
    models: Models
    regions: Regions
    spans: Spans
    features: Features
    teacher: Teacher
    concepts: Concepts
    student: Student
    index: Index
    zeroshot: Zeroshot
    probe: Probe
    evaluate: Evaluate

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if self.sources.sample and self.sample is None:
            raise ValueError("sources.sample asks for the sample world, but there is no section sample")
        if self.teacher.spans not in self.features.spans:
            raise ValueError(f"teacher.spans is {self.teacher.spans}, which features.spans does not embed")
        recipe_needs.check(self)
        for source in self.curate.test:
            if source not in self.sources.quota:
                raise ValueError(f"curate.test names {source}, which sources.quota does not read")
        prefer = self.curate.duplicates.prefer
        if lacking := [source for source in self.sources.quota if prefer.count(source) != 1]:
            raise ValueError(
                f"curate.duplicates.prefer is {prefer}; expected {lacking[0]} in it once, as in sources.quota"
            )
        if not self.curate.test:
            raise ValueError("curate.test names no corpus, so there would be no test split")
        return self


def _choices(annotation: Any) -> list[Any]:
    """The models that an annotation may hold: itself, or the members of an optional or a union."""
    members = [m for argument in get_args(annotation) for m in _choices(argument)]
    return members or ([annotation] if hasattr(annotation, "model_fields") else [])


def _of_a_union(part: Any) -> bool:
    """Whether a part of a location names a member of a union of plain types, which the file does not have."""
    return isinstance(part, str) and (part in ("int", "float", "str", "bool") or "[" in part)


def _walk(location: tuple[Any, ...]) -> tuple[str, list[str]]:
    """A parameter's name as it stands in the file, and the names that are known beside it.

    pydantic puts the chosen kind of a union into the location; the file has no such level.
    """
    location = tuple(part for part in location if not _of_a_union(part))
    models: list[Any] = [Params]
    path: list[str] = []
    for part in location[:-1]:
        kinds = [m for m in models if "kind" in m.model_fields and part in get_args(m.model_fields["kind"].annotation)]
        if kinds:
            models = kinds
            continue
        path.append(str(part))
        models = [c for m in models if part in m.model_fields for c in _choices(m.model_fields[part].annotation)]
    return ".".join([*path, *(str(part) for part in location[-1:])]), [n for m in models for n in m.model_fields]


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: missing or unreadable file, unknown name (with the closest known one), wrong type or range.
    """
    try:
        content = document.read(path)
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist; copy one of profiles/ there: dclip profile sample") from error
    except (OSError, document.Unusable) as error:
        raise ParamsError(f"{path} is not a YAML file of parameters: {error}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name, known = _walk(problem["loc"])
            line = f"  {name or 'params'}: {problem['msg']}"
            if problem["type"] == "extra_forbidden":
                close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
                line = f"  {name}: there is no such parameter" + (f"; did you mean {close[0]}?" if close else "")
            elif problem["type"] not in ("missing", "value_error"):
                line += f", found {reprlib.repr(problem['input'])}"
            lines.append(line)
        raise ParamsError("\n".join([f"{path} cannot be used:", *lines])) from error
