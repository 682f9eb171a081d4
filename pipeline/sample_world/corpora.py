"""The three corpora of the sample world, in their native layouts, with planted defects.

What was planted where stands in planted.json: by source, for every defect the keys (or, for captions, the places in
the source) that have it. `near_duplicate` and `duplicate_image` hold [original, copy] pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline import files
from pipeline.sample_world import captions
from pipeline.sample_world.pictures import Form, Picture, render
from pipeline.sample_world.scenes import Scene, random_scene, sibling
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES
from pipeline.schema import Reason, make_key
from pipeline.sources import conceptual_captions, flickr30k, mscoco

SIBLINGS = 0.3
"""Share of scenes that differ from the one before in one attribute or one relation."""

Planted = dict[str, dict[str, list[Any]]]


@dataclass
class Item:
    """One image of a corpus before it is written."""

    key: str
    source_id: str
    scene: Scene
    captions: list[str]
    evaluation: Literal["val", "test"] | None = None
    form: Form = "rgb"
    missing: bool = False
    copy_of: Item | None = None
    """Whose bytes this image has."""
    caption_defects: list[bytes] = field(default_factory=list)


class Builder:
    """Draws the corpora from one seed; `planted` fills as defects are planted."""

    def __init__(self, out: Path, seed: int, workers: int) -> None:
        self.out, self.workers = out, workers
        self.seed = seed
        self.planted: Planted = defaultdict(lambda: defaultdict(list))

    def items(
        self, stream: int, count: int, source: str, identity: Callable[[int], str]
    ) -> tuple[list[Item], np.random.Generator]:
        """`count` images of a corpus and the generator that made them."""
        rng = np.random.default_rng([self.seed, stream])
        found: list[Item] = []
        for i in range(count):
            if found and rng.random() < SIBLINGS:
                scene = sibling(rng, found[-1].scene, SEEN_SHAPES, SEEN_COLOURS)
            else:
                scene = random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)
            source_id = identity(i)
            found.append(Item(make_key(source, source_id), source_id, scene, captions.detailed(rng, scene)))
        return found, rng

    def plant(self, source: str, items: list[Item], rng: np.random.Generator, missing: float) -> list[Item]:
        """Plant broken, missing, grey, CMYK and near-duplicate images among `items`; returns those left whole."""
        order = [items[int(i)] for i in rng.permutation(len(items))]

        def some(share: float) -> list[Item]:
            return [order.pop() for _ in range(max(1, round(share * len(items))))]

        planted = self.planted[source]
        for item in some(0.01):
            item.form = "truncated"
            planted[Reason.UNREADABLE_IMAGE].append(item.key)
        for item in some(missing):
            item.missing = True
            planted[Reason.MISSING_IMAGE].append(item.key)
        forms: tuple[Form, ...] = ("grey", "cmyk")
        for form in forms:
            for item in some(0.005):
                item.form = form
                planted[form].append(item.key)
        for form, item in zip(("recompressed", "resized") * len(items), some(0.01), strict=False):
            original = order.pop()
            item.scene, item.captions, item.form = original.scene, list(original.captions), form
            planted["near_duplicate"].append([original.key, item.key])
        return order

    def plant_copy(self, source: str, item: Item, original: Item) -> None:
        """Make `item` hold the very bytes of `original`; of an evaluation image, that is a leak."""
        item.copy_of = original
        if original.evaluation:
            self.planted[source][Reason.EVALUATION_IMAGE].append(item.key)
        else:
            self.planted[source][Reason.DUPLICATE_IMAGE].append([original.key, item.key])

    def write_images(self, source: str, items: list[Item], path: Callable[[int, Item], Path]) -> None:
        """Render and write every image that is not missing."""
        here = [(i, item) for i, item in enumerate(items) if not item.missing]
        pictures = []
        for _, item in here:
            origin = item.copy_of or item
            pictures.append(Picture(origin.scene, origin.form))
        for (i, item), data in zip(here, render(pictures, source, self.workers), strict=True):
            path(i, item).write_bytes(data)


def _mscoco(builder: Builder, count: int) -> list[Item]:
    source = mscoco.SOURCE
    items, rng = builder.items(2, count, source, lambda i: f"{7 * i + 9:012d}")
    whole = builder.plant(source, items, rng, missing=0.01)
    for item in [whole.pop() for _ in range(max(2, count // 25))]:
        item.evaluation = "test" if rng.random() < 0.5 else "val"
        builder.planted[source][Reason.EVALUATION_IMAGE].append(item.key)
    for item in [whole.pop() for _ in range(max(1, count // 200))]:
        item.caption_defects.append(b"" if rng.random() < 0.5 else b" . ")

    root = builder.out / source
    images = root / "train2017"
    images.mkdir(parents=True)
    builder.write_images(source, items, lambda i, item: images / f"{item.source_id}.jpg")
    annotations: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for item in items:
        for text in [*item.captions, *(d.decode() for d in item.caption_defects)]:
            annotations.append({"id": len(annotations) + 1, "image_id": int(item.source_id), "caption": text})
            if text not in item.captions:
                place = f"captions_train2017.json#{len(annotations)}"
                builder.planted[source][Reason.EMPTY_CAPTION].append(place)
        for thing in item.scene.things:
            x0, y0, x1, y1 = thing.box
            instances.append({
                "id": len(instances) + 1, "image_id": int(item.source_id), "category_id": 1,
                "bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)], "area": round((x1 - x0) * (y1 - y0), 2),
                "iscrowd": 0,
            })  # fmt: skip
    entries = [
        {"id": int(i.source_id), "file_name": f"{i.source_id}.jpg", "license": 1 + int(i.source_id) % 2} for i in items
    ]
    licences = [{"id": 1, "name": "Attribution License"}, {"id": 2, "name": "No known copyright restrictions"}]
    folder = root / "annotations"
    files.write_json(
        folder / "captions_train2017.json", {"licenses": licences, "images": entries, "annotations": annotations}
    )
    files.write_json(
        folder / "instances_train2017.json",
        {"images": entries, "categories": [{"id": 1, "name": "object"}], "annotations": instances},
    )
    _karpathy(root / "dataset_coco.json", items, lambda i: {
        "cocoid": int(i.source_id), "filename": f"COCO_val2014_{i.source_id}.jpg"})  # fmt: skip
    return whole


def _flickr30k(builder: Builder, count: int, test: int) -> tuple[list[Item], list[Item]]:
    source = flickr30k.SOURCE
    items, rng = builder.items(3, count + test, source, lambda i: str(100_000_007 + 37 * i))
    held_out, pool = items[:test], items[test:]
    for item in held_out:
        item.evaluation = "test"
    whole = builder.plant(source, pool, rng, missing=0.01)
    for item in [whole.pop() for _ in range(max(1, count // 50))]:
        item.evaluation = "val"
        builder.planted[source][Reason.EVALUATION_IMAGE].append(item.key)
    for k, item in enumerate([whole.pop() for _ in range(max(2, count // 100))]):
        item.caption_defects.append(b"" if k % 2 else b"a caf\xe9 with a red star")

    root = builder.out / source
    images = root / "flickr30k_images"
    images.mkdir(parents=True)
    builder.write_images(source, items, lambda i, item: images / f"{item.source_id}.jpg")
    lines: list[bytes] = []
    for item in items:
        for k, text in enumerate([*(c.encode() for c in item.captions), *item.caption_defects]):
            lines.append(b"%s.jpg#%d\t%s\n" % (item.source_id.encode(), k, text))
            if text in item.caption_defects:
                reason = Reason.NOT_UTF8 if text else Reason.EMPTY_CAPTION
                builder.planted[source][reason].append(f"results_20130124.token:{len(lines)}")
    (root / "results_20130124.token").write_bytes(b"".join(lines))
    _karpathy(root / "dataset_flickr30k.json", items, lambda i: {"filename": f"{i.source_id}.jpg"})
    return held_out, whole


def _conceptual_captions(builder: Builder, count: int, copies: list[Item]) -> None:
    source = conceptual_captions.SOURCE
    urls = [f"http://pictures.example/{i:06d}/scene.jpg" for i in range(count)]
    items, rng = builder.items(4, count, source, lambda i: conceptual_captions.source_id(urls[i]))
    url_of = dict(zip((i.key for i in items), urls, strict=True))
    whole = builder.plant(source, items, rng, missing=0.05)
    for original in copies:
        builder.plant_copy(source, whole.pop(), original)
    for k, item in enumerate([whole.pop() for _ in range(max(2, count // 100))]):
        item.caption_defects.append(b"   " if k % 2 else b"\xff\xfe a blue ring")

    root = builder.out / source
    downloads = root / "downloads"
    downloads.mkdir(parents=True)
    builder.write_images(source, items, lambda i, item: downloads / f"{i}_{conceptual_captions.crc32(urls[i])}.jpg")
    name = "Train_GCC-training.tsv"
    lines = []
    for item in items:
        url = url_of[item.key].encode()
        for text in [*(c.encode() for c in item.captions[:2]), *item.caption_defects]:
            lines.append(text + b"\t" + url + b"\n")
            if text in item.caption_defects:
                reason = Reason.EMPTY_CAPTION if not text.strip() else Reason.NOT_UTF8
                builder.planted[source][reason].append(f"{name}:{len(lines)}")
    lines.append(b"a row without its url\n")
    builder.planted[source][Reason.MALFORMED_ROW].append(f"{name}:{len(lines)}")
    (root / name).write_bytes(b"".join(lines))


def _karpathy(path: Path, items: list[Item], describe: Callable[[Item], dict[str, Any]]) -> None:
    files.write_json(path, {"images": [{**describe(i), "split": i.evaluation or "train"} for i in items]})


def build(out: Path, *, images: dict[str, int], test: int, seed: int, workers: int) -> Planted:
    """Write the three corpora below `out`.

    Args:
        out: becomes the folder that holds mscoco/, flickr30k/ and conceptual_captions/.
        images: number of images by source, before any is rejected; Flickr30k has `test` more for its test split.
        test: images of Flickr30k's Karpathy test split.
        seed: of everything.
        workers: processes that draw.

    Returns:
        what was planted: by source and defect, keys or places.
    """
    builder = Builder(out, seed, workers)
    coco = _mscoco(builder, images[mscoco.SOURCE])
    held_out, flickr = _flickr30k(builder, images[flickr30k.SOURCE], test)
    copies = max(2, images[conceptual_captions.SOURCE] // 100)
    originals = [*coco[:copies], *flickr[:copies], *held_out[:copies]]
    _conceptual_captions(builder, images[conceptual_captions.SOURCE], originals)
    return {source: dict(defects) for source, defects in builder.planted.items()}
