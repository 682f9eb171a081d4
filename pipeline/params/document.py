"""The YAML of params.yaml as plain data: one mapping of names, of a size that a person writes, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 100_000
"""A file has this many bytes at most; the longest profile has 5,000."""
MOST_DEEP = 20
MOST_VALUES = 10_000
"""A file has this many values at most, where every alias counts as a copy of what it names."""
MOST_DIGITS = 40
_ZERO_FIRST = re.compile(r"[-+]?0[0-9_]+")


class Unusable(ValueError):
    """A file is no such YAML; the message says where and why."""


class _Loader(yaml.SafeLoader):
    """YAML's plain values: no dates, which no parameter is, and no mapping with a name twice or of no name."""

    yaml_implicit_resolvers = {  # noqa: RUF012  as its base class has it
        first: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:timestamp"]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As ever, once all names have been looked at."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if not isinstance(name, str):
                    raise Unusable(f"{_line(key)}: a parameter's name is {str(key.value)[:40]!r}, expected a word")
                if name in seen:
                    raise Unusable(f"{_line(key)}: {name[:40]!r} stands there twice; keep one of them")
                seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As ever; a value that Python cannot make is named with its line."""
        try:
            if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MOST_DIGITS:
                raise ValueError
            if isinstance(node, yaml.ScalarNode):
                _check_plain(node)
            return super().construct_object(node, deep)
        except Unusable:
            raise
        except (ValueError, OverflowError) as error:
            raise Unusable(f"{_line(node)}: {str(node.value)[:20]!r}... is no number that can be read") from error


def _check_plain(node: yaml.ScalarNode) -> None:
    """Stop at what YAML 1.1, which is read here, takes for another value than YAML 1.2, as which DVC reads the file."""
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind in ("int", "float") and ":" in text:
        advice = "which may be read to the base of 60; write it as a decimal number, or a word in quotes"
    elif node.style is None and _ZERO_FIRST.fullmatch(text):
        advice = "which may be read to the base of 8; write it without zeros before it, or a word in quotes"
    elif kind == "bool" and text.lower() not in ("true", "false"):
        advice = "which may be read as a word; write true or false, or a word in quotes"
    else:
        return
    raise Unusable(f"{_line(node)}: {text[:40]}, {advice}")


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"


def _looked_at(events: Iterator[yaml.Event]) -> None:
    """Stop at the first thing that no parameters have, before anything is made of it."""
    depth = documents = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if documents > 1:
            raise Unusable(f"{_line(event)}: another document begins (---); expected one")
        if depth > MOST_DEEP:
            raise Unusable(f"{_line(event)}: more than {MOST_DEEP} levels; expected sections with parameters")
        if tag := getattr(event, "tag", None):
            raise Unusable(f"{_line(event)}: a tag, {tag[:60]!r}; expected plain words, numbers, true and false")


def _expanded(node: yaml.Node, known: dict[int, int], above: frozenset[int] = frozenset()) -> int:
    """How many values there are below a node if every alias is a copy."""
    if id(node) in above:
        raise Unusable(f"{_line(node)}: an alias stands within what it names")
    if id(node) not in known:
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        below = [] if isinstance(node, yaml.ScalarNode) else parts
        known[id(node)] = 1 + sum(_expanded(part, known, above | {id(node)}) for part in below)
        if known[id(node)] > MOST_VALUES:
            raise Unusable(f"{_line(node)}: more than {MOST_VALUES:,} values, each alias taken as a copy")
    return known[id(node)]


def read(path: Path) -> Any:
    """What stands in a file: mappings of words, lists, words, numbers, true, false and nothing.

    Raises:
        FileNotFoundError: there is no file.
        OSError: it cannot be read.
        Unusable: it is no file of that kind.
    """
    if path.exists() and not path.is_file():
        raise Unusable("it is no file")
    with path.open("rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unusable(f"it has more than {MOST_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
        scanner = yaml.SafeLoader(text)
        try:
            _looked_at(iter(scanner.get_event, None))
        except Unusable:
            raise
        except (ValueError, OverflowError) as error:
            raise Unusable(
                f"line {scanner.line + 1}: there is no such letter (\\U.. in quotes), or version (%YAML): {error}"
            ) from error
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _expanded(root, {})
        return loader.construct_document(root)
    except UnicodeDecodeError as error:
        raise Unusable(f"its bytes are not UTF-8 ({error})") from error
    except yaml.YAMLError as error:
        raise Unusable(str(error)) from error
