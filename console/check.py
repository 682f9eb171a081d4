"""`dclip check`: a dry run on a few images of every source, and what the whole would take."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from pipeline.artifacts.workspace import Workspace
from pipeline.errors import InputError
from stages.program import threads

if TYPE_CHECKING:
    from pipeline.trial.rates import Rate
    from pipeline.trial.sources import Tried
    from pipeline.trial.whole import Line

_LONGEST = 110
"""Letters of an example."""


def check(
    rows: Annotated[int, typer.Option(min=1, help="Images of every source that are looked at.")] = 100,
    most: Annotated[int, typer.Option(min=1, help="Rows of every source that are read, at most.")] = 2_000_000,
    models: Annotated[bool, typer.Option(help="Measure the detector and the CLIPs, too.")] = True,
    params: Annotated[Path, typer.Option(help="Parameters of all stages.")] = Path("params.yaml"),
    data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
) -> None:
    """Try every source on a few images before the whole runs, and estimate what the whole takes.

    Reads the rows of every source, and looks at the images that curate would draw first, says why some would not be
    kept, and measures how fast this machine decodes, detects, embeds and trains. Time, disk and GPU memory of the whole
    are those rates times the numbers of images that quotas ask for. Copies are not looked for; nothing is fetched, and
    nothing is written.
    """
    from pipeline.curation.captions import CaptionLimits
    from pipeline.params import load
    from pipeline.trial import measures, sources, whole
    from stages.curate import rules_of

    p = load(params)
    threads(p)
    rules, limits = rules_of(p), CaptionLimits(**p.curate.captions.model_dump())
    tried, broken = [], {}
    for name, given in p.sources.given().items():
        try:
            tried.append(sources.try_source(name, given, rules, limits, images=rows, most_rows=most))
        except InputError as error:
            broken[name] = str(error)
    rates = measures.of(tried, p, Workspace(data)) if models else measures.nothing()
    console = Console(width=None if sys.stdout.isatty() else 140)
    for one in tried:
        _show(console, one)
    _show_rates(console, measures.lines(tried, rates))
    for name, why in rates.lacking.items():
        console.print(f"not measured: {name}: {escape(why)}", highlight=False)
    _show_whole(console, whole.estimates(tried, rates, p), _free(data))
    console.print(f"not in these figures: {whole.NOT_ESTIMATED}", highlight=False)
    if faults := [f"{name}: {why}" for name, why in broken.items()] + [fault for t in tried if (fault := _fault(t))]:
        raise InputError("\n".join(faults))
    print("every source can be read; run: dvc repro")


def _fault(one: Tried) -> str:
    """Why a source would yield nothing; empty if it would."""
    if one.usable:
        return ""
    commonest = ", ".join(f"{count} {reason}" for reason, count in one.faults.most_common(3))
    return f"{one.source}: none of {one.inspected} images can be used ({commonest or 'its rows declare none'})"


def _show(console: Console, one: Tried) -> None:
    read = f"{one.rows:,} rows" if one.complete else f"the first {one.rows:,} rows"
    console.print(
        f"[bold]{one.source}[/bold]: {read} read in {one.reading:.1f} s: {one.images:,} images, {one.captions:,} "
        f"captions; {one.test:,} images are the test split, {one.evaluation:,} other evaluation images never train, "
        f"{one.pool:,} are left for a quota of {one.quota:,}",
        highlight=False,
    )
    if not one.complete:
        console.print("  captions and images that belong together may stand further on: --most reads more")
    table = RichTable()
    for heading in ("of", "reason", "number", "for example"):
        table.add_column(heading, justify="right" if heading == "number" else "left", overflow="fold")
    counts = [(f"{one.inspected} images looked at", one.faults)]
    counts += [(f"{kind}s among all rows", reasons) for kind, reasons in one.lost.items()]
    for of, reasons in counts:
        for reason, count in reasons.most_common():
            table.add_row(of, reason, f"{count:,}", escape(one.examples.get(reason, "")[:_LONGEST]))
    if table.row_count:
        console.print(table)
    console.print(f"  {len(one.usable)} of {one.inspected} images looked at can be used", highlight=False)


def _show_rates(console: Console, lines: Iterable[tuple[str, Rate]]) -> None:
    table = RichTable(title="measured here", title_justify="left")
    for heading in ("", "of one", "measured on"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, rate in lines:
        table.add_row(what, f"{rate.seconds * 1e3:,.2f} ms", f"{rate.measured:,}")
    if table.row_count:
        console.print(table)


def _free(data: Path) -> int:
    """Bytes that are free where `data` is, or will be."""
    here = next(folder for folder in (data.resolve(), *data.resolve().parents) if folder.is_dir())
    return shutil.disk_usage(here).free


def _show_whole(console: Console, lines: Sequence[Line], free: int) -> None:
    table = RichTable(title="the whole, extrapolated from what was measured here", title_justify="left")
    for heading in ("", "of", "estimate", "from"):
        table.add_column(heading, justify="right" if heading == "estimate" else "left", overflow="fold")
    for kind, group in groupby(lines, key=lambda line: line.kind):
        found = list(group)
        for line in found:
            table.add_row(kind, line.what, _formatted(kind, line.value), line.how)
        if len(found) > 1 and kind != "memory":
            of_all = sum(line.value for line in found)
            left = f"of {_formatted('disk', free)} free" if kind == "disk" else ""
            short = "[red]more than is free[/red], " if kind == "disk" and of_all > free else ""
            table.add_row(kind, "in all", _formatted(kind, of_all), short + left)
        table.add_section()
    console.print(table)


def _formatted(kind: str, value: float) -> str:
    if kind != "time":
        return f"{value / 1e9:,.1f} GB" if value >= 1e8 else f"{value / 1e6:,.1f} MB"
    return f"{value / 3600:,.1f} h" if value >= 3600 else f"{value / 60:,.1f} min" if value >= 60 else f"{value:.1f} s"
