"""All checks, one after the other."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.tables import ContractError, Table
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.search import index
from pipeline.store import inventory
from pipeline.store.inventory import Held
from pipeline.verification import kept, recorded, tables
from pipeline.verification.artefacts import Artefacts
from pipeline.verification.findings import Finding, checked
from pipeline.verification.recompute import Recomputation


def verify(
    ws: Workspace, zeroshot: Path, store: Path, lock: Path, *, sample: int, seed: int, device: str, threads: int = 1
) -> Iterator[Finding]:
    """Check hashes, weights, tables, the collections that they were made from, and a sample of rows computed anew.

    Checkpoints and decoded images are read, too: all that are there, whichever parameters they belong to.

    Args:
        store: the feature store's folder; checkpoints and decoded images are beside it.
        lock: dvc.lock; without one no recorded hashes are compared.
        sample: rows of every table that are computed anew (for regions: images).

    Yields:
        a finding for everything that was checked, with its fault if it has one.
    """
    yield from recorded.check(lock, lock.parent, ws.data)
    used = _collections(ws.data)
    for held in inventory.collections(store):
        if held.folder.name in used:
            what = f"{len(held.segments)} segments, {held.rows:,} rows: bytes, order, finite values"
            name = held.folder.name[: len(held.name) + inventory.SHOWN]
            yield checked(f"store {name}", what, [held.folder], partial(_sound, held))
    yield from kept.check(store.parent, threads)
    yield from kept.check_small(ws.data)
    yield from _models(ws)
    try:
        artefacts = Artefacts(ws, device)
    except (InputError, OSError, ValueError) as error:
        yield Finding(catalog.MANIFEST.path, "its columns", fault=str(error))
        return
    broken = False
    for finding in tables.check(artefacts):
        broken |= bool(finding.fault)
        yield finding
    if not broken:  # of a table whose rows are not where they should be nothing can be computed anew
        yield from Recomputation(artefacts, sample=sample, seed=seed, zeroshot=zeroshot).check()


def _collections(data: Path) -> set[str]:
    """The collections that the tables here name; of a damaged table another check tells."""
    found: set[str] = set()
    for path in data.rglob("*.arrow"):
        try:
            found |= set(Table(path).json("collections"))
        except InputError:
            continue
    return found


def _sound(held: Held) -> None:
    if faults := [f"{path.name}: {fault}" for path, fault in inventory.faults(held)]:
        raise ContractError("; ".join(faults))


def _models(ws: Workspace) -> Iterator[Finding]:
    """Base, detector and teachers are what their stages have written; student and index belong together."""
    hashes: dict[Artifact, tuple[str, str, Callable[[Path], str]]] = {
        catalog.BASE_CLIP: ("clip", "weights", lambda path: towers.load(path).weights),
        catalog.DETECTOR: ("detector", "sha256", files.sha256),
    }
    clips = ws.path(catalog.TEACHER_CLIPS)
    for folder in sorted(clips.iterdir()) if clips.is_dir() else ():
        hashes[catalog.clip_of(folder.name)] = (folder.name, "weights", lambda path: towers.load(path).weights)
    for model, (section, name, hash_of) in hashes.items():
        stated = catalog.summary(model.stage)
        run = partial(_compare_hash, ws, model, section, name, hash_of)
        yield checked(model.path, f"its hash is the one in {stated.path}", [ws.path(model), ws.path(stated)], run)

    def search() -> None:
        index.load(ws.path(catalog.INDEX), towers.load(ws.student).weights)

    needed = [ws.path(catalog.INDEX) / index.DESCRIPTION, ws.path(catalog.STUDENT_WEIGHTS)]
    yield checked("index", "it belongs to the student", needed, search)


def _compare_hash(ws: Workspace, model: Artifact, section: str, name: str, hash_of: Callable[[Path], str]) -> None:
    found, expected = hash_of(ws.path(model)), ws.summary(model.stage)[section][name]
    if found != expected:
        stated = ws.path(catalog.summary(model.stage))
        raise ContractError(f"its hash is {found}, {stated} has {expected}; run: dvc repro -sf {model.stage}")
