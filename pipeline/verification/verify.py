"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

from pipeline import files
from pipeline.clip import towers
from pipeline.errors import InputError
from pipeline.store import inventory
from pipeline.verification import recorded, tables
from pipeline.verification.findings import Finding
from pipeline.verification.recompute import Recomputation
from pipeline.verification.tables import Artefacts
from pipeline.weights import weights_hash


def verify(
    data: Path, zeroshot: Path, store: Path, lock: Path, *, sample: int, seed: int, device: str
) -> Iterator[Finding]:
    """Check hashes, weights, tables, the feature store, and a sample of rows computed anew.

    Args:
        data: folder with a folder for every stage, up to targets.
        zeroshot: the zero-shot set's folder.
        store: the feature store's folder.
        lock: dvc.lock; without one no recorded hashes are compared.
        sample: rows of every table that are computed anew (for regions: pictures).
        seed: of the sample.
        device: where models run.

    Yields:
        a finding for everything that was checked, with its fault if it has one.
    """
    yield from recorded.check(lock, lock.parent, data)
    for held in inventory.collections(store):
        faults = [f"{path.name}: {fault}" for path, fault in inventory.faults(held)]
        what = f"{len(held.segments)} segments, {held.rows:,} rows: bytes, order, finite values"
        yield Finding(f"store {held.folder.name[: len(held.name) + 9]}", what, fault="; ".join(faults))
    try:
        clip = towers.load(data / "models/clip", device)
        teacher = load_file(data / "teacher/teacher.safetensors")
        stated = files.read_json(data / "models/metrics.json")
        detector = files.sha256(data / "models/detector.pt")
    except (InputError, OSError) as error:
        yield Finding("models", "weights", fault=f"cannot be read: {error}")
        return
    for name, found, expected in (
        ("models/clip", clip.weights, stated["clip"]["weights"]),
        ("models/detector.pt", detector, stated["detector"]["sha256"]),
    ):
        fault = "" if found == expected else f"its hash is {found}, models/metrics.json has {expected}"
        yield Finding(name, "its hash is the one in models/metrics.json", fault=fault)
    artefacts = Artefacts(data, clip.weights, detector, weights_hash(teacher))
    broken = False
    for finding in tables.check(artefacts):
        broken |= bool(finding.fault)
        yield finding
    if not broken:  # of a table whose rows are not where they should be nothing can be computed anew
        computed = Recomputation(
            artefacts, clip, teacher, sample=sample, seed=seed, device=device, zeroshot=zeroshot
        )  # fmt: skip
        yield from computed.check()
