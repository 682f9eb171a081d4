"""Corpora of a few hand-made rows, written in their native layouts."""

import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds
from PIL import Image


def picture(number, size=(48, 36)):
    """Coloured patches; another number gives another image."""
    patches = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def encoded(image, form="PNG", **options):
    """The bytes of an image as a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png(number):
    """The file of `image(number)`."""
    return encoded(picture(number))


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def coco(folder, captions, *, name="train2017", karpathy=None, missing=()):
    """`captions`: texts by image id. `karpathy`: split by image id. Images are numbered by image id."""
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in captions]
    texts = [(i, text) for i, own in captions.items() for text in own]
    annotations = [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(texts, start=1)]
    content = {"images": images, "annotations": annotations}
    write(folder / "annotations" / f"captions_{name}.json", json.dumps(content).encode())
    (folder / name).mkdir(exist_ok=True)
    for i in captions:
        if i not in missing:
            write(folder / name / f"{i:012d}.jpg", png(i))
    if karpathy is not None:
        entries = [{"cocoid": i, "split": split} for i, split in karpathy.items()]
        write(folder / "dataset_coco.json", json.dumps({"images": entries}).encode())
    return folder


def flickr(folder, lines, *, pictures, karpathy=None):
    """`lines`: of the token file, as bytes. `images`: bytes by file name. `karpathy`: split by file name."""
    write(folder / "results_20130124.token", b"".join(line + b"\n" for line in lines))
    (folder / "flickr30k_images").mkdir()
    for name, data in pictures.items():
        write(folder / "flickr30k_images" / name, data)
    if karpathy is not None:
        entries = [{"filename": name, "split": split} for name, split in karpathy.items()]
        write(folder / "dataset_flickr30k.json", json.dumps({"images": entries}).encode())
    return folder


def img2dataset(folder, rows, *, shard="00000", form="webdataset", captions=True):
    """A shard as img2dataset writes it, in one of its forms: webdataset, files or parquet.

    `rows`: url, caption, and the image's bytes or why it failed to download.
    """
    records, samples = [], []
    for number, (url, caption, result) in enumerate(rows):
        failed = isinstance(result, str)
        record = {"url": url, "key": f"{shard}{number:04d}", "status": "failed_to_download" if failed else "success"}
        record |= {"error_message": result if failed else None, "width": None if failed else 4}
        if captions:
            record["caption"] = caption
        records.append(record)
        if not failed:
            sample = {"__key__": record["key"], "jpg": result, "json": json.dumps(record, indent=4)}
            samples.append(sample | ({"txt": str(caption)} if captions else {}))
        if form == "parquet":
            record |= {"jpg": None if failed else result}
            record |= {"txt": None if failed else str(caption)} if captions else {}
    folder.mkdir(parents=True, exist_ok=True)
    if form == "webdataset":
        with wds.TarWriter(str(folder / f"{shard}.tar")) as tar:
            for sample in samples:
                tar.write(sample)
    elif form == "files":
        for sample in samples:
            for extension in sample.keys() - {"__key__"}:
                data = sample[extension] if extension == "jpg" else sample[extension].encode()
                write(folder / shard / f"{sample['__key__']}.{extension}", data)
    pq.write_table(pa.Table.from_pylist(records), folder / f"{shard}.parquet", row_group_size=100)
    write(folder / f"{shard}_stats.json", json.dumps({"count": len(rows)}).encode())
    return folder


def conceptual(folder, pairs):
    """`pairs`: caption and the image's bytes (None if it was not downloaded) by url."""
    write(folder / "Train_GCC-training.tsv", b"".join(c + b"\t" + u.encode() + b"\n" for u, (c, _) in pairs.items()))
    for url, (_, data) in pairs.items():
        if data is not None:
            write(folder / "downloads" / f"{zlib.crc32(url.encode())}.jpg", data)
    return folder
