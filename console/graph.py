"""`dclip graph`: dvc.yaml, as it follows from what the stages declare."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError


def graph(
    write: Annotated[bool, typer.Option("--write", help="Write the file; without it only compare.")] = False,
    path: Annotated[Path, typer.Option(help="The file.")] = Path("dvc.yaml"),
) -> None:
    """Write dvc.yaml from what the stages declare, or say whether it is current."""
    from pipeline.disk import files
    from stages import graph as declared

    wanted = declared.text()
    if path.is_file() and path.read_text(encoding="utf-8") == wanted:
        print(f"{path} is what the stages declare")
    elif write:
        files.write_text(path, wanted)
        print(f"{path} written")
    else:
        raise InputError(f"{path} is not what the stages declare; run: dclip graph --write")
