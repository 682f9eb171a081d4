"""The count that must balance: every row read ends as kept or as rejected with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.schema import Reason
from pipeline.sources import Rejected, Sample


class Ledger:
    """Collects the rejected rows and counts what was read, so that `balance` can prove that nothing is lost."""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []
        self.read: Counter[tuple[str, str]] = Counter()
        """Rows read, by (kind, source)."""

    def saw(self, row: Sample | Rejected) -> None:
        """Count a row as a reader yields it."""
        if isinstance(row, Rejected):
            self.read[row.kind, row.source] += 1
            self.rejected.append(row)
        else:
            self.read["image", row.source] += 1
            self.read["caption", row.source] += len(row.captions)

    def reject(self, sample: Sample, reason: Reason, detail: str = "") -> None:
        """Reject an image, and with it every caption it still has."""
        place = sample.path.name if sample.path else sample.url or sample.source_id
        self.rejected.append(Rejected("image", sample.key, sample.source, place, reason, detail))
        for caption in sample.captions:
            self.rejected.append(Rejected("caption", sample.key, sample.source, caption.place, reason, detail))

    def balance(self, kept: Iterable[Sample]) -> dict[str, dict[str, dict[str, int]]]:
        """Counts by kind and source: read, kept, and one for each reason.

        Raises:
            AssertionError: kept + rejected differs from read; a defect of this package, never of the input.
        """
        counts: dict[str, dict[str, dict[str, int]]] = {"image": {}, "caption": {}}
        for (kind, source), read in sorted(self.read.items()):
            counts[kind][source] = {"read": read, "kept": 0}
        for sample in kept:
            counts["image"][sample.source]["kept"] += 1
            counts["caption"].setdefault(sample.source, {"read": 0, "kept": 0})["kept"] += len(sample.captions)
        for row in self.rejected:
            reasons = counts[row.kind][row.source]
            reasons[row.reason] = reasons.get(row.reason, 0) + 1
        for kind, sources in counts.items():
            for source, numbers in sources.items():
                accounted = sum(numbers.values()) - numbers["read"]
                if accounted != numbers["read"]:
                    raise AssertionError(f"{kind}s of {source}: read {numbers['read']}, accounted for {accounted}")
        return counts
