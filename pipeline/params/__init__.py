"""The models of params.yaml: every parameter, its range and what it does. An unknown or mistyped one is an error."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError, model_validator

from pipeline.artifacts.catalog import BASE
from pipeline.errors import InputError
from pipeline.params import document, recipe_needs
from pipeline.params.data import Curate, Sample
from pipeline.params.evaluation import Evaluate, Index, Probe, Zeroshot
from pipeline.params.features import Concepts, Features, Regions, Spans, Teacher
from pipeline.params.models import Compute, Models, Teachers, Views
from pipeline.params.section import Section, Whole
from pipeline.params.sources import Sources
from pipeline.params.student import Student
from pipeline.sources import CORPORA

RENAMED = {
    "sources.quota": "sources.of",
    "features.batch": "compute.batch",
    "models.detector.pictures": "models.detector.images",
    "regions.cap": "regions.max_regions",
    "spans.cap": "spans.max_phrases",
    "teacher.inputs: picture": "teacher.inputs: image",
    "student.average": "student.ema_decay",
    "student.chunk": "student.micro_batch",
    "student.max_norm": "student.max_grad_norm",
    "index.lists": "index.nlist",
    "index.probes": "index.nprobe",
    "index.links": "index.hnsw_m",
    "index.effort": "index.hnsw_ef_search",
    "index.bytes": "index.pq_m",
    "probe.near": "probe.near_misses",
}
"""Parameters, or their values, that had another name, and what is written now."""


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
    teachers: Teachers
    views: Views
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
        if self.teacher.of == BASE and self.teacher.spans not in self.features.spans:
            raise ValueError(f"teacher.spans is {self.teacher.spans}, which features.spans does not embed")
        if BASE in self.teachers:
            raise ValueError(f"teachers: {BASE} is the base's own name; give that teacher another")
        if self.teacher.of not in (BASE, *self.teachers):
            raise ValueError(f"teacher.of is {self.teacher.of}; expected one of {', '.join((BASE, *self.teachers))}")
        if (by := self.curate.similarity.by) not in (BASE, *self.teachers):
            raise ValueError(f"curate.similarity.by is {by}; expected one of {', '.join((BASE, *self.teachers))}")
        recipe_needs.check(self)
        for source, mode in self.curate.test.items():
            if source not in self.sources.of:
                raise ValueError(f"curate.test names {source}, which sources.of does not read")
            kind = self.sources.of[source].kind
            if mode == "karpathy" and not CORPORA[kind].split_file:
                raise ValueError(
                    f"curate.test.{source} is karpathy, but {kind} has no such file; give a share such as 0.1"
                )
        prefer = self.curate.duplicates.prefer
        if lacking := [source for source in self.sources.of if prefer.count(source) != 1]:
            raise ValueError(f"curate.duplicates.prefer is {prefer}; expected {lacking[0]} of sources.of in it once")
        if not self.curate.test:
            raise ValueError("curate.test names no source, so there would be no test split")
        return self


def _choices(annotation: Any) -> list[Any]:
    """The models that an annotation may hold: itself, or the members of an optional or a union."""
    members = [m for argument in get_args(annotation) for m in _choices(argument)]
    return members or ([annotation] if hasattr(annotation, "model_fields") else [])


def _is_union_member(part: Any) -> bool:
    """Whether a part of a location names a member of a union of plain types, which the file does not have."""
    return isinstance(part, str) and (part in ("int", "float", "str", "bool") or "[" in part)


def _walk(location: tuple[Any, ...]) -> tuple[str, list[str]]:
    """A parameter's name as it stands in the file, and the names that are known beside it.

    pydantic puts the chosen kind of a union into the location; the file has no such level.
    """
    location = tuple(part for part in location if not _is_union_member(part))
    models: list[Any] = [Params]
    path: list[str] = []
    is_key = False  # of a mapping whose names are data, such as teachers
    for part in location[:-1]:
        kinds = [m for m in models if "kind" in m.model_fields and part in get_args(m.model_fields["kind"].annotation)]
        if kinds and not is_key:
            models = kinds
            continue
        path.append(str(part))
        if not is_key:
            held = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            models = [choice for annotation in held for choice in _choices(annotation)]
        is_key = not is_key and any(get_origin(annotation) is dict for annotation in held)
    return ".".join([*path, *(str(part) for part in location[-1:])]), [n for m in models for n in m.model_fields]


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: missing or unreadable file, unknown name (with the closest known one), wrong type or range.
    """
    try:
        content = document.read(path)
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist; run: git checkout params.yaml") from error
    except (OSError, document.Unusable) as error:
        raise ParamsError(f"{path} is not a YAML file of parameters: {error}") from error
    return checked(content, str(path))


def checked(content: Any, name: str) -> Params:
    """The parameters that plain data stands for; `name` says in errors where it is from.

    Raises:
        ParamsError: as `load`.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = []
        problems = [(*_walk(problem["loc"]), problem) for problem in error.errors()]
        renamed = {RENAMED[parameter] for parameter, *_ in problems if parameter in RENAMED}
        for parameter, known, problem in problems:
            if new := RENAMED.get(parameter) or RENAMED.get(f"{parameter}: {problem['input']}"):
                lines.append(f"  {parameter} was renamed; write {new}")
                continue
            if problem["type"] == "missing" and parameter in renamed:
                continue  # it is there, under its old name
            line = f"  {parameter or 'params'}: {problem['msg']}"
            if problem["type"] == "extra_forbidden":
                close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
                line = f"  {parameter}: there is no such parameter" + (f"; did you mean {close[0]}?" if close else "")
            elif problem["type"] not in ("missing", "value_error"):
                line += f", found {reprlib.repr(problem['input'])}"
            lines.append(line)
        raise ParamsError("\n".join([f"{name} cannot be used:", *lines])) from error
