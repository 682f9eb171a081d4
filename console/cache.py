"""The feature store: what it holds, whether it is sound, sharing it, and making room."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from pipeline.errors import InputError
from stages.program import store

if TYPE_CHECKING:
    from pipeline.store import remote

app = typer.Typer(no_args_is_help=True, help=__doc__)

Only = Annotated[
    list[str] | None, typer.Option("--only", help="A collection as stats names it, such as texts; may be given again.")
]
Url = Annotated[str, typer.Argument(help="A folder, s3://bucket/path, ssh://host/path, or what else fsspec takes.")]


def _size(count: float) -> str:
    from tqdm import tqdm

    return f"{tqdm.format_sizeof(count, divisor=1000)}B"


@app.command()
def stats() -> None:
    """Show every collection: rows, bytes, what it was computed with, and when a stage last used it."""
    from pipeline.store import inventory

    held = inventory.collections(store())
    table = RichTable(title=escape(f"feature store {store()}"), title_justify="left")
    for heading in ("collection", "rows", "segments", "size", "last used", "computed with"):
        table.add_column(heading, justify="right" if heading in ("rows", "segments", "size") else "left")
    for h in held:
        used = datetime.fromtimestamp(h.used, UTC).strftime("%Y-%m-%d %H:%M")
        made = ", ".join(f"{k} {str(v)[:12]}" for k, v in h.made_with.items() if isinstance(v, str | int | float))
        segments = f"{len(h.segments)}" + (f" ({len(h.damaged)} damaged)" if h.damaged else "")
        name = h.folder.name[: len(h.name) + inventory.SHOWN]
        table.add_row(name, f"{h.rows:,}", segments, _size(h.bytes), used, escape(made))
    Console(width=None if Console().is_terminal else 160).print(table)
    print(f"{_size(sum(h.bytes for h in held))} in {len(held)} collections")


@app.command()
def verify(only: Only = None) -> None:
    """Read every byte of the store and name every damaged file; the next run computes its rows again."""
    from pipeline.store import inventory

    count = 0
    for held in inventory.collections(store(), only or []):
        for path, fault in inventory.faults(held):
            count += 1
            print(f"{path}: {fault}")
    if count:
        raise InputError(
            f"{count} files of {store()} are damaged. The next stage that opens them sets them aside and computes "
            "their rows again; or remove them and run: dclip cache pull URL"
        )
    print(f"{store()}: every segment has the bytes that its name stands for")


@app.command()
def push(url: Url, only: Only = None) -> None:
    """Send the segments that a remote lacks, e.g. dclip cache push s3://bucket/clip-store."""
    from pipeline.store import remote

    _report(remote.push(store(), url, only or []), "sent", url)


@app.command()
def pull(url: Url, only: Only = None) -> None:
    """Fetch the segments that are lacking here, e.g. dclip cache pull s3://bucket/clip-store --only texts."""
    from pipeline.store import remote

    _report(remote.pull(store(), url, only or []), "fetched", url)


def _report(moved: remote.Moved, what: str, url: str) -> None:
    print(f"{moved.files} files ({_size(moved.bytes)}) {what}, {moved.present} were there already")
    if moved.damaged:
        raise InputError(
            f"{len(moved.damaged)} damaged files were not {what} ({url}): {', '.join(moved.damaged)}. Remove them "
            "there; a member who has them whole sends them again: dclip cache push"
        )


@app.command()
def forget(
    collection: Annotated[str, typer.Argument(help="As stats names it, such as boxes-3f2a1b0c.")],
    rows: Annotated[
        list[str] | None, typer.Argument(help="Keys of rows, as dclip verify names them; none: all.")
    ] = None,
) -> None:
    """Take rows that were computed wrongly out of the store; the next run of their stage computes them again.

    Members who have the same rows, and remotes, keep them: they have to forget them, too.
    """
    from pipeline.store import inventory, keys

    if bad := [row for row in rows or [] if not re.fullmatch(r"[0-9a-f]{32}", row)]:
        raise InputError(f"{bad[0]!r} is no key of a row; expected 32 hex digits, as dclip verify names them")
    held = inventory.collections(store(), [collection])
    if not rows:
        inventory.remove(inventory.Garbage(h.folder, h.bytes, "to be forgotten") for h in held)
        print(f"{sum(h.rows for h in held):,} rows forgotten")
        return
    wanted = keys.pack(bytes.fromhex(row) for row in rows)
    print(f"{sum(inventory.forget(h, wanted) for h in held):,} rows forgotten")


@app.command()
def compact(only: Only = None) -> None:
    """Put many small segments together into few large ones; stages may read and write meanwhile.

    Every row stays where a stage finds it. The small segments are set aside; dclip cache gc --yes removes them.
    """
    from pipeline.store import compaction, inventory

    made = {held.folder.name: compaction.compact(held) for held in inventory.collections(store(), only or [])}
    for name, one in made.items():
        print(f"{name}: {one.before} segments, now {one.after}")
    size = sum(one.bytes for one in made.values())
    print(f"{_size(size)} set aside" + ("; to remove them: dclip cache gc --yes" if size else ""))


@app.command()
def gc(
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Collections no stage has used for so many days.")
    ] = None,
    max_size: Annotated[
        float | None, typer.Option(min=0, help="Least recently used ones until so many GB are left.")
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Collections that no table of --data was made from.")
    ] = False,
    data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it they are only listed.")] = False,
) -> None:
    """Make room: what killed writers left, what was set aside, and every collection that any option names.

    Where several checkouts share a store use --older-than: --unused knows the tables of --data only.
    """
    from pipeline.store import inventory

    collections, keep = inventory.collections(store()), _used(data) if unused else None
    seconds = None if older_than is None else older_than * inventory.DAY
    most = None if max_size is None else max_size * 1e9
    found = inventory.garbage(collections, now=time.time(), older_than=seconds, max_bytes=most, keep=keep)
    found += inventory.beside(store())
    for item in found:
        print(f"{os.path.relpath(item.path, store())}  {_size(item.bytes)}  {item.why}")
    total = _size(sum(item.bytes for item in found))
    if yes:
        inventory.remove(found)
        print(f"{total} removed")
    else:
        print(f"{total} could go" + ("; add --yes to remove them" if found else ""))


def _used(data: Path) -> set[str]:
    """The collections that the tables of a data folder name."""
    from pipeline.artifacts.catalog import CAPTION_EMBEDDINGS, REGION_EMBEDDINGS, REGIONS
    from pipeline.artifacts.tables import Table
    from pipeline.artifacts.workspace import Workspace

    needed = [Workspace(data).path(table) for table in (REGIONS, REGION_EMBEDDINGS, CAPTION_EMBEDDINGS)]
    if lacking := [str(path) for path in needed if not path.is_file()]:
        raise InputError(
            f"{', '.join(lacking)} is not here, so it cannot be told which collections are in use; "
            "run: dvc pull, or give --data"
        )
    tables = [Table(path) for path in sorted(data.rglob("*.arrow"))]
    return {name for table in tables if "collections" in table.metadata for name in table.json("collections")}
