"""How long curation takes beside what it cannot do without, and how much memory.

    python -m benchmarks.curate --images 67500 --folder /somewhere/with/25/GB

makes JPEG files of COCO's size (640 x 480, about 160 kB) with five captions each, and prints, for the same files and
the same number of processes, each beginning with nothing of them in the page cache:

- floor: every file read and decoded in full,
- curate: the library's whole curation, from annotations to shards and manifest,
- plain webdataset: files copied into shards, nothing looked at, as img2dataset writes them,

the ratios of the three, and curate's peak memory for all images and for a tenth of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import psutil
import typer
from PIL import Image

from pipeline.machine.processes import Processes
from pipeline.machine.progress import track

WIDTH, HEIGHT = 640, 480
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
"""As most of COCO: colours at full resolution, 160 kB an image."""
CHUNK = 32
Work = Callable[[Path, Path, int], None]
WORDS = ("a", "man", "two", "dogs", "on", "the", "street", "red", "holding", "near", "table", "young", "woman", "large")


def _canvases(count: int, side: int = 2048) -> list[Any]:
    """Colour noise with the spectrum of photographs (amplitude 1 / frequency), RGB uint8."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    found = []
    for _ in range(count):
        planes = []
        for _ in range(3):
            phase = np.exp(2j * np.pi * rng.random((side, side // 2 + 1)))
            planes.append(np.fft.irfft2(phase / frequency**1.15, s=(side, side)))
        common = planes[0] / planes[0].std()
        picture = np.stack([0.8 * common + 0.6 * p / p.std() for p in planes], axis=-1)
        found.append((128 + 52 * picture).clip(0, 255).astype(np.uint8))
    return found


_CANVASES: list[Any] = []


def _draw(task: tuple[Path, range]) -> int:
    """Blends of crops of two canvases, so that no two images are alike; returns the bytes written."""
    folder, numbers = task
    if not _CANVASES:
        cv2.setNumThreads(0)
        _CANVASES.extend(_canvases(6))
    size = 0
    for number in numbers:
        rng = np.random.default_rng([7, number])
        parts = []
        for canvas in rng.choice(len(_CANVASES), 2, replace=False):
            y, x = (int(rng.integers(0, 2048 - n)) for n in (HEIGHT, WIDTH))
            part = _CANVASES[canvas][y : y + HEIGHT, x : x + WIDTH, rng.permutation(3)]
            parts.append(part[:, ::-1] if rng.random() < 0.5 else part)
        share = float(rng.uniform(0.3, 0.7))
        picture = cv2.addWeighted(np.ascontiguousarray(parts[0]), share, np.ascontiguousarray(parts[1]), 1 - share, 0)
        for _ in range(4):
            corner, far = rng.integers(0, (WIDTH, HEIGHT), (2, 2))
            cv2.rectangle(
                picture, corner.tolist(), far.tolist(), rng.integers(0, 256, 3).tolist(), int(rng.integers(2, 9))
            )
        _, data = cv2.imencode(".jpg", picture, JPEG)
        (folder / f"{number:012d}.jpg").write_bytes(data.tobytes())
        size += len(data)
    return size


def _make(root: Path, count: int, workers: int) -> None:
    folder = root / "mscoco/train2017"
    annotations = root / "mscoco/annotations/captions_train2017.json"
    if annotations.is_file() and len(json.loads(annotations.read_bytes())["images"]) == count:
        return
    shutil.rmtree(root, ignore_errors=True)
    folder.mkdir(parents=True)
    tasks = [(folder, range(i, min(i + CHUNK, count))) for i in range(0, count, CHUNK)]
    with Processes(workers) as processes:
        size = sum(track(processes.map(_draw, tasks), "draw", total=len(tasks), unit="chunks"))
    rng = np.random.default_rng(1)
    content = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "license": 1} for i in range(count)],
        "licenses": [{"id": 1, "name": "Attribution License"}],
        "annotations": [
            {"id": 5 * i + k, "image_id": i, "caption": " ".join(rng.choice(WORDS, 11).tolist()) + f" {k}"}
            for i in range(count)
            for k in range(5)
        ],
    }
    annotations.parent.mkdir()
    annotations.write_text(json.dumps(content))
    print(f"{count} images, {size / count / 1e3:.0f} kB each")


