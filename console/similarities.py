"""`dclip similarities`: how alike images and captions are, for the next pass of curate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.artifacts.catalog import BASE
from pipeline.artifacts.workspace import Workspace


def similarities(
    out: Annotated[
        Path | None, typer.Option(help="The table, or a folder for it; curate.similarity.path, if not given.")
    ] = None,
    params: Annotated[Path, typer.Option(help="Parameters of all stages.")] = Path("params.yaml"),
    data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
) -> None:
    """Write how alike every image and caption are under the base and every teacher, once features has run.

    The next run of curate reads it if curate.similarity asks for captions to be dropped.
    """
    from pipeline.features.similarities import write
    from pipeline.params import load

    p = load(params)
    ws = Workspace(data)
    path = write(ws, [BASE, *ws.summary("teachers")], out or Path(p.curate.similarity.path))
    print(f"wrote {path}; curate.similarity.drop or below, then dvc repro, leaves out what is unlike")
