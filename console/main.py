"""The console program `dclip`: show the results, search the index, check and share the results, choose a profile."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from console import cache
from console.check import check
from console.compare import compare
from console.evaluate import evaluate
from console.fetch import fetch
from console.figures import SELDOM, as_they_are, formatted, in_order, interval
from console.graph import graph
from console.init import init
from console.search import search, serve
from console.similarities import similarities
from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.report.as_they_are import rows
from stages.program import explained, store, threads

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

app.add_typer(cache.app, name="cache")
app.command()(check)
app.command()(compare)
app.command()(evaluate)
app.command()(fetch)
app.command()(graph)
app.command()(init)
app.command()(search)
app.command()(serve)
app.command()(similarities)

DataOption = Annotated[Path, typer.Option(help="Folder with a folder for every stage.")]


@app.command()
def show(data: DataOption = Path("data")) -> None:
    """Print the results: base, student, and the difference with its 95 % interval; then every teacher as it is."""
    ws = Workspace(data)
    path = ws.path(catalog.summary("evaluate"))
    if not path.is_file():
        raise InputError(f"no results at {path}; run: dvc repro")
    metrics = ws.summary("evaluate")
    if not ws.has(trained := catalog.summary("student")):
        raise InputError(f"no {ws.path(trained)}; run: dvc repro, or dvc checkout")
    recipe = ws.summary("student")["recipe"]
    try:
        table, teachers = _results(metrics, recipe), as_they_are(rows(metrics))
    except KeyError as error:
        raise InputError(f"{path} has no {error}; it is of another version: run: dvc repro evaluate") from error
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    if teachers.row_count:
        console.print(teachers)
    console.print(f"report: {ws.path(catalog.REPORT) / 'index.html'}", highlight=False)


def _results(metrics: dict[str, Any], recipe: str) -> RichTable:
    table = RichTable(title=f"student ({recipe}) against base, test data", title_justify="left")
    for heading in ("", "base", "student", "difference", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    base, student, changes = (metrics[part] for part in ("base", "student", "difference"))
    for direction in ("text_to_image", "image_to_text"):
        for name, change in in_order(changes[direction]):
            values = (formatted(name, model[direction][name]) for model in (base, student))
            table.add_row(f"{direction} {name}".replace("_", " "), *values, f"{change['value']:+.3f}", interval(change))
        for name in ("median_rank", "mean_rank"):
            ranks = base[direction][name], student[direction][name]
            shown = (formatted(name, rank) for rank in ranks)
            table.add_row(f"{direction} {name}".replace("_", " "), *shown, f"{ranks[1] - ranks[0]:+.1f}", "")
        table.add_section()
    rsum = changes["rsum"]
    sums = (formatted("", model["rsum"]) for model in (base, student))
    table.add_row("rsum", *sums, f"{rsum['value']:+.3f}", interval(rsum))
    table.add_section()
    for part, title in (("zeroshot", "zero-shot"), ("zeroshot_unseen", "zero-shot, unseen classes")):
        if part in student:
            change, shown = changes[part], (formatted("", model[part]["top1"]) for model in (base, student))
            top1 = change["top1"]
            table.add_row(f"{title} top-1", *shown, f"{top1['value']:+.3f}", interval(top1))
            if "retained" in student[part]:
                share = interval(change["retained"], sign="") if "retained" in change else SELDOM
                table.add_row(f"{title} retained", "", formatted("", student[part]["retained"]), "", share)
    return table


@app.command()
def verify(
    sample: Annotated[int, typer.Option(min=1, help="Rows of every table that are computed anew.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    params: Annotated[Path, typer.Option(help="Parameters of all stages.")] = Path("params.yaml"),
    data: DataOption = Path("data"),
) -> None:
    """Check every artefact again: hashes, origin, alignment, norms, and a sample of rows computed from the source."""
    from pipeline.params import load
    from pipeline.verification.verify import verify as check

    p = load(params)
    threads(p)
    places = Workspace(data), Path(p.zeroshot.path), store(), params.parent / "dvc.lock"
    found = check(*places, sample=sample, seed=seed, device=p.compute.device, threads=p.compute.workers)
    table = RichTable()
    for heading in ("artefact", "checked", "rows anew", "largest deviation", "verdict"):
        table.add_column(heading, overflow="fold")
    faults = absent = 0
    for finding in found:
        faults, absent = faults + bool(finding.fault), absent + finding.absent
        deviation = "" if finding.deviation is None else f"{finding.deviation:.2g}"
        verdict = escape(finding.fault) or ("not here" if finding.absent else "right")
        table.add_row(finding.artefact, finding.checked, str(finding.recomputed or ""), deviation, verdict)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if faults:
        raise InputError(f"{faults} of {table.row_count} checks found a fault; the table says which and what to do")
    print(f"all {table.row_count - absent} checks passed" + (f", {absent} things are not here" if absent else ""))


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="A file of profiles/ without .yaml.")],
    folder: Annotated[Path, typer.Option(help="Where profiles are.")] = Path("profiles"),
    params: Annotated[Path, typer.Option(help="The file that is changed.")] = Path("params.yaml"),
) -> None:
    """Lay a profile over params.yaml: its values take the place of those there; git checkout params.yaml goes back."""
    from pipeline.params import overlay

    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise InputError(f"no profile {path}; there are: {known} (git checkout params.yaml: as it was shipped)")
    text, changes = overlay.overlaid(params, path)
    files.write_text(params, text)
    print("\n".join([*changes, f"{params}: {len(changes)} parameters changed; run: dvc repro"]))


LOWER = {
    "compare": "student.micro_batch (from 0, all of student.batch, to 64 or less), student.batch or compute.batch",
    "evaluate": "--batch, --workers or --samples",
    "verify": "--sample",
}
"""What takes less memory if it is lower, by command."""


def main() -> None:
    """Entry point: errors that a user can act on are one clear paragraph, not a traceback."""
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    try:
        with explained(LOWER.get(command, "what else runs on this machine")):
            app()
    except InputError as error:
        print(f"dclip: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
