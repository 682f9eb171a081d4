"""`dclip compare`: recipes and seeds side by side on the same data, in one table and on one map."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table as RichTable

from pipeline import files
from pipeline.errors import InputError
from pipeline.params import Params, Student, load
from pipeline.tables import Table
from stages.program import LIBRARY, home, perform, threads

_ALL = get_args(Student.model_fields["recipe"].annotation)
_READ = ("curate", "models", "regions", "features")
"""Stages whose results all runs share."""


def compare(
    recipes: Annotated[str | None, typer.Option(help="Names, comma separated; default: all that can run here.")] = None,
    seeds: Annotated[str, typer.Option(help="Numbers, comma separated.")] = "0,1,2",
    against: Annotated[str | None, typer.Option(help="The one to compare with; default: student.recipe.")] = None,
    params: Annotated[Path, typer.Option(help="Parameters of all stages.")] = Path("params.yaml"),
    data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
) -> None:
    """Train and measure recipes x seeds: a table with mean, spread and intervals, and the map of their trade-offs.

    Everything but student.recipe and the student's seed is as in the parameters; a control whose teacher reads
    something else gets a teacher and targets of its own. Runs are kept in data/compare, and none is run twice. All
    run in this process, whatever compute.processes is.
    """
    from pipeline import comparison
    from pipeline.clip.encode import Compute
    from pipeline.report import pareto
    from pipeline.training.recipes import RECIPES

    p = load(params)
    threads(p)
    against = against or p.student.recipe
    names = _possible(p) if recipes is None else [name.strip() for name in recipes.split(",")]
    if unknown := [name for name in [*names, against] if name not in RECIPES]:
        raise InputError(f"there is no recipe {', '.join(unknown)}; there are: {', '.join(RECIPES)}")
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds is {seeds!r}; expected numbers, such as 0,1,2") from error
    planned = {
        name: [_params(p, name, RECIPES[name].teacher, seed) for seed in numbers]
        for name in dict.fromkeys([*names, against])
    }
    out = data / "compare"
    compute = Compute(p.compute.device, "float32", p.features.batch)
    test = comparison.TestData(data, home(), Path(p.zeroshot.path), compute)
    runs: dict[str, list[comparison.Measured]] = {}
    ways: dict[str, list[tuple[float, float]]] = {}
    for name, of_seeds in planned.items():
        for own in of_seeds:
            folder = _train(own, p, data, out)
            measured = test.measure(folder, train_text=p.student.text == "trainable")
            runs.setdefault(name, []).append(measured)
            ways.setdefault(name, _way(folder / "interpolation.csv"))
    rows = comparison.compare(runs, test, against, samples=p.evaluate.bootstrap, seed=p.seed)
    base = {way: sum(hits) / len(hits) for way, hits in test.base.hits.items()}
    files.write_json(out / "comparison.json", {"against": against, "base": base, "top1": test.base.top1, "rows": rows})
    files.write_text(out / "map.svg", pareto.plot(rows, base["text_to_image"], {n: w for n, w in ways.items() if w}))
    _show(rows, base, against)
    print(f"{out / 'comparison.json'}, {out / 'map.svg'}")


def _possible(p: Params) -> list[str]:
    """All recipes but those that these parameters, or what is here, do not allow; they are named."""
    without = set()
    if not any(Path(p.models.path).glob("*.tar")):
        without.add("continue_base")  # it needs the base's own training pairs
    if p.student.init != "base" or p.student.text == "trainable":
        without |= {"procrustes", "labclip"}  # they map the base's cached features
    if without:
        print(f"left out, since these parameters do not allow them: {', '.join(sorted(without))}", file=sys.stderr)
    return [name for name in _ALL if name not in without]


def _params(p: Params, recipe: str, teacher: str | None, seed: int) -> Params:
    """The parameters of one run."""
    changed = p.model_dump() | {"seed": seed}
    changed["student"] |= {"recipe": recipe}
    changed["teacher"] |= {"inputs": teacher or p.teacher.inputs}
    try:
        return Params.model_validate(changed)
    except ValidationError as error:
        raise InputError(f"{recipe}: {error.errors()[0]['msg']}; take it out of --recipes") from error


def _train(own: Params, p: Params, data: Path, out: Path) -> Path:
    """Run the student stage (and teacher and targets for a teacher of its own) in a folder of its own."""
    upstream = data
    if own.teacher.inputs != p.teacher.inputs:
        upstream = _teach(own.model_copy(update={"seed": p.seed}), data, out / f"teacher-{own.teacher.inputs}")
    folder = out / f"{own.student.recipe}-{own.seed}"
    _link(folder, data, _READ)
    _link(folder, upstream, ("targets",))
    targets = Table(folder / "targets/targets.arrow")
    if targets.json("parameters") != own.teacher.model_dump():
        raise InputError(f"{targets.path} was made with other parameters of the teacher; run: dvc repro targets")
    identity = _identity(own, folder, ("teacher", "student", "zeroshot"), targets=targets.metadata["fingerprint"])
    if not _is(folder, identity):
        from stages.student import student

        print(f"{own.student.recipe}, seed {own.seed}", file=sys.stderr)
        shutil.rmtree(folder / "student", ignore_errors=True)
        perform(student, own, folder)
        files.write_text(folder / "finished", identity)
    return folder / "student"


def _teach(own: Params, data: Path, folder: Path) -> Path:
    """Train another teacher and write its targets."""
    from stages.targets import targets
    from stages.teacher import teacher

    _link(folder, data, _READ)
    identity = _identity(own, folder, ("teacher",))
    if not _is(folder, identity):
        perform(teacher, own, folder)
        perform(targets, own, folder)
        files.write_text(folder / "finished", identity)
    return folder


def _link(folder: Path, data: Path, stages: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        if not (data / stage).exists():
            raise InputError(f"{data / stage} does not exist; run: dvc repro student")
        (folder / stage).unlink(missing_ok=True)
        (folder / stage).symlink_to((data / stage).resolve())


def _identity(params: Params, folder: Path, sections: tuple[str, ...], **made_from: str) -> str:
    """Stands for all that a run depends on: parameters, tables, and the library's code."""
    tables = sorted((folder / "features").rglob("*.arrow"))
    return files.fingerprint(
        seed=params.seed, features={path.name: Table(path).metadata["fingerprint"] for path in tables}, **made_from,
        device=params.compute.device, batch=params.features.batch, parser=params.spans.parser,
        code=files.code(LIBRARY / "training", LIBRARY / "teacher", LIBRARY / "objectives.py"),
        **{section: getattr(params, section).model_dump() for section in sections},
    )  # fmt: skip


