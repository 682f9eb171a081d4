"""`dclip fetch`: data and weights by name, only when asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from pipeline.errors import InputError
from stages.program import allow_downloads

if TYPE_CHECKING:
    from pipeline.fetch.items import Item, Remote


def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="What to fetch; see --list.")] = None,
    known: Annotated[bool, typer.Option("--list", help="List what there is, and fetch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    to: Annotated[Path, typer.Option(help="The data folder.")] = Path("data"),
    keep: Annotated[bool, typer.Option(help="Keep archives once they are unpacked.")] = False,
    lock: Annotated[Path, typer.Option(help="Where hashes are recorded that nobody has published.")] = Path(
        "fetch.lock.json"
    ),
) -> None:
    """Fetch corpora, benchmarks and weights by name into the data folder, each with its size, after a question.

    A killed or broken fetch goes on where it stopped. What came is compared with the published sha256, or else with
    that of the first fetch, which --lock records. What needs a form or an account says where to go.
    """
    from pipeline.fetch.items import ITEMS

    if known or not names:
        _show(to)
        return
    if unknown := [name for name in names if name not in ITEMS]:
        raise InputError(f"there is nothing called {unknown[0]}; there are: {', '.join(ITEMS)}")
    allow_downloads()
    from pipeline.fetch import fetching
    from pipeline.fetch.lock import Lock

    record = Lock(lock)
    for name in names:
        item = ITEMS[name]
        if (missing := fetching.lacking(item, to)) or item.hub:
            fetching.check_room(missing, to)
            _ask(f"fetch {name}: {_sources(item, missing)} into {to}", yes)
        for line in fetching.fetch(item, to, record, keep=keep):
            print(line)
        if item.by_hand:
            print(item.by_hand.format(data=to))
    if any(remote.name.startswith("yolo") for name in names for remote in ITEMS[name].remotes):
        print("write the path of the weights and their sha256 into models.detector of params.yaml")


def _sources(item: Item, missing: list[Remote]) -> str:
    """How much comes from where; servers are asked for sizes that nobody has published."""
    from pipeline.fetch.download import length

    sizes = [length(remote.url) if remote.size is None else remote.size for remote in missing]
    size = "of unknown size" if item.hub or None in sizes else amount(sum(each or 0 for each in sizes))
    hosts = sorted({remote.url.split("/")[2] for remote in missing} | ({"huggingface.co"} if item.hub else set()))
    return f"{size} from {', '.join(hosts)}"


def amount(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _ask(what: str, yes: bool) -> None:
    if yes:
        print(what)
    elif not sys.stdin.isatty():
        raise InputError(f"{what}? Say so with --yes")
    elif not typer.confirm(f"{what}?", default=False):
        raise InputError("nothing was fetched")


def _show(to: Path) -> None:
    from pipeline.fetch.fetching import lacking
    from pipeline.fetch.items import ITEMS

    table = RichTable()
    for heading in ("name", "size", "", "what it is"):
        table.add_column(heading, justify="right" if heading == "size" else "left", overflow="fold")
    for name, item in ITEMS.items():
        size = "" if not (item.remotes or item.hub) else "unknown" if item.size is None else amount(item.size)
        state = "there" if item.remotes and not lacking(item, to) else "by hand" if item.by_hand else ""
        table.add_row(name, size, state, item.about)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
