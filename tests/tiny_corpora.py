"""Corpora of a few hand-made rows, written in their native layouts."""

import io
import json

from PIL import Image


def png(number, size=(4, 3)):
    """A small picture; another number gives other bytes."""
    out = io.BytesIO()
    Image.new("RGB", size, (number // 256, number % 256, 7)).save(out, "PNG")
    return out.getvalue()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def coco(folder, captions, *, name="train2017", karpathy=None, missing=()):
    """`captions`: texts by image id. `karpathy`: split by image id. Pictures are numbered by image id."""
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
    """`lines`: of the token file, as bytes. `pictures`: bytes by file name. `karpathy`: split by file name."""
    write(folder / "results_20130124.token", b"".join(line + b"\n" for line in lines))
    (folder / "flickr30k_images").mkdir()
    for name, data in pictures.items():
        write(folder / "flickr30k_images" / name, data)
    if karpathy is not None:
        entries = [{"filename": name, "split": split} for name, split in karpathy.items()]
        write(folder / "dataset_flickr30k.json", json.dumps({"images": entries}).encode())
    return folder
