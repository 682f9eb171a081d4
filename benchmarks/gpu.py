"""How much of a training step, and of embedding, is anything else than the towers' own forward and backward.

    python -m benchmarks.gpu --device cuda --precision bfloat16 --compile --threads 16

trains and embeds with a CLIP of random weights on random images, in three ways a step, each many times in a row:

- towers: forward and backward (or forward) on tensors that lie on the device; nothing is waited for in between;
- with what a step adds: the recipe's terms, clipping, AdamW, and reading the loss (or, embedding, reading the result);
- with batches as they come: gathered by threads, pinned and copied while the device computes, from pixels in a memory
  map, and from JPEGs of COCO's size that `--threads` decode; texts are tokenized.

and prints of each seconds, rows a second, and the share of the time that is not the towers'. Ways take turns, figures
are medians. On a GPU that is kept busy the share is small; where JPEGs are decoded, rows a second are the decoders'.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.train import WITH_REGIONS, Pictures, Trainer
from pipeline.clip import encode, texts, towers
from pipeline.clip.encode import Compute
from pipeline.images import decoding
from pipeline.machine.ahead import ahead
from pipeline.machine.batches import batches

SHARE = 0.1
"""Target: most of the time that is not the towers', from pixels in a memory map."""


def seconds_each(work, steps, device):
    """Seconds of each of some steps in a row, of which the first is not counted."""
    work()
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        work()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def training(options, folder):
    """Ways to take a step, by name; the first is the towers alone."""
    how = {"recipe": options.recipe, "precision": options.precision, "compiled": options.compile}
    given = options.model, options.batch, options.device, folder
    cached, decoded = Trainer(*given, **how), Trainer(*given, decoded=True, threads=options.threads, **how)
    batch = next(cached.batches)
    images = batch.tower_images

    def bare():
        for parameter in cached.parameters:
            parameter.grad = None
        image, _ = cached.step._forward(images, None)
        image.backward(torch.ones_like(image))

    ways = {"towers, forward and backward": bare, "with terms, clipping, AdamW": lambda: cached.take(batch)}
    return ways | {"from a memory map": cached, "from JPEGs": decoded}, len(images)


def _endless(make):
    """Results of one run after the other; `next` of it is a step."""
    found = itertools.chain.from_iterable(make() for _ in itertools.count())
    return lambda: next(found)


def image_embedding(options, folder):
    """Ways to embed a batch of images."""
    clip, compute = _frozen(options)
    pictures, count = Pictures(clip, options.batch), 8 * options.batch
    rows = [clip.pixels()(decoding.decode(data)) for data in pictures.files]
    rows = [rows[i % len(rows)] for i in range(options.batch)]
    there = torch.from_numpy(pictures[range(options.batch)]).to(options.device)

    def decoded():
        files = (pictures.files[i % len(pictures.files)] for i in range(count))
        made = ahead(
            lambda data: clip.pixels()(decoding.decode(data)), files, threads=options.threads,
            depth=options.batch + options.threads,
        )  # fmt: skip
        yield from encode.images_of(clip, batches(made, options.batch), compute)

    return {
        "towers, forward": lambda: encode.forward_images(clip, there, compute),
        "with reading each result": lambda: encode.forward_images(clip, there, compute).cpu(),
        "from a memory map": _endless(lambda: encode.images_of(clip, itertools.repeat(rows, 8), compute)),
        "from JPEGs": _endless(decoded),
    }, options.batch


def text_embedding(options, folder):
    """Ways to embed a batch of captions."""
    clip, compute = _frozen(options)
    strings = [f"a photograph of thing {i} on top of thing {i + 1}" for i in range(options.batch)]
    there = texts.tokens(clip, strings).to(options.device)
    return {
        "towers, forward": lambda: encode.forward_texts(clip, there, compute),
        "with reading each result": lambda: encode.forward_texts(clip, there, compute).cpu(),
        "from strings": _endless(lambda: encode.texts_of(clip, itertools.repeat(strings, 8), compute)),
    }, options.batch


def _frozen(options):
    torch.manual_seed(0)
    clip = towers.create(towers.architecture(options.model))
    clip.model.to(options.device)
    return clip, Compute(options.device, options.precision, options.batch, options.threads, options.compile)


PARTS = {"training": training, "images": image_embedding, "captions": text_embedding}


def main(arguments=None):
    """Measure, and print figures and targets."""
    parser = argparse.ArgumentParser(description="What is not the towers' arithmetic in a step and in embedding.")
    parser.add_argument("--model", default="ViT-B-32", help="open_clip architecture, or a .json file of one")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--compile", action="store_true", help="torch.compile the towers")
    parser.add_argument("--recipe", default=WITH_REGIONS)
    parser.add_argument("--steps", type=int, default=30, help="in a row")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=8, help="that decode")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args(arguments)
    torch.use_deterministic_algorithms(True, warn_only=options.device != "cpu")  # as the stages
    torch.utils.deterministic.fill_uninitialized_memory = False
    card = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"
    compiled = ", compiled" if options.compile else ""
    print(
        f"{options.model}, batches of {options.batch}, {options.precision}{compiled}, {card}, {options.threads} threads"
    )
    for part in options.parts:
        with tempfile.TemporaryDirectory() as name:
            ways, rows = PARTS[part](options, Path(name))
            found = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, work in ways.items():
                    found[way].append(seconds_each(work, options.steps, options.device))
        towers_alone = median(next(iter(found.values())))
        print(part)
        for way, seconds in found.items():
            each = median(seconds)
            share = 1 - towers_alone / each
            print(f"  {way:32s}{each:10.4f} s{rows / each:12.1f} rows/s   not the towers' {share:6.1%}")
            if way in ("from a memory map", "from strings"):
                print(f"  {'met    ' if share <= SHARE else 'NOT met'} at most {SHARE:.0%}")


if __name__ == "__main__":
    main()
