"""A profile is laid over params.yaml: its values replace those there, and all else stays, comments included."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from ruamel.yaml import YAML

from pipeline.params import Params, ParamsError, checked, document
from pipeline.params.section import Section


def overlaid(params: Path, profile: Path) -> tuple[str, list[str]]:
    """What params.yaml holds with a profile laid over it, as text, and each change as `name: old -> new`.

    Raises:
        ParamsError: one of the files cannot be read, or the result cannot be used.
    """
    try:
        content, given = document.read(params), document.read(profile)
    except (OSError, document.Unusable) as error:
        raise ParamsError(f"{profile} cannot be laid over {params}: {error}") from error
    if not isinstance(content, dict) or not isinstance(given, dict):
        raise ParamsError(f"{profile} cannot be laid over {params}: expected sections of parameters in both")
    changes = list(_lay_over(content, given, Params))
    checked(content, f"{params} with {profile}")
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    kept = yaml.load(params)
    list(_lay_over(kept, yaml.load(profile), Params))
    text = StringIO()
    yaml.dump(kept, text)
    return text.getvalue(), changes


def _lay_over(values: dict[str, Any], profile: dict[str, Any], model: type[Section], within: str = "") -> Iterator[str]:
    """Change `values` in place, and name each change.

    A section of the model is gone into; whatever else a parameter holds is replaced as a whole: a list, a mapping whose
    names are data (sources.of), or one of several kinds (models.clip).
    """
    for name, new in profile.items():
        field, old = model.model_fields.get(name), values.get(name)
        section = _section(field.annotation) if field else None
        if section and isinstance(old, dict) and isinstance(new, dict):
            yield from _lay_over(values[name], new, section, f"{within}{name}.")
        elif name not in values or old != new:
            yield f"{within}{name}: {old} -> {new}"
            values[name] = new


def _section(annotation: Any) -> type[Section] | None:
    """The section that a parameter is, or may be; None for whatever else it holds, and for one of several."""
    one_of = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    sections = [kind for kind in one_of if isinstance(kind, type) and issubclass(kind, Section)]
    return sections[0] if len(sections) == 1 else None
