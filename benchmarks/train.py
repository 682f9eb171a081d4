"""What a training step costs beside the model's own arithmetic, and beside the teacher computed online.

    python -m benchmarks.train --device cpu --threads 2

trains a CLIP with random weights (ViT-B/32) on random images whose frozen embeddings are cached, and prints

- step: pixels from the memory map, captions and targets from cached tables, the recipe, clipping, AdamW, over the bare
  step: forward of the image tower, its backward and AdamW on float tensors that lie in memory; the same for a recipe
  that looks at a region of every image, too, over the bare step of twice as many images; and that with two teachers'
  targets of images, captions, regions and phrases over the same without;
- online: the same step with what the published code computes again in each: CLIP on every crop and caption, and the
  teacher; CLIP forwards alone (6 regions an image, the whole image being one), and with JPEG decoding, detection
  (YOLO) and cropping on one thread, too; what is computed once for the cache is not in it;
- samples a second as the batch, the threads that decode and the model grow, from cached pixels and decoded ones;
- memory: what a first step takes at its peak, gradients and AdamW's state included, with and without gradient caching,
  each in a fresh process.

What is compared takes turns within one run; figures are medians of the turns.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.clip import towers
from pipeline.clip.encode import Compute
from pipeline.detector.detect import crop, detect
from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Pairs, Phrases, Regions, Teacher
from pipeline.distillation.step import Step
from pipeline.distillation.student import Student
from pipeline.images import decoding
from pipeline.recipes import RECIPES
from pipeline.teacher.model import MetaTeacher
from pipeline.training.distributed import Group

STEP, ONLINE = 1.05, 2.5
"""Targets: most time of a step over the bare step, least of the online step over it."""
REGIONS, SPANS, CAPTIONS, PHRASES = 6, 8, 5, 3
RECIPE, WITH_REGIONS, WITH_TEACHERS = "dclip_clean", "preserving_regions", "affinity_regions"
TEACHER_WIDTH, TEACHER_COUNT = 768, 2
"""Of ViT-L/14."""
STEPS = 6
"""Steps in a row by which samples a second are counted."""


def _unit(*shape, seed):
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float16)


class Pictures:
    """JPEGs of COCO's size that are decoded whenever they are read."""

    def __init__(self, clip, count):
        self.to_pixels, self.files = clip.pixels(), []
        for i in range(min(count, 64)):
            coarse = np.random.default_rng(i).integers(0, 256, (24, 32, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
            self.files.append(stream.getvalue())
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, rows):
        return np.stack([self.to_pixels(decoding.decode(self.files[i % len(self.files)])) for i in rows])


class Trainer:
    """The project's own step, fed by its own loader, on random data."""

    def __init__(
        self, name, batch, device, folder, *, recipe=RECIPE, decoded=False, threads=1, micro_batch=0, pictures=None,
        precision="float32", compiled=False,
    ):  # fmt: skip
        torch.manual_seed(0)
        clip = towers.create(towers.architecture(name))
        clip.model.to(device)
        count, d = pictures or 4 * batch, clip.dimension
        if decoded:
            pixels = Pictures(clip, count)
        else:
            path = folder / f"{Path(name).stem}-{count}.npy"
            if not path.is_file():
                shape = (count, 3, clip.image_size, clip.image_size)
                np.save(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
            pixels = np.load(path, mmap_mode="r")
        phrases, teachers = None, []
        if RECIPES[recipe].teachers:
            rows, ids = count * CAPTIONS, np.arange(count * CAPTIONS * PHRASES) % (count * CAPTIONS)
            start = PHRASES * np.arange(rows + 1)
            phrases = Phrases([f"thing {i}" for i in range(rows)], ids, start, _unit(rows, d, seed=5))
            counts = (count, rows, count, rows)
            for k in range(TEACHER_COUNT):
                known = [_unit(n, TEACHER_WIDTH, seed=6 + 4 * k + i) for i, n in enumerate(counts)]
                teachers.append(Teacher(50.0, known[0], known[1], None, known[2], known[3]))
        self.pairs = Pairs(
            phrases=phrases, teachers=teachers, pixels=pixels,
            captions=[[f"{i} {j}" for j in range(CAPTIONS)] for i in range(count)],
            caption_embeddings=_unit(count * CAPTIONS, d, seed=1), image_embeddings=_unit(count, d, seed=2),
            targets=_unit(count, d, seed=3),
            regions=Regions(pixels, _unit(2 * count, d, seed=4), 2 * np.arange(count + 1))
            if RECIPES[recipe].regions
            else None,
        )  # fmt: skip
        self.student = Student(clip, base_dimension=d, train_text=False, temperature="learnable").to(device)
        self.optimizer = torch.optim.AdamW(self.student.parameter_groups(0.02), lr=1e-6, fused=True)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.step = Step(
            self.student, RECIPES[recipe], {}, base_scale=100.0, group=Group(), micro_batch=micro_batch,
            compute=Compute(device, precision, batch), compiled=compiled,
        )  # fmt: skip
        self.load = Loader(
            self.pairs, None, batch=batch, captions=1, seed=0, per_image=True, group=Group(), device=device,
            threads=threads,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.batches = self._endless()

    def _endless(self):
        epoch = 0
        while True:
            epoch += 1
            yield from self.load(epoch, len(self.pairs.captions) // self.load.batch)

    def __call__(self):
        self.take(next(self.batches))

    def take(self, batch):
        """A step with a batch that is on the device already."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.step(batch, self.scaler)
        torch.stack(list(terms.values())).tolist()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()


class Bare:
    """Forward, backward and AdamW of the image tower on float tensors in memory, the loss being a plain sum."""

    def __init__(self, name, batch, device):
        torch.manual_seed(0)
        self.model = towers.create(towers.architecture(name)).model.to(device)
        side = self.model.visual.image_size
        side = side[0] if isinstance(side, tuple) else side
        self.pixels = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
        trained = list(self.model.visual.parameters())
        self.optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.model.encode_image(self.pixels).sum().backward()
        self.optimizer.step()


class Online:
    """What the published code computes in each step beside the student's own: CLIP on crops and captions, teacher."""

    def __init__(self, name, batch, device, detector):
        torch.manual_seed(0)
        self.clip = towers.create(towers.architecture(name))
        self.model, self.batch, self.device, self.detector = self.clip.model.to(device), batch, device, detector
        self.teacher = MetaTeacher(self.clip.dimension, heads=8).to(device)
        side = self.clip.image_size
        self.crops = torch.randint(0, 256, (batch * REGIONS, 3, side, side), dtype=torch.uint8, device=device)
        self.tokens = self.clip.tokenize([f"an image of thing {i} beside thing {i + 1}" for i in range(batch)]).to(
            device
        )
        self.images = Pictures(self.clip, batch)

    def forwards(self):
        """CLIP on every crop and caption, and the teacher."""
        with torch.inference_mode():
            regions = F.normalize(self.model.encode_image(self.clip.normalise(self.crops)), dim=-1)
            text = F.normalize(self.model.encode_text(self.tokens), dim=-1)
            spans = text[:, None].expand(-1, SPANS, -1)
            here = torch.ones(self.batch, REGIONS, dtype=torch.bool, device=self.device)
            read = torch.ones(self.batch, SPANS, dtype=torch.bool, device=self.device)
            self.teacher(regions.view(self.batch, REGIONS, -1), here, spans, read)

    def pixels(self):
        """JPEG decoding, detection, cropping and resizing."""
        to_pixels = self.clip.pixels()
        decoded = [decoding.decode(self.images.files[i % len(self.images.files)]) for i in range(self.batch)]
        detect(
            self.detector, decoded, confidence=0.25, iou=0.5, image_size=640, batch=self.batch,
            device=self.device,
        )  # fmt: skip
        for picture in decoded:
            for i in range(REGIONS - 1):  # random weights find nothing, so as many crops as there are to be
                to_pixels(crop(picture, (0.1 * i, 0.1, 0.1 * i + 0.3, 0.6), 0.1, 224))


def _timed(work, device):
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _turns(contestants, rounds, device):
    """Seconds of each contestant in every round, which they enter one after the other; all have run once before."""
    for work in contestants.values():
        _timed(work, device)
    found = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: 1 if number % 2 else -1]:  # neither always runs in the other's wake
            found[name].append(_timed(contestants[name], device))
    return found


def _ratio(found, above, below):
    """Median over the rounds of one contestant's time over another's in the same round."""
    return median(a / b for a, b in zip(found[above], found[below], strict=True))


def _high_water(reset=False):
    """The most megabytes that this process has held at once, since it was last reset; Linux only."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (r for r in Path("/proc/self/status").read_text().splitlines() if r.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def _peak(micro_batch, name, batch, device, folder):
    """Megabytes that one step takes beyond what was in use before it."""
    trainer = Trainer(name, batch, device, Path(folder), micro_batch=micro_batch, pictures=batch)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        trainer()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = _high_water(reset=True)
    trainer()
    return _high_water() - before


def _in_process(work, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main():
    """Measure, and print figures and targets."""
    parser = argparse.ArgumentParser(description="Time a training step beside its floors.")
    parser.add_argument("--model", default="ViT-B-32", help="open_clip architecture")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--detector", default="yolo11n.yaml", help="ultralytics architecture, random weights")
    parser.add_argument("--models", nargs="*", default=["ViT-S-32", "ViT-B-32"], help="for samples a second")
    parser.add_argument("--batches", type=int, nargs="*", default=[16, 64])
    parser.add_argument("--memory-batch", type=int, default=256)
    parser.add_argument("--micro_batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True, warn_only=options.device != "cpu")  # as the stages
    torch.utils.deterministic.fill_uninitialized_memory = False
    device, targets = options.device, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from ultralytics import YOLO

        online = Online(options.model, options.batch, device, YOLO(options.detector))
        pair = {
            "bare step": Bare(options.model, options.batch, device),
            "step": Trainer(options.model, options.batch, device, folder),
        }
        found = _turns(pair, options.rounds, device)
        step = _ratio(found, "step", "bare step")
        twice = {
            "bare step of twice the images": Bare(options.model, 2 * options.batch, device),
            "step with regions": Trainer(options.model, options.batch, device, folder, recipe=WITH_REGIONS),
            "step with regions and two teachers": Trainer(
                options.model, options.batch, device, folder, recipe=WITH_TEACHERS
            ),
        }
        found |= _turns(twice, max(3, options.rounds // 2), device)
        with_regions = _ratio(found, "step with regions", "bare step of twice the images")
        with_teachers = _ratio(found, "step with regions and two teachers", "step with regions")
        del twice
        parts = {
            "step": pair["step"],
            "online CLIP and teacher": online.forwards,
            "online decoding, detection, cropping": online.pixels,
        }
        found |= _turns(parts, max(3, options.rounds // 2), device)
        print(f"{options.model}, batches of {options.batch}, {options.threads} threads, {device}")
        for each, seconds in found.items():
            print(f"  {each:40s}{median(seconds):9.3f} s")
        forwards = 1 + _ratio(found, "online CLIP and teacher", "step")
        everything = forwards + _ratio(found, "online decoding, detection, cropping", "step")
        targets.append((step <= STEP, f"step / bare step at most {STEP}: {step:.3f}"))
        targets.append((with_teachers <= STEP, f"with two teachers / without, at most {STEP}: {with_teachers:.3f}"))
        targets.append((with_regions <= STEP, f"with regions / bare step of twice the images: {with_regions:.3f}"))
        targets.append(
            (forwards >= ONLINE, f"with CLIP and the teacher online, at least {ONLINE} times: {forwards:.2f}")
        )
        print(f"  with decoding, detection and cropping counted, too: {everything:.2f} times")
        del pair, parts, online

        print("samples a second")
        for model in options.models:
            for batch in options.batches:
                rates = []
                for decoded, threads in ((False, 1), (True, 1), (True, options.threads)):
                    trainer = Trainer(model, batch, device, folder, decoded=decoded, threads=threads)
                    trainer()
                    rates.append(STEPS * batch / _timed(lambda t=trainer: [t() for _ in range(STEPS)], device))
                cached, one, more = (f"{rate:7.1f}" for rate in rates)
                print(f"  {model:10s} of {batch:4d}: cached {cached}, decoded by 1 {one}, by {options.threads} {more}")
        peaks = [
            _in_process(_peak, micro_batch, options.model, options.memory_batch, device, name)
            for micro_batch in (0, options.micro_batch)
        ]
        print(
            f"peak memory of a step of {options.memory_batch}: {peaks[0]:.0f} MB; gradient caching {peaks[1]:.0f} MB, "
            f"{options.micro_batch} at a time ({peaks[1] / peaks[0]:.2f})"
        )
    for met, words in targets:
        print(f"{'met    ' if met else 'NOT met'} {words}")


if __name__ == "__main__":
    main()
