"""The smallest sample world, and its files by key; read here without the pipeline's readers."""

import hashlib
import json
import zlib

from pipeline.sample_world import corpora

IMAGES = {"mscoco": 60, "flickr30k": 60, "conceptual_captions": 60}
SOURCES = tuple(IMAGES)
TEST = 12
PAIRS = ("near_duplicate", "duplicate_image", "evaluation_copy", "twins")
CAPTIONS = (
    "empty_caption", "not_utf8", "malformed_row", "no_words", "short_caption", "long_caption", "duplicate_caption",
    "mojibake",
)  # fmt: skip


def build(out, seed=17, workers=1):
    return corpora.build(out, images=IMAGES, test=TEST, seed=seed, workers=workers)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def texts(folder):
    """Key of the image and caption as it stands in the file, by source and place; malformed rows have no key."""
    annotations = json.loads((folder / "mscoco/annotations/captions_train2017.json").read_bytes())["annotations"]
    found = {source: {} for source in SOURCES}
    for a in annotations:
        place = f"captions_train2017.json#{a['id']}"
        found["mscoco"][place] = (f"mscoco-{a['image_id']:012d}", a["caption"].encode())
    token = (folder / "flickr30k/results_20130124.token").read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(token, 1):
        name, tab, text = line.partition(b"\t")
        key = f"flickr30k-{name.partition(b'.')[0].decode()}" if tab else None
        found["flickr30k"][f"results_20130124.token:{number}"] = (key, text if tab else line)
    table = (folder / "conceptual_captions/Train_GCC-training.tsv").read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(table, 1):
        text, tab, url = line.partition(b"\t")
        found["conceptual_captions"][f"Train_GCC-training.tsv:{number}"] = (web_key(url) if tab else None, text)
    return found


def captions(folder):
    """The captions of every image, by key."""
    found = {}
    for own in texts(folder).values():
        for key, text in own.values():
            if key:
                found.setdefault(key, []).append(text)
    return found


def web_key(url):
    return "conceptual_captions-cc-" + hashlib.sha256(url).hexdigest()[:16]


def image_paths(folder):
    """Where the file of every image is or, if it is missing, would be; by key."""
    found = {}
    for entry in json.loads((folder / "mscoco/annotations/captions_train2017.json").read_bytes())["images"]:
        found[f"mscoco-{entry['id']:012d}"] = folder / "mscoco/train2017" / entry["file_name"]
    for entry in json.loads((folder / "flickr30k/dataset_flickr30k.json").read_bytes())["images"]:
        name = entry["filename"]
        found[f"flickr30k-{name.removesuffix('.jpg')}"] = folder / "flickr30k/flickr30k_images" / name
    for i in range(IMAGES["conceptual_captions"]):
        url = f"http://pictures.example/{i:06d}/scene.jpg".encode()
        name = f"{i}_{zlib.crc32(url)}.jpg"
        found[web_key(url)] = folder / "conceptual_captions/downloads" / name
    return found


def splits(folder):
    """val or test, by key, of the images that a split file keeps out of training."""
    coco = json.loads((folder / "mscoco/dataset_coco.json").read_bytes())["images"]
    flickr = json.loads((folder / "flickr30k/dataset_flickr30k.json").read_bytes())["images"]
    found = {f"mscoco-{e['cocoid']:012d}": e["split"] for e in coco}
    found |= {f"flickr30k-{e['filename'].removesuffix('.jpg')}": e["split"] for e in flickr}
    return {key: split for key, split in found.items() if split != "train"}