def _files(root: Path) -> list[str]:
    return sorted(str(p) for p in (root / "mscoco/train2017").iterdir())


def _chunks(paths: list[str]) -> Iterator[list[str]]:
    return (paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK))


def _decode(paths: list[str]) -> int:
    for path in paths:
        with Image.open(io.BytesIO(Path(path).read_bytes())) as image:  # quicker than reading as it decodes
            image.load()
    return len(paths)


def _floor(root: Path, out: Path, workers: int) -> None:
    with Processes(workers) as processes:
        for _ in processes.map(_decode, _chunks(_files(root))):
            pass


def _copy(task: tuple[str, list[str]]) -> None:
    import webdataset as wds  # imports torch

    pattern, paths = task
    with wds.TarWriter(pattern) as tar:
        for path in paths:
            key = Path(path).stem
            tar.write({"__key__": key, "jpg": Path(path).read_bytes(), "json": {"captions": ["a"] * 5, "key": key}})


def _plain(root: Path, out: Path, workers: int) -> None:
    out.mkdir(parents=True)
    paths = _files(root)
    tasks = ((str(out / f"{i:06d}.tar"), paths[i : i + 1000]) for i in range(0, len(paths), 1000))
    with Processes(workers) as processes:
        for _ in processes.map(_copy, tasks):
            pass


def _curate(root: Path, out: Path, workers: int) -> None:
    from pipeline.curation.captions import CaptionLimits
    from pipeline.curation.curate import curate
    from pipeline.curation.inspection import ImageLimits
    from pipeline.curation.select import Rules

    rules = Rules(
        quota={"mscoco": 10**6}, test={"mscoco": 0.02}, validation=0.1, images=ImageLimits(32, 80_000_000, 4.0),
        radius=12, merge=True, seed=17,
    )  # fmt: skip
    counts = curate(root, out, rules, CaptionLimits(2, 100), samples_per_shard=1000, workers=workers)
    print(counts["kept"], counts["image"]["mscoco"])


def _measured(work: Work, root: Path, out: Path, workers: int, result: Any) -> None:
    start = time.perf_counter()
    work(root, out, workers)
    result.put(time.perf_counter() - start)


def _memory(process: psutil.Process) -> int:
    """Bytes of a process and those below it; what they share is counted once."""
    found = 0
    with contextlib.suppress(psutil.Error):
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                found += each.memory_full_info().pss
    return found


def _measure(work: Work, root: Path, out: Path, workers: int) -> tuple[float, int]:
    """Seconds, and peak bytes of all processes, of work in a fresh process with no file in the page cache."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    for path in _files(root):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    process = context.Process(target=_measured, args=(work, root, out, workers, result))
    process.start()
    watched, peak = psutil.Process(process.pid), 0
    while process.is_alive():
        peak = max(peak, _memory(watched))
        process.join(1.0)
    shutil.rmtree(out, ignore_errors=True)
    return result.get(), peak


def main(
    folder: Annotated[Path, typer.Option(help="Made and left there; needs 330 kB an image.")],
    images: Annotated[int, typer.Option(help="How many JPEG files.")] = 2000,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Time curation beside its floor."""
    root, out = folder / "raw", folder / "out"
    _make(root, images, workers)
    before, _ = _measure(_floor, root, out, workers)
    curated, peak = _measure(_curate, root, out, workers)
    after, _ = _measure(_floor, root, out, workers)
    floor = (before + after) / 2
    plain, _ = _measure(_plain, root, out, workers)
    print(f"floor, read and decode    {floor:7.1f} s  mean of {before:.1f} s before and {after:.1f} s after")
    ratios = f"{curated / floor:.2f} of the floor, {curated / plain:.2f} of plain"
    print(f"curate                    {curated:7.1f} s  {ratios}")
    print(f"plain webdataset, no look {plain:7.1f} s  {plain / floor:.2f} of the floor")
    print(f"curate's peak memory, all processes: {peak / 1e6:.0f} MB")
    tenth = folder / "tenth"
    _make(tenth, images // 10, workers)
    _, peak = _measure(_curate, tenth, out, workers)
    print(f"for a tenth of the images: {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    typer.run(main)
