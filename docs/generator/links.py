"""What pages name has to be there: linked files and anchors, files in code, modules, commands and parameters."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docs.generator import ROOT, help_texts, markdown
from pipeline.params import Params

_PATH = re.compile(r"(?:pipeline|stages|console|tests|benchmarks|docs|profiles|\.ci|\.github)/[^<>{}*\s]*")
_MODULE = re.compile(r"\bpython -m ((?:stages|benchmarks|docs)(?:\.[a-z_]+)+)")
_COMMAND = re.compile(r"^\s*(?:\w+=\S+ )?dclip ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)
_SECTIONS = "|".join(Params.model_fields)
_PARAMETER = re.compile(rf"((?:{_SECTIONS})(?:\.[a-z_0-9]+)+)(?:: .*)?")
_FILES = (".arrow", ".json", ".csv", ".html", ".md", ".py", ".yaml", ".parquet", ".safetensors", ".pt")
_SCHEMA = Params.model_json_schema()


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S603
    return [root / name for name in listed if (root / name).is_file()]


def broken(page: Path, root: Path = ROOT) -> Iterator[str]:
    """What a page names that is not there, each in a sentence; of CHANGELOG.md only links."""
    text = page.read_text()
    for path, anchor in markdown.links(text):
        target = page.parent / path if path else page
        if not target.exists():
            yield f"a link leads to {path}, which is not there"
        elif anchor and anchor not in markdown.anchors(target.read_text()):
            yield f"a link leads to #{anchor} of {target.name}, which has no such heading"
    if page.name == "CHANGELOG.md":  # which speaks of what was
        return
    for name in markdown.words_in_code(text):
        if _PATH.fullmatch(name) and not (root / name).exists():
            yield f"`{name}` is not there"
        if (found := _PARAMETER.fullmatch(name)) and not found[1].endswith(_FILES) and not _is_parameter(found[1]):
            yield f"there is no parameter `{found[1]}`"
    for piece in markdown.code(text):
        for module in _MODULE.findall(piece):
            path = root / module.replace(".", "/")
            if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
                yield f"there is no module {module}"
        yield from _unknown_commands(piece)


@cache
def _known_commands() -> set[str]:
    return {name.removeprefix("dclip ") for name, _ in help_texts.commands()}


def _unknown_commands(piece: str) -> Iterator[str]:
    known = _known_commands()
    groups = {name.split()[0] for name in known if " " in name}
    for first, second in _COMMAND.findall(piece):
        name = f"{first} {second}" if first in groups and second else first
        if name not in known | groups:
            yield f"there is no command dclip {name}"


def _is_parameter(name: str) -> bool:
    """Whether a dotted name, or a name before it with free names below, is in the models of params.yaml."""
    found: list[dict[str, Any]] = [_SCHEMA]
    for part in name.split("."):
        found = [inner for entry in found for inner in _below(entry, part, _SCHEMA["$defs"])]
    return bool(found)


def _below(entry: dict[str, Any], part: str, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What an entry of the schema has under a name, in whichever of its kinds."""
    if "$ref" in entry:
        yield from _below(known[entry["$ref"].rpartition("/")[2]], part, known)
    for choice in (*entry.get("anyOf", ()), *entry.get("oneOf", ())):
        yield from _below(choice, part, known)
    if part in entry.get("properties", {}):
        yield entry["properties"][part]
    elif isinstance(entry.get("additionalProperties"), dict):
        yield entry["additionalProperties"]
