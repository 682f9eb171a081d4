"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.artifacts.tables import ContractError, Table
from pipeline.clip import towers
from pipeline.disk import files, sums
from pipeline.errors import InputError
from pipeline.search import index
from pipeline.store import inventory
from pipeline.store.inventory import Held
from pipeline.verification import kept, recorded, tables
from pipeline.verification.findings import Finding, checked
from pipeline.verification.recompute import Recomputation
from pipeline.verification.tables import Artefacts


def verify(
    data: Path, zeroshot: Path, store: Path, lock: Path, *, sample: int, seed: int, device: str, threads: int = 1
) -> Iterator[Finding]:
    """Check hashes, weights, tables, the collections that they were made from, and a sample of rows computed anew.

    Checkpoints and decoded pictures are read, too: all that are there, whichever parameters they belong to.

    Args:
        data: folder with a folder for every stage.
        zeroshot: the zero-shot set's folder.
        store: the feature store's folder; checkpoints and decoded pictures are beside it.
        lock: dvc.lock; without one no recorded hashes are compared.
        sample: rows of every table that are computed anew (for regions: pictures).
        seed: of the sample.
        device: where models run.
        threads: that hash checkpoints and decoded pictures.

    Yields:
        a finding for everything that was checked, with its fault if it has one.
    """
    yield from recorded.check(lock, lock.parent, data)
    used = _collections(data)
    for held in inventory.collections(store):
        if held.folder.name in used:
            what = f"{len(held.segments)} segments, {held.rows:,} rows: bytes, order, finite values"
            name = held.folder.name[: len(held.name) + inventory.SHOWN]
            yield checked(f"store {name}", what, [held.folder], partial(_sound, held))
    yield from kept.check(store.parent, threads)
    yield from kept.check_small(data)
    yield from _models(data)
    try:
        artefacts = Artefacts(data, device)
    except (InputError, OSError, ValueError) as error:
        yield Finding("curate/manifest.parquet", "its columns", fault=str(error))
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


def _models(data: Path) -> Iterator[Finding]:
    """The base and the detector are what the models stage has written; student and index belong together."""
    stated = data / "models/metrics.json"
    for name, key, hash_of in (
        ("models/clip", ("clip", "weights"), lambda: towers.load(data / "models/clip").weights),
        ("models/detector.pt", ("detector", "sha256"), lambda: files.sha256(data / "models/detector.pt")),
    ):

        def compare(key: tuple[str, str] = key, hash_of: object = hash_of) -> None:
            found, expected = hash_of(), sums.read_json(stated.parent, stated.name)[key[0]][key[1]]  # type: ignore[operator]
            if found != expected:
                raise ContractError(f"its hash is {found}, {stated} has {expected}; run: dvc repro -sf models")

        yield checked(name, "its hash is the one in models/metrics.json", [data / name, stated], compare)

    def search() -> None:
        index.load(data / "index/faiss", towers.load(data / "student").weights)

    student = data / "student/open_clip_model.safetensors"
    yield checked("index", "it belongs to the student", [data / "index/faiss/index.json", student], search)
