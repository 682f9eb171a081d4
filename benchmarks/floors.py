"""What the stages of a finished run cannot do without, beside what they took.

    python -m benchmarks.full_size FOLDER --images 7500
    python -m benchmarks.floors FOLDER

takes, on the run's own data, models, batches, threads and workers, the processors' seconds of what a stage is made of,
and multiplies them by how often the run did it:

- curate: reading and decoding every image that was kept, on as many threads as there are workers;
- regions: the same, the bare detector on batches of decoded images, letterboxed by ultralytics, and the JPEGs of crops;
- features: decoding and resizing images and crops, and the bare towers of the base and every teacher, as often as the
  run's feature store has rows (tokens come with their captions);
- student: forward, backward and AdamW of the tower on float tensors that lie in memory, as often as it took a step.

Prints these seconds, the stage's own in FOLDER/figures.json, and the ratio. Processors' seconds hardly depend on what
else the machine does, if threads that wait do not spin: run both with OMP_WAIT_POLICY=PASSIVE.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.full_size import FIGURES
from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode, towers
from pipeline.clip.cached import CachedClip
from pipeline.clip.encode import Compute
from pipeline.detector import weights
from pipeline.detector.detect import detect
from pipeline.images import decoding
from pipeline.params import checked
from pipeline.recipes import RECIPES
from stages.program import computing

RATIO = 1.3
"""Target: most of a stage's seconds over its floor."""
IMAGES, BATCHES = 1024, 8
"""That are timed."""


class Floors:
    """The floors of one run.

    Args:
        folder: of `benchmarks.full_size`.
    """

    def __init__(self, folder):
        self.params = checked(yaml.safe_load((folder / "params.yaml").read_text()), "the run's parameters")
        self.ws, self.store, p = Workspace(folder / "data"), folder / "home" / "store", self.params.compute
        computing(p.device, p.threads)
        self.compute = Compute(p.device, p.dtype, p.batch, p.workers)
        self.manifest = self.ws.manifest()
        self.some = np.arange(min(IMAGES, len(self.manifest)))

    def files(self):
        """Bytes of some images."""
        return [self.manifest.image(row) for row in self.some]

    def files_and_crops(self):
        """Bytes of some images and of all their crops: as many of each as `features` sees."""
        table = self.ws.table(catalog.REGIONS, self.manifest).columns
        crops = [crop for crop in table["crop"].slice(0, 6 * len(self.some)).to_pylist() if crop]
        return self.files() + crops[: round(len(self.some) * (len(table) / len(self.manifest) - 1))]

    def _each(self, work, given):
        """Seconds of processors an item, on the run's number of threads."""
        with ThreadPoolExecutor(self.compute.workers) as pool:
            list(pool.map(work, given[: self.compute.workers]))
            return _timed(lambda: list(pool.map(work, given))) / len(given)

    def curate(self):
        """Reading and decoding."""
        self.manifest.image(0)
        return self._each(lambda row: decoding.decode(self.manifest.image(int(row))), self.some) * len(self.manifest)

    def regions(self):
        """Decoding, the detector, and JPEGs of crops."""
        p, sha256 = self.params.regions, self.ws.summary("models")["detector"]["sha256"]
        model = weights.load(self.ws.path(catalog.DETECTOR), sha256)
        files = self.files()
        images = [decoding.decode(file) for file in files[: BATCHES * p.batch]]
        how = {"confidence": p.confidence, "iou": p.iou, "image_size": p.image_size, "batch": p.batch}
        parts = [images[i : i + p.batch] for i in range(0, len(images) - p.batch + 1, p.batch)]
        forward = self._turns(
            [lambda part=part: detect(model, part, device=self.compute.device, **how) for part in parts]
        )
        side = images[0].resize((p.crop_side, p.crop_side))
        encoding = self._each(lambda _: decoding.encode_jpeg(side, p.crop_quality), range(512))
        crops = len(self.ws.table(catalog.REGIONS, self.manifest))
        beside = self._each(decoding.decode, files) * len(self.manifest) + encoding * crops
        return forward * len(self.manifest) / p.batch + beside

    def features(self):
        """Decoding and towers, of the base and every teacher."""
        found = 0.0
        for name in (None, *self.ws.summary("teachers")):
            clip = towers.load(
                self.ws.path(catalog.BASE_CLIP if name is None else catalog.clip_of(name)), self.compute.device
            )
            cached, batch = CachedClip(clip, self.compute, self.store), self.compute.batch
            pictures, texts = len(cached.images) + len(cached.views), len(cached.texts)
            to_pixels, side = clip.pixels(), clip.image_size
            decode = self._each(lambda file, to=to_pixels: to(decoding.decode(file)), self.files_and_crops())
            pixels = torch.zeros(batch, 3, side, side, dtype=torch.uint8, device=self.compute.device)
            tokens = clip.tokenize(self.manifest.texts[:batch]).to(self.compute.device)
            image, text = (
                self._turns([lambda f=f, rows=rows, clip=clip: f(clip, rows, self.compute)] * BATCHES)
                for f, rows in ((encode.forward_images, pixels), (encode.forward_texts, tokens))
            )
            found += -(-pictures // batch) * image + decode * pictures + -(-texts // batch) * text
        return found

    def student(self):
        """Forward, backward and AdamW."""
        p, summary = self.params.student, self.ws.summary("student")
        clip = towers.load(self.ws.path(catalog.BASE_CLIP), self.compute.device)
        count = p.batch * (2 if RECIPES[p.recipe].regions else 1)
        shape = (count, 3, clip.image_size, clip.image_size)
        pixels = torch.randn(shape, device=self.compute.device).contiguous(memory_format=torch.channels_last)
        trained = list(clip.model.visual.parameters())
        for parameter in trained:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)

        def step():
            optimizer.zero_grad(set_to_none=True)
            clip.model.encode_image(pixels).sum().backward()
            optimizer.step()

        return self._turns([step] * BATCHES) * summary["steps_an_epoch"] * p.epochs

    def _turns(self, works):
        """Seconds of processors of one of some equal pieces of work, the first being done once for nothing."""
        works[0]()
        return _timed(lambda: [work() for work in works]) / len(works)


def _timed(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def main(arguments=None):
    """Print every floor and the ratio to it."""
    parser = argparse.ArgumentParser(description="What a finished run's stages cannot do without.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("stages", nargs="*", default=["curate", "regions", "features", "student"])
    options = parser.parse_args(arguments)
    known = json.loads((options.folder / FIGURES).read_text())["stages"]
    floors = Floors(options.folder)
    print(f"{'stage':10s}{'floor, s':>10s}{'seconds':>10s}{'ratio':>8s}")
    for name in options.stages:
        floor, took = getattr(floors, name)(), known[name]["processors"]
        met = "" if took / floor <= RATIO else f"  NOT met: at most {RATIO}"
        print(f"{name:10s}{floor:>10.1f}{took:>10.1f}{took / floor:>8.2f}{met}", flush=True)


if __name__ == "__main__":
    main()
