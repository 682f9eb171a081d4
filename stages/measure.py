"""`dclip evaluate`: any model on any data, by the same measures as the pipeline's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from pipeline import files
from pipeline.errors import InputError


def evaluate(
    model: Annotated[
        str, typer.Option(help="student, base, an open_clip local directory, or NAME:PRETRAINED.")
    ] = "student",
    dataset: Annotated[
        Path | None,
        typer.Option("--on", help="Curated shards, or a folder with Karpathy's dataset_{coco,flickr30k}.json."),
    ] = None,
    zeroshot: Annotated[
        Path | None, typer.Option(help="Pictures by class: ImageFolder, WebDataset, or as zeroshot.path.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Another model, for differences and what is retained.")] = None,
    split: Annotated[str, typer.Option(help="val or test.")] = "test",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    batch: Annotated[int, typer.Option(min=1, help="Pictures or captions of a forward.")] = 64,
    samples: Annotated[int, typer.Option(min=1, help="Of the bootstrap.")] = 2000,
    out: Annotated[Path | None, typer.Option(help="Also write all figures to this JSON file.")] = None,
    data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
) -> None:
    """Measure retrieval, zero-shot accuracy, or both, of any CLIP model on any data.

    Without --on and --zeroshot it is retrieval on the test split in data/curate.
    """
    from pipeline.clip.encode import DTYPES, Compute
    from pipeline.evaluation import measurement
    from pipeline.schema import Split

    if split not in (Split.VAL, Split.TEST):
        raise InputError(f"--split is {split!r}; expected val or test")
    if dtype not in DTYPES:
        raise InputError(f"--dtype is {dtype!r}; expected {', '.join(DTYPES)}")
    compute = Compute(device, dtype, batch)
    if dataset is None and zeroshot is None:
        dataset = data / "curate"
    names = {"model": model} | ({"against": against} if against else {})
    models = {role: measurement.load(name, data, device) for role, name in names.items()}
    found: dict[str, Any] = {"models": names}
    if dataset is not None:
        found["retrieval"] = measurement.retrieval(models, dataset, Split(split), compute, samples=samples)
    if zeroshot is not None:
        found["zeroshot"] = measurement.classification(models, zeroshot, Split(split), compute)
    if out:
        files.write_json(out, found)
    _show(found)


def _show(found: dict[str, Any]) -> None:
    names = found["models"]
    shown = {role: escape(name) for role, name in names.items()}
    table = RichTable(title=" against ".join(shown.values()), title_justify="left")
    for heading in ("", *shown.values(), *(("difference", "95 % interval") if len(names) > 1 else ())):
        table.add_column(heading, justify="left" if not heading else "right")
    for part, figures in found.get("retrieval", {}).get("model", {}).items():
        for name, value in figures.items():
            row = [f"{part.replace('_', ' ')} {name.replace('_', ' ')}", _told(value)]
            if "against" in names:
                row.append(_told(found["retrieval"]["against"][part][name]))
                change = found["retrieval"]["difference"].get(part, {}).get(name)
                row += (
                    [f"{change['value']:+.3f}", f"{change['low']:+.3f} to {change['high']:+.3f}"]
                    if change
                    else ["", ""]
                )
            table.add_row(*row)
        table.add_section()
    for name, value in found.get("zeroshot", {}).get("model", {}).items():
        row = [f"zero-shot {name.replace('_', ' ')}", _told(value)]
        if "against" in names:
            row += [_told(found["zeroshot"]["against"].get(name, "")), "", ""]
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _told(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
