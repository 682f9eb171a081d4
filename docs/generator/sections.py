"""The generated blocks by name: each asks the one place in the code that declares what it shows."""

from __future__ import annotations

import ast
from collections.abc import Callable

import yaml

from docs.generator import ROOT, help_texts, parameters
from docs.generator.tables import table


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
    "parameters": parameters.markdown,
    "commands": commands,
}
