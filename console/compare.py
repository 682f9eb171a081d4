"""`dclip compare`: recipes and seeds side by side on the same data, in one table and on one map."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from console.figures import interval
from pipeline.artifacts import figures
from pipeline.artifacts.catalog import INTERPOLATION
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.report.as_they_are import title
from stages.program import home, threads


def compare(
    recipes: Annotated[
        str | None,
        typer.Option(
            help="Names, comma separated; default: all that can run here. NAME:trainable trains the text tower, too; "
            "NAME:rewrites draws from captions and rewrites."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Numbers, comma separated.")] = "0,1,2",
    against: Annotated[str | None, typer.Option(help="The one to compare with; default: student.recipe.")] = None,
    params: Annotated[Path, typer.Option(help="Parameters of all stages.")] = Path("params.yaml"),
    data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
) -> None:
    """Train and measure recipes x seeds: a table with mean, spread and intervals, and the map of their trade-offs.

    A recipe is to be chosen by the first column, which is of validation data; all others are of test data. Below the
    recipes stands every frozen teacher as it is: a better base without training.

    Everything but student.recipe and the student's seed is as in the parameters; but recipes of concepts train the text
    tower in any case, a control whose teacher reads something else gets a teacher and targets of its own, and one that
    has the base as its teacher sees no views. Runs are kept in data/compare, and none is run twice. All run in this
    process, whatever compute.processes is.
    """
    from console.runs import planned, possible, train
    from pipeline.clip.encode import Compute
    from pipeline.evaluation import frozen_teachers
    from pipeline.evaluation import recipe_comparison as comparison
    from pipeline.params import load
    from pipeline.report import pareto

    p = load(params)
    threads(p)
    against = against or p.student.recipe
    ws, out = Workspace(data), data / "compare"
    names = possible(p, ws) if recipes is None else [name.strip() for name in recipes.split(",")]
    try:
        numbers = list(dict.fromkeys(int(seed) for seed in seeds.split(",")))
    except ValueError as error:
        raise InputError(f"--seeds is {seeds!r}; expected numbers, such as 0,1,2") from error
    plan = {name: [planned(p, name, seed) for seed in numbers] for name in dict.fromkeys([*names, against])}
    c = p.compute
    compute = Compute(c.device, c.dtype, c.batch, c.workers, c.compile)
    test = comparison.TestData(ws, home(), Path(p.zeroshot.path), compute)
    runs: dict[str, list[comparison.Measured]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    chosen: dict[str, list[dict[str, float]]] = {}
    for name, by_seed in plan.items():
        for run_params in by_seed:
            trained = train(run_params, p, ws, out)
            measured = test.measure(trained.student, train_text=run_params.student.text == "trainable")
            runs.setdefault(name, []).append(measured)
            curves.setdefault(name, _curve(trained))
            chosen.setdefault(name, []).append(trained.summary("student")["chosen"])
    drawn = {"samples": p.evaluate.bootstrap, "seed": p.seed}
    rows = comparison.compare(runs, test, against, **drawn)
    for row in rows:
        row["validation"] = comparison.means(chosen[row["recipe"]])
    teachers, validation = comparison.as_they_are(runs, test, against, **drawn), ws.manifest(Split.VAL)
    for row in teachers:
        row["validation"] = frozen_teachers.validation(ws, row["teacher"], validation)
    base = {direction: sum(hits) / len(hits) for direction, hits in test.base.hits.items()}
    found = {"against": against, "base": base, "top1": test.base.top1, "rows": rows, "teachers": teachers}
    files.write_json(out / "comparison.json", found)
    paths = {name: curve for name, curve in curves.items() if curve}
    files.write_text(out / "map.svg", pareto.plot(rows, teachers, base["text_to_image"], paths))
    Console(width=None if sys.stdout.isatty() else 150).print(results(rows, teachers, base, against))
    print("±: standard deviation over seeds; in brackets 95 % intervals over images and seeds; *: on the front")
    if teachers:
        print("teacher: one of teachers as it is, a base that needs no training")
    print(f"{out / 'comparison.json'}, {out / 'map.svg'}")


def _curve(trained: Workspace) -> list[tuple[float, float]]:
    """(share of zero-shot retained, text-to-image recall@1) at every point of interpolation, on validation data."""
    from pipeline.distillation.interpolation import retained

    recall = "val_text_to_image_recall@1"
    path, rows = trained.path(INTERPOLATION), trained.rows(INTERPOLATION, recall)
    points = [{name: figures.number(path, row, name) for name in row if row[name]} for row in rows]
    return [(retained(point, points[0]), point[recall]) for point in points]


def results(
    rows: list[dict[str, Any]], teachers: list[dict[str, Any]], base: dict[str, float], against: str
) -> RichTable:
    """The table of `pipeline.evaluation.recipe_comparison`: recipes, the best on validation data first; then teachers.

    Args:
        rows: of its `compare`.
        teachers: of its `as_they_are`.
    """
    from pipeline.distillation.best_epoch import retrieval
    from pipeline.evaluation.comparison import PARTS

    heading = f"recipes; on test data the base has {base['text_to_image']:.3f} / {base['image_to_text']:.3f}"
    table = RichTable(title=heading, title_justify="left")
    headings = ("recipe", "on val, both ways", "text to image R@1", "image to text R@1", f"{against} leads by")
    for name in (*headings, "zero-shot kept", "unseen"):
        table.add_column(name, no_wrap=name == "recipe")

    def add(name: str, row: dict[str, Any], shown: Callable[[dict[str, Any]], str]) -> None:
        figures = [row["text_to_image"], row["image_to_text"], *map(row["retained"].get, PARTS)]
        to_image, to_text, *kept = (shown(f) if f else "" for f in figures)
        lead = row["text_to_image"]["lead"]
        leads_by = f"{lead['value']:+.3f} ({interval(lead)})"
        table.add_row(name, f"{retrieval(row['validation']):.3f}", to_image, to_text, leads_by, *kept)

    for row in sorted(rows, key=lambda row: -retrieval(row["validation"])):
        name = row["recipe"] + (" *" if row["front"] else "")
        add(name, row, lambda figure: f"{figure['mean']:.3f} ± {figure['spread']:.3f}")
    table.add_section()
    for row in teachers:
        add(title(row["teacher"]), row, lambda figure: f"{figure['mean']:.3f}")
    return table