def _is(folder: Path, identity: str) -> bool:
    path = folder / "finished"
    return path.is_file() and path.read_text() == identity


def _way(path: Path) -> list[tuple[float, float]]:
    """(share of zero-shot retained, text-to-image recall@1) at every point of interpolation, on validation data."""
    from pipeline.training.interpolation import retained

    with path.open(newline="") as stream:
        points = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
    return [(retained(point, points[0]), point["val_text_to_image_recall@1"]) for point in points]


def _show(rows: list[dict[str, Any]], base: dict[str, float], against: str) -> None:
    title = f"recipes on test data; the base has {base['text_to_image']:.3f} / {base['image_to_text']:.3f}"
    table = RichTable(title=title, title_justify="left")
    for heading in (
        "recipe",
        "text to image R@1",
        "image to text R@1",
        f"{against} leads by",
        "zero-shot kept",
        "unseen",
    ):
        table.add_column(heading)
    for row in sorted(rows, key=lambda row: -row["text_to_image"]["mean"]):
        way, lead = row["text_to_image"], row["text_to_image"]["lead"]
        kept = [f"{share['mean']:.3f} ± {share['spread']:.3f}" for share in row["retained"].values()]
        table.add_row(
            row["recipe"] + (" *" if row["front"] else ""), f"{way['mean']:.3f} ± {way['spread']:.3f}",
            f"{row['image_to_text']['mean']:.3f} ± {row['image_to_text']['spread']:.3f}",
            f"{lead['value']:+.3f} ({lead['low']:+.3f} to {lead['high']:+.3f})", *kept,
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    print("±: standard deviation over seeds; in brackets 95 % intervals over pictures and seeds; *: on the front")
