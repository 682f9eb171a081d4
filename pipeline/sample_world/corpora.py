"""The three corpora of the sample world, written in their native layouts.

What was planted where stands in planted.json: see `planting.Planted`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Reason
from pipeline.disk import files
from pipeline.sample_world import beside
from pipeline.sample_world.items import Item, random_items
from pipeline.sample_world.planting import MALFORMED, Planted, note_caption, plant
from pipeline.sample_world.rendering import render
from pipeline.sources import conceptual_captions, flickr30k, mscoco

WEB_CAPTIONS = 2
"""Good captions of an image of Conceptual Captions."""


def build(
    out: Path,
    *,
    images: dict[str, int],
    test: int,
    seed: int,
    workers: int,
    side_files: bool = False,
    uncaptioned: int = 0,
) -> Planted:
    """Write mscoco/, flickr30k/ and conceptual_captions/ below `out`; returns what was planted.

    `images` is their number by source, at least 60 each, before any is rejected; Flickr30k has `test` more for its
    Karpathy test split. The seed is that of everything, `workers` are processes that draw. With `side_files` every
    corpus has rewrites, negatives and boxes (`beside`); `uncaptioned` is how many images MSCOCO has without captions.
    """
    coco, flickr, web = (images[s] for s in (mscoco.SOURCE, flickr30k.SOURCE, conceptual_captions.SOURCE))
    world = {
        mscoco.SOURCE: random_items(seed, mscoco.SOURCE, coco, lambda i: f"{7 * i + 9:012d}"),
        flickr30k.SOURCE: random_items(seed, flickr30k.SOURCE, flickr + test, lambda i: str(100_000_007 + 37 * i)),
        conceptual_captions.SOURCE: random_items(
            seed, conceptual_captions.SOURCE, web, lambda i: conceptual_captions.source_id(_url(i))
        ),
    }
    for item in world[flickr30k.SOURCE][:test]:
        item.evaluation = "test"
    planted = plant(world, seed)
    writers = (_write_mscoco, _write_flickr30k, _write_conceptual_captions)
    for (source, items), write in zip(world.items(), writers, strict=True):
        write(out / source, items, planted[source], workers)
        if side_files:
            beside.write(out / source, source, items, seed, workers)
    if uncaptioned:
        beside.write_uncaptioned(out / mscoco.SOURCE, uncaptioned, seed, workers)
    return {source: {str(name): rows for name, rows in by_name.items()} for source, by_name in planted.items()}


def _write_images(source: str, items: list[Item], path: Callable[[int, Item], Path], workers: int) -> None:
    """Render and write every image that is not missing."""
    here = [(path(i, item), item.image) for i, item in enumerate(items)]
    drawn = {place: image for place, image in here if image}
    for place, data in zip(drawn, render(list(drawn.values()), source, workers), strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _write_mscoco(root: Path, items: list[Item], planted: dict[str, list[Any]], workers: int) -> None:
    _write_images(mscoco.SOURCE, items, lambda _, item: root / "train2017" / f"{item.source_id}.jpg", workers)
    annotations: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for item in items:
        for text in item.texts():
            annotations.append({"id": len(annotations) + 1, "image_id": int(item.source_id), "caption": text.decode()})
        note_caption(planted, item, f"captions_train2017.json#{len(annotations)}")
        for x0, y0, x1, y1 in item.boxes:
            bbox, area = [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)], round((x1 - x0) * (y1 - y0), 2)
            thing = {"id": len(instances) + 1, "image_id": int(item.source_id), "category_id": 1}
            instances.append(thing | {"bbox": bbox, "area": area, "iscrowd": 0})
    entries = [
        {"id": int(i.source_id), "file_name": f"{i.source_id}.jpg", "license": 1 + int(i.source_id) % 2} for i in items
    ]
    licences = [{"id": 1, "name": "Attribution License"}, {"id": 2, "name": "No known copyright restrictions"}]
    folder = root / "annotations"
    captioned = {"licenses": licences, "images": entries, "annotations": annotations}
    boxed = {"images": entries, "categories": [{"id": 1, "name": "object"}], "annotations": instances}
    files.write_json(folder / "captions_train2017.json", captioned)
    files.write_json(folder / "instances_train2017.json", boxed)

    def entry(item: Item) -> dict[str, Any]:
        return {"cocoid": int(item.source_id), "filename": f"COCO_val2014_{item.source_id}.jpg"}

    _write_split(root / "dataset_coco.json", items, entry)


def _write_flickr30k(root: Path, items: list[Item], planted: dict[str, list[Any]], workers: int) -> None:
    _write_images(flickr30k.SOURCE, items, lambda _, item: root / "flickr30k_images" / f"{item.source_id}.jpg", workers)
    name = "results_20130124.token"
    lines: list[bytes] = []
    for item in items:
        for k, text in enumerate(item.texts()):
            lines.append(b"%s.jpg#%d\t%s\n" % (item.source_id.encode(), k, text))
        note_caption(planted, item, f"{name}:{len(lines)}")
    _add_malformed(name, lines, b"a line without its image\n", len(items), planted)
    (root / name).write_bytes(b"".join(lines))
    _write_split(root / "dataset_flickr30k.json", items, lambda i: {"filename": f"{i.source_id}.jpg"})


def _url(i: int) -> str:
    return f"http://pictures.example/{i:06d}/scene.jpg"


def _write_conceptual_captions(root: Path, items: list[Item], planted: dict[str, list[Any]], workers: int) -> None:

    def download(i: int, _: Item) -> Path:
        return root / "downloads" / f"{i}_{conceptual_captions.crc32(_url(i))}.jpg"

    _write_images(conceptual_captions.SOURCE, items, download, workers)
    name = "Train_GCC-training.tsv"
    lines: list[bytes] = []
    for i, item in enumerate(items):
        for text in item.texts(WEB_CAPTIONS):
            lines.append(text + b"\t" + _url(i).encode() + b"\n")
        note_caption(planted, item, f"{name}:{len(lines)}")
    _add_malformed(name, lines, b"a row without its url\n", len(items), planted)
    (root / name).write_bytes(b"".join(lines))


def _add_malformed(name: str, lines: list[bytes], line: bytes, images: int, planted: dict[str, list[Any]]) -> None:
    for _ in range(max(1, round(MALFORMED * images))):
        lines.append(line)
        planted[Reason.MALFORMED_ROW].append(f"{name}:{len(lines)}")


def _write_split(path: Path, items: list[Item], describe: Callable[[Item], dict[str, Any]]) -> None:
    """A split file as Karpathy's."""
    files.write_json(path, {"images": [{**describe(i), "split": i.evaluation or "train"} for i in items]})
