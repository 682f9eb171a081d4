"""A curated folder of a few hand-named samples, written by the library's own writers."""

import hashlib
import io
from pathlib import Path

from PIL import Image
from tiny_models import picture

from pipeline.artifacts import shards, tables
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import MANIFEST, Split


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def write_manifest(folder: Path, samples: dict[Split, dict[str, list[str]]]) -> Manifest:
    """`samples`: captions by key by split; image i of the whole has the seed i."""
    rows = []
    for split in Split:
        records = []
        for row, (key, captions) in enumerate(samples.get(split, {}).items()):
            image = picture(len(rows))
            data = png(image)
            records.append(shards.record(key, "png", data, captions=captions))
            rows.append(
                {
                    "key": key,
                    "source": "mscoco",
                    "source_id": key,
                    "split": str(split),
                    "shard": 0,
                    "row": row,
                    "image_sha256": hashlib.sha256(data).hexdigest(),
                    "phash": 0,
                    "width": image.width,
                    "height": image.height,
                    "captions": captions,
                    "caption_origins": [f"mscoco:{key}/{i}" for i in range(len(captions))],
                    "licence": "",
                    "url": "",
                }
            )
        if records:
            shards.write(folder / split, records, per_shard=100)
    tables.write_parquet(folder / "manifest.parquet", rows, MANIFEST)
    return Manifest(folder, tuple(split for split in Split if split in samples))
