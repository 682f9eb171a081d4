"""The generated blocks by name: each asks the one place in the code that declares what it shows."""

from __future__ import annotations

import ast
from collections.abc import Callable

import yaml

from docs.generator import ROOT, help_texts, parameters
from docs.generator.tables import table
from pipeline.artifacts.catalog import ARTIFACTS
from pipeline.params.recipe_needs import requirements
from pipeline.recipes import RECIPES


def reasons() -> str:
    """Why a row is not kept, with what the code says of each reason."""
    module = ast.parse((ROOT / "pipeline/artifacts/schema.py").read_text())
    members = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Reason").body[1:]
    rows: list[tuple[str, str]] = []
    for member in members:
        if isinstance(member, ast.Assign):
            rows.append((f"`{ast.literal_eval(member.value)}`", ""))
        elif isinstance(member, ast.Expr):
            rows[-1] = (rows[-1][0], str(ast.literal_eval(member.value)))
    return table(("reason", "meaning"), rows)


def recipes() -> str:
    """What every recipe minimises and needs, then the equations."""
    rows, equations = [], []
    for recipe in RECIPES.values():
        needs = ", ".join(f"`{need.parameter}: {_value(need.value)}`" for need in requirements(recipe))
        rows.append((f"`{recipe.name}`", recipe.about, needs, recipe.reference))
        if recipe.formula:
            equations.append(f"- `{recipe.name}`: `{recipe.formula}`")
    heading = ("student.recipe", "minimises", "needs", "published as")
    return f"{table(heading, rows)}\n\n### Equations\n\n" + "\n".join(equations)


def _value(value: str | bool) -> str:
    """As it stands in params.yaml."""
    return str(value).lower() if isinstance(value, bool) else value


def artifacts() -> str:
    """Every file and folder that stages leave for each other."""
    rows = [(f"`data/{each.path}`", each.holds, ", ".join(each.bound_to)) for each in ARTIFACTS]
    return table(("artifact", "holds", "bound to"), rows)


def commands() -> str:
    """Help texts of all commands, and of all stages."""
    parts = [f"## {name}\n\n{text}" for name, text in help_texts.commands()]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    parts.append(
        "## Stages\n\nA stage takes `--params` (params.yaml) and `--data` (data), runs without DVC, too, and is a file "
        "of its name in `stages/`."
    )
    parts += [f"### python -m stages.{name}\n\n{help_texts.stage(name)}" for name in stages]
    return "\n\n".join(parts)


SECTIONS: dict[str, Callable[[], str]] = {
    "reasons": reasons,
    "recipes": recipes,
    "artifacts": artifacts,
    "parameters": parameters.markdown,
    "commands": commands,
}
