"""Help texts of the program `dclip` and of the stages, as they are printed, without colours and frames."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from docs.generator import ROOT

WIDTH = 100
"""Columns of a help text."""


@cache
def _program() -> TyperGroup:
    """The program that pyproject.toml installs as `dclip`."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    program = typer.main.get_command(import_module(scripts["dclip"].partition(":")[0]).app)
    assert isinstance(program, TyperGroup), "dclip has several commands"
    return program


def _printed(command: Any, name: str) -> str:
    assert isinstance(command, TyperCommand | TyperGroup), "typer made it"
    command.rich_markup_mode = None  # no frames
    context = command.make_context(
        name, [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH, color=False
    )
    text = command.get_help(context)
    return f"```text\n{text.strip()}\n```"


def commands(name: str = "") -> Iterator[tuple[str, str]]:
    """Name and help text of the commands of `dclip`, those of a group one by one.

    Args:
        name: of one command or group; none: of all.

    Raises:
        KeyError: there is no such command.
    """
    program = _program()
    for first, command in [(name, program.commands[name])] if name else program.commands.items():
        if isinstance(command, TyperGroup):
            for second, inner in command.commands.items():
                yield f"dclip {first} {second}", _printed(inner, f"dclip {first} {second}")
        else:
            yield f"dclip {first}", _printed(command, f"dclip {first}")


def command(name: str) -> str:
    """The help texts of one command, or of those of a group, one after the other, as Markdown."""
    return "\n\n".join(text for _, text in commands(name))


def stage(name: str) -> str:
    """What a stage does: the docstring of its function, which is its help, without importing the stage."""
    module = ast.parse((ROOT / f"stages/{name}.py").read_text())
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return inspect.cleandoc(ast.get_docstring(next(functions)) or "")
