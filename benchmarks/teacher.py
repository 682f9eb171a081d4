"""How close a training epoch of the teacher comes to the arithmetic that it cannot do without.

    python -m benchmarks.teacher [--images N] [--threads N] [--caption-dropout SHARE] [--folder FOLDER]

writes cached features of made-up images (random unit vectors; 1 to 9 regions an image, 1 to 32 spans a caption, every
number as likely), and trains the teacher on them, one epoch a turn, with `pipeline.teacher.train.train` as the stage
does: gathering batches, forward, loss, backward, Adam. Prints

- the epoch's seconds, and how much of that went into gathering batches;
- the floor: the operations of the epoch's matrix products, over rows that exist, at the rate of one large product;
- epoch over floor.

Epochs and large products take turns, since the machine may be shared: stated are the least and the median of the turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import MANIFEST, SpanKind, Split, embeddings
from pipeline.artifacts.tables import EmbeddingWriter, write_parquet
from pipeline.machine.progress import track
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.train import TeacherTraining, train

RATIO = 2.0
"""Target: most seconds of an epoch over its floor's."""
HEADS, REGIONS, SPANS, CAPTIONS = 8, 9, 32, 2
"""As published but for the captions of an image; regions and spans are what the parameters cap them at."""
SIDE, PRODUCTS = 2048, 8
"""Of the large product, and how many are timed in a turn."""


class _Watched(FeatureSet):
    """A feature set that notes how long its batches take and how many regions and spans their images have."""

    def forget(self):
        self.seconds, self.counts = 0.0, []

    def batch(self, rows, caption_index, with_text):
        start = time.perf_counter()
        found = super().batch(rows, caption_index, with_text)
        self.seconds += time.perf_counter() - start
        self.counts.append((found.region_mask.sum(1), found.span_mask.sum(1)))
        return found


def _operations(regions_B, spans_B, d):
    """Floating point operations of a step's matrix products, for images of m_i regions and n_i spans.

    Without spans an image's attention is over nothing, so it has no part in R = sum m_i, N = sum n_i, P = sum m_i n_i.
    A product of [a, b] with [b, c] takes 2abc. Every row is projected four times, for each layer either as a query
    (in, out) or as a key and a value; every pair of region and span is met twice, in a score and in a mean, by both
    layers; the loss compares B images with B captions.

        forward   4 * 2 d^2 (R + N)   + 2 * 2 * 2 d P + 2 d B^2
        backward  4 * 2 d^2 (R + N)       of the weights
                  1 * 2 d^2 (R + N)       of what the output projections read; cached features want no gradient
                  2 * 2 * 2 * 2 d P       of both factors of every score and mean
                  2 d B^2                 of z; the captions are frozen
    """
    regions_B = regions_B * (spans_B > 0)
    rows, pairs = int(regions_B.sum() + spans_B.sum()), int((regions_B * spans_B).sum())
    return 18 * d**2 * rows + 24 * d * pairs + 4 * d * len(regions_B) ** 2


def _rate():
    """Operations a second of a large float32 product, with the threads that training has; the best of a few."""
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    seconds = []
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds)


def _manifest(folder, images):
    """Images without images: the teacher reads only keys and captions."""
    blank = {field.name: "" if str(field.type) == "string" else 0 for field in MANIFEST}
    rows = [
        blank | {
            "key": f"mscoco-{i}", "split": str(split), "row": i,
            "captions": [f"{i} {c}" for c in range(CAPTIONS)], "caption_origins": [""] * CAPTIONS,
        }
        for split, numbers in ((Split.TRAIN, range(images)), (Split.VAL, range(images, images + 64)))
        for i in numbers
    ]  # fmt: skip
    write_parquet(folder / "manifest.parquet", rows, MANIFEST)
    return Manifest(folder)


def _unit(rng, count, dimension):
    drawn = rng.standard_normal((count, dimension), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _features(folder, manifest, d):
    """The tables that the features stage writes."""
    rng = np.random.default_rng(0)
    metadata = {"manifest": manifest.fingerprint, "weights": "random", "features": "random"}
    with (
        EmbeddingWriter(folder / "captions.arrow", embeddings("caption_index", dimension=d), metadata) as captions,
        EmbeddingWriter(folder / "regions.arrow", embeddings("region_index", dimension=d), metadata) as regions,
        EmbeddingWriter(
            folder / "spans" / "phrases.arrow", embeddings("caption_index", "span_index", dimension=d), metadata
        ) as spans,
    ):
        for key in track(manifest.keys, "features", unit="images"):
            m, counts = int(rng.integers(1, REGIONS, endpoint=True)), rng.integers(1, SPANS, CAPTIONS, endpoint=True)
            n = int(counts.sum())
            captions.write([key] * CAPTIONS, range(CAPTIONS), _unit(rng, CAPTIONS, d))
            regions.write([key] * m, range(m), _unit(rng, m, d))
            place = np.concatenate([np.arange(count) for count in counts])
            spans.write([key] * n, np.repeat(np.arange(CAPTIONS), counts), place, _unit(rng, n, d))


def _epoch(features, validation, options):
    """Seconds of one epoch, of gathering its batches, and its operations; from new weights."""
    teacher = MetaTeacher(features.dimension, heads=HEADS)
    settings = TeacherTraining(
        epochs=1, batch=options.batch, lr=1e-4, temperature=0.05, caption_dropout=options.caption_dropout, seed=0
    )
    features.forget()
    start = time.perf_counter()
    train(teacher, features, validation, settings)
    seconds = time.perf_counter() - start
    return seconds, features.seconds, sum(_operations(m, n, features.dimension) for m, n in features.counts)


def main():
    """Measure, and print the figures and whether the target is met."""
    parser = argparse.ArgumentParser(description="Time an epoch of the teacher beside its arithmetic.")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--caption-dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="for temporary files; the system's own if not given")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # as the stages do
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as own:
        folder = Path(own)
        manifest = _manifest(folder, options.images)
        _features(folder, manifest, options.dimension)
        features, validation = (
            _Watched(Manifest(folder, (split,)), folder, SpanKind.PHRASES) for split in (Split.TRAIN, Split.VAL)
        )
        validation.forget()
        _epoch(features, validation, options)  # pages touched, memory taken
        turns = []
        for _ in range(options.turns):
            rate = _rate()
            seconds, gathering, operations = _epoch(features, validation, options)
            rate = max(rate, _rate())  # before and after, for what else the machine does may change meanwhile
            turns.append((seconds, gathering, operations / rate, rate))

    epochs, gatherings, floors, rates = zip(*turns, strict=True)
    ratios = [seconds / floor for seconds, _, floor, _ in turns]
    shares = [gathering / seconds for seconds, gathering, _, _ in turns]
    print(
        f"{options.images} images, d = {options.dimension}, batches of {options.batch}, caption dropout "
        f"{options.caption_dropout:g}, {options.threads} threads, {options.turns} turns"
    )
    print(f"{'':34s}{'least':>10s}{'median':>10s}")
    for name, values in (
        ("epoch, s", epochs), ("  gathering batches, s", gatherings), ("  gathering / epoch", shares),
        (f"floor, s ({operations / 1e9:.0f} GFLOP)", floors), ("  large product, GFLOP/s", rates),
        ("epoch / floor of the same turn", ratios),
    ):  # fmt: skip
        print(f"{name:34s}{min(values):>10.4g}{median(values):>10.4g}")
    ratio = min(epochs) / min(floors)
    print(f"{'met    ' if ratio <= RATIO else 'NOT met'} least epoch / least floor at most {RATIO}: {ratio:.2f}")


if __name__ == "__main__":
    main()
