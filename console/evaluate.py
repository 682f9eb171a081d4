"""`dclip evaluate`: any model on any data, by the same measures as the pipeline's own."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from console.figures import SELDOM, formatted, interval
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.machine import devices
from stages.program import allow_downloads, arithmetic, check_writable


def evaluate(
    model: Annotated[
        str, typer.Option(help="student, base, an open_clip local directory, or NAME:PRETRAINED.")
    ] = "student",
    data: Annotated[
        Path | None, typer.Option(help="Curated shards, or a folder with Karpathy's dataset_{coco,flickr30k}.json.")
    ] = None,
    zeroshot: Annotated[
        Path | None, typer.Option(help="Images by class: ImageFolder, WebDataset, or as zeroshot.path.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Another model, for differences and what is retained.")] = None,
    split: Annotated[str, typer.Option(help="val or test.")] = "test",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    batch: Annotated[int, typer.Option(min=1, help="Images or captions of a forward.")] = 64,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = 2,
    samples: Annotated[int, typer.Option(min=1, help="Of the bootstrap.")] = 2000,
    out: Annotated[Path | None, typer.Option(help="Also write all figures to this JSON file.")] = None,
    stages: Annotated[Path, typer.Option(help="Folder of the stages, with student and base.")] = Path("data"),
) -> None:
    """Measure retrieval, zero-shot accuracy, or both, of any CLIP model on any data.

    With --zeroshot alone retrieval is left out. Without either it is retrieval on the pipeline's own test split, in
    data/curate.
    """
    names = {"model": model} | ({} if against is None else {"against": against})
    if any(map(_is_tag, names.values())):
        allow_downloads()
    devices.check(device)
    arithmetic(device)
    from pipeline.artifacts.schema import Split
    from pipeline.clip.encode import DTYPES, Compute
    from pipeline.evaluation import measurement

    if split not in (Split.VAL, Split.TEST):
        raise InputError(f"--split is {split!r}; expected val or test")
    if dtype not in DTYPES:
        raise InputError(f"--dtype is {dtype!r}; expected {', '.join(DTYPES)}")
    if out:
        check_writable("--out", out)
    compute = Compute(device, dtype, batch, workers)
    if data is None and zeroshot is None:
        data = Workspace(stages).folder("curate")
    models = {role: measurement.load(name, Workspace(stages), device) for role, name in names.items()}
    found: dict[str, Any] = {"models": names}
    if data is not None:
        found["retrieval"] = measurement.retrieval(models, data, Split(split), compute, samples=samples)
    if zeroshot is not None:
        found["zeroshot"] = measurement.classification(models, zeroshot, Split(split), compute, samples=samples)
    _show(found)
    if out:
        files.write_json(out, found)


def _is_tag(name: str) -> bool:
    """Whether a model is NAME:PRETRAINED with weights that open_clip may have to download."""
    _, colon, pretrained = name.partition(":")
    return bool(colon) and not files.is_dir(Path(name)) and not files.is_file(Path(pretrained))


def _show(found: dict[str, Any]) -> None:
    names = found["models"]
    both = "against" in names
    measured = found.get("retrieval", {})
    title = f"{measured['pictures']:,} images, {measured['captions']:,} captions" if measured else None
    table = RichTable(title=title, title_justify="left")
    for heading in ("", *map(escape, names.values()), *(("difference", "95 % interval") if both else ())):
        table.add_column(heading, justify="left" if not heading else "right", overflow="fold")

    def add(title: str, figures: dict[str, Any], other_figures: dict[str, Any], changes: dict[str, Any]) -> None:
        for name, value in figures.items():
            row = [f"{title} {name}".replace("_", " ").strip(), formatted(name, value)]
            if both:
                in_both, change = name in other_figures, changes.get(name)
                row += [formatted(name, other_figures[name]) if in_both else ""]
                row += [f"{change['value']:+.3f}" if change and in_both else ""]
                row += [interval(change, sign="+" if in_both else "") if change else ""]
                if name == "retained" and not change:
                    row[-1] = SELDOM
            table.add_row(*row)
        table.add_section()

    model, other, changes = (measured.get(part, {}) for part in ("model", "against", "difference"))
    for part, figures in model.items():
        if isinstance(figures, dict):
            add(part, figures, other.get(part, {}), changes.get(part, {}))
    if model:
        add("", {"rsum": model["rsum"]}, other, changes)
    if zeroshot := found.get("zeroshot"):
        add("zero-shot", zeroshot["model"], zeroshot.get("against", {}), zeroshot.get("difference", {}))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for what, part in (("captions", measured), ("prompts", zeroshot or {})):
        for role, count in part.get(f"{what}_cut", {}).items():
            if count:
                print(f"{names[role]}: {count:,} {what} have more tokens than it reads; their ends were cut off")
