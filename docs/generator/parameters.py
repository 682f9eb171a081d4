"""The table of parameters: name, range, value in params.yaml and meaning, from the models of pipeline/params."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from docs.generator import ROOT
from docs.generator.tables import table
from pipeline.params import Params
from pipeline.params.section import LARGEST, MOST

Schema = dict[str, Any]


def markdown() -> str:
    """A heading and a table for every section of params.yaml."""
    schema = Params.model_json_schema()
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    known = schema["$defs"]
    parts = []
    for name, entry in schema["properties"].items():
        inner = _resolved(entry, known)
        about = inner.get("description", "")
        rows = list(_rows(name, entry, known, values.get(name)))
        parts.append(f"## {name}\n\n{about}\n\n{table(('parameter', 'may be', 'params.yaml', 'meaning'), rows)}")
    return "\n\n".join(part.replace("\n\n\n\n", "\n\n") for part in parts)


def _resolved(entry: Schema, known: dict[str, Schema]) -> Schema:
    """What an entry refers to, or the one thing that it is but for null."""
    choices = [choice for choice in entry.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        return _resolved({**entry, "anyOf": [], **choices[0]}, known)
    return known[entry["$ref"].rpartition("/")[2]] if "$ref" in entry else entry


def _rows(name: str, entry: Schema, known: dict[str, Schema], value: Any) -> Iterator[tuple[str, str, str, str]]:
    """The rows of an entry and of everything below it."""
    described = _resolved(entry, known)
    if "discriminator" in described:
        kinds: dict[str, list[str]] = {}
        for kind, reference in described["discriminator"]["mapping"].items():
            kinds.setdefault(reference.rpartition("/")[2], []).append(kind)
        for model, names in kinds.items():
            chosen = value if isinstance(value, dict) and value.get("kind") in names else None
            below = known[model]
            shown = f"`{chosen['kind']}`" if chosen else ""
            yield f"`{name}.kind`", ", ".join(f"`{kind}`" for kind in names), shown, below.get("description", "")
            for inner, property_ in below["properties"].items():
                if inner != "kind":
                    yield from _rows(f"{name}.{inner}", property_, known, (chosen or {}).get(inner))
    elif "patternProperties" in described:
        for inner in described["patternProperties"].values():
            yield from _rows(f"{name}.NAME", inner, known, None)
    elif "properties" in described:
        for inner, property_ in described["properties"].items():
            yield from _rows(f"{name}.{inner}", property_, known, (value or {}).get(inner))
    else:
        found = value if value is not None else described.get("default")
        meaning = str(entry.get("description", described.get("description", "")))
        yield f"`{name}`", _range(described), "" if found is None else f"`{_yaml(found)}`", meaning


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")


def _range(entry: Schema) -> str:
    """What a value may be, in words."""
    if entry.get("anyOf"):
        return " or ".join(_range(choice) for choice in entry["anyOf"])
    if "enum" in entry or "const" in entry:
        return ", ".join(f"`{_yaml(choice)}`" for choice in entry.get("enum", [entry.get("const")]))
    kind = entry.get("type")
    if kind == "array":
        return f"list of {_range(entry.get('items', {}))}"
    if kind == "object":
        return f"by name: {_range(entry.get('additionalProperties', {}))}"
    if kind in ("integer", "number"):
        return ", ".join(["whole number" if kind == "integer" else "number", *_bounds(entry)])
    if kind == "boolean":
        return "`true`, `false`"
    return "nothing" if kind == "null" else "text"


def _bounds(entry: Schema) -> Iterator[str]:
    for bound, words in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
        ("multipleOf", "a multiple of"),
    ):
        if bound in entry and entry[bound] not in (MOST, LARGEST):
            yield f"{words} {entry[bound]:g}" if entry[bound] < 1e6 else f"{words} {int(entry[bound]):,}"
