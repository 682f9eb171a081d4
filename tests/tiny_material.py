"""Seven images with regions, spans and views, a base and two teachers, and a zero-shot set, in a data folder."""

import json

import numpy as np
from tiny_manifest import png, write_manifest
from tiny_models import COMPUTE, picture, save_worded_clip, tiny_clip
from tiny_teachers import state_teachers

from pipeline.artifacts import catalog, columns
from pipeline.artifacts.schema import REGIONS, SpanKind, Split
from pipeline.artifacts.tables import TableWriter, write_parquet
from pipeline.artifacts.workspace import Workspace
from pipeline.features.classes import Contents
from pipeline.features.clip_tables import Embedding, Material
from pipeline.features.targets import Trained
from pipeline.images.decoding import encode_jpeg
from pipeline.spans import table as spans
from pipeline.spans.phrases import Rules
from pipeline.views import table as views
from pipeline.views.view import Augmentation

SAMPLES = {
    Split.TRAIN: {
        "a": ["a red star and a cat", "two moons"],
        "b": ["a cat on a mat"],
        "c": ["?!"],
        "d": ["a red star"],
    },
    Split.VAL: {"e": ["a red star on a blue sky"]},
    Split.TEST: {"f": ["a cat on a mat", "a dog and a cat"], "g": ["nothing"]},
}
CROPS = {"a": 2, "b": 0, "c": 1, "d": 1, "e": 1, "f": 0, "g": 2}
VIEWS = 2
BESIDE = {
    catalog.REWRITES: {"a": ["a star that is red", "ok"]},
    catalog.NEGATIVES: {"b": ["a dog on a mat", "a cat under a mat"]},
    catalog.GIVEN_BOXES: {},
}
"""Texts by image; "ok" says nothing."""
TOKENS = 14


def write_beside(data, manifest, beside=BESIDE):
    """What training images have beside captions."""
    for artifact, texts in beside.items():
        rows = [{"key": key, "text": text, "image": None, "origin": ""} for key in texts for text in texts[key]]
        (data / artifact.path).parent.mkdir(exist_ok=True)
        write_parquet(data / artifact.path, rows, artifact.columns, manifest=manifest.fingerprint)


def lay_out(data, count=VIEWS):
    """Everything before features; the teachers are `twin`, which is the base's sister, and `worded`."""
    manifest = write_manifest(data / "curate", SAMPLES)
    origin = {"manifest": manifest.fingerprint}
    write_beside(data, manifest)
    with TableWriter(data / "regions/regions.arrow", REGIONS, origin | {"kind": "regions", "fingerprint": "r"}) as out:
        for number, key in enumerate(manifest.keys):
            n = 1 + CROPS[key]
            crops = [None, *(encode_jpeg(picture(10 * number + i, 20, 30), 90) for i in range(1, n))]
            boxes = np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (n, 1)).tolist()
            columns = {"key": [key] * n, "region_index": range(n), "box": boxes, "score": [1.0] * n}
            out.write(columns | {"class_name": ["thing"] * n, "crop": crops})
    made = origin | {"kind": "spans", "fingerprint": "s"}
    spans.write(Rules(), manifest, data / "spans/spans.arrow", made, cap=4, tokens=TOKENS)
    for seed, place in enumerate(("val/cat", "val/dog", "test/cat", "test/dog")):
        (data / "zeroshot" / place).mkdir(parents=True)
        (data / "zeroshot" / place / "0.png").write_bytes(png(picture(60 + seed)))
    described = [{"folder": name, "name": name} for name in ("dog", "cat")]
    (data / "zeroshot/classes.json").write_text(json.dumps({"templates": ["a {}"], "classes": described}))
    tiny_clip().save(data / "models/clip")
    tiny_clip(seed=1).save(data / "teachers/clips/twin")
    save_worded_clip(data / "teachers/clips/worded", seed=2, embed_dim=24, image_size=64)
    state_teachers(data, worded=50.0)
    return Workspace(data)


def embedding(ws, store, count=VIEWS):
    manifest, train = ws.manifest(), ws.manifest(Split.TRAIN)
    views.write(train, ws.path(catalog.VIEWS), Augmentation(0.5, 0.5, 0.2), count=count, seed=0)
    seen = views.ViewsOf(train, ws.table(catalog.VIEWS, train))
    tables = (ws.table(artifact, manifest) for artifact in (catalog.REGIONS, catalog.SPANS))
    beside = columns.distinct(train), columns.fingerprint(train)
    return Embedding(Material(manifest, *tables, Contents(ws.data / "zeroshot"), seen, *beside), ws, COMPUTE, store)


def embed_all(ws, store, count=VIEWS, teachers=("twin", "worded")):
    made = embedding(ws, store, count)
    made.base(list(SpanKind))
    for name in teachers:
        made.teacher(name, [SpanKind.PHRASES])


def write_targets(ws, *teachers):
    every = ws.manifest()
    trained = Trained(ws, every, ws.manifest(Split.TRAIN), ws.table(catalog.SPANS, every))
    return {name: trained.write(name) for name in teachers}
