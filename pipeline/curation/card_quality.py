"""What a data card says of the quality of what is kept: distributions by source, and the images at their ends."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.curation import card_images
from pipeline.curation.ledger import Ledger

BINS = 40
ENDS = 6
"""Images that are shown at each end."""


@dataclass(frozen=True, slots=True)
class _Measure:
    """Something that images differ in.

    Attributes:
        value: SQL of it, of an image `i`.
        bin: SQL of the number of its bin.
        start, step: where the first bin begins, and how wide each is, in the units of the plot.
    """

    value: str
    bin: str
    start: float
    step: float


MEASURES = {
    "sharpness": _Measure("i.sharpness", "octaves(i.sharpness) * 2", 0, 0.5),
    "brightness": _Measure("i.brightness", "i.brightness / 8", 0, 8),
    "shape": _Measure(
        "max(i.width, i.height) * 1.0 / min(i.width, i.height)",
        "(max(i.width, i.height) * 1.0 / min(i.width, i.height) - 1) * 10",
        1,
        0.1,
    ),
}
"""By name; sharpness in octaves, log2(1 + variance)."""


def gather(ledger: Ledger, sources: list[str], max_pixels: int, out: Path) -> dict[str, Any]:
    """By measure: bins by source, where they begin, how wide they are, and the images at both ends.

    Small images go to `out`/examples.
    """
    ledger.db.create_function("octaves", 1, lambda variance: math.log2(1 + variance), deterministic=True)
    found: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        counts = {source: [0] * BINS for source in sources}
        query = (
            f"SELECT source, min(cast({measure.bin} AS INTEGER), ?), count(*) FROM images i "
            "WHERE split IS NOT NULL GROUP BY 1, 2"
        )
        for source, place, count in ledger.db.execute(query, (BINS - 1,)):
            counts[source][place] = count
        ends = {end: _end(ledger, name, measure.value, end, max_pixels, out) for end in ("lowest", "highest")}
        found[name] = {"counts": counts, "start": measure.start, "step": measure.step, "ends": ends}
    return found


def _end(ledger: Ledger, name: str, value: str, end: str, max_pixels: int, out: Path) -> list[dict[str, Any]]:
    order = "" if end == "lowest" else "DESC"
    rows = ledger.db.execute(
        f"SELECT i.key, {value}, i.path, i.offset, i.length FROM images i WHERE split IS NOT NULL "
        f"ORDER BY 2 {order}, 1 LIMIT ?",
        (ENDS,),
    ).fetchall()
    found = []
    for place, (key, measured, *file) in enumerate(rows):
        example = {"key": key, "value": round(measured, 3)}
        path = f"examples/{name}-{end}-{place}.jpg"
        if card_images.save((file[0], file[1], file[2]), max_pixels, out, path):
            example["picture"] = path
        found.append(example)
    return found
