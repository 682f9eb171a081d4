"""Real embeddings, where there are any."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_embeddings():
    """Images, captions and owner: ViT-B/32 on 100 photographs."""
    if "DCLIP_REAL_DATA" not in os.environ:
        pytest.skip("DCLIP_REAL_DATA is not set: no folder with real ViT-B/32 embeddings of photographs")
    folder = Path(os.environ["DCLIP_REAL_DATA"]) / "clip_vit_b32_flickr"
    with (folder / "metadata.csv").open(newline="") as stream:
        names = [row["image_id"] for row in csv.DictReader(stream)]
    distinct = list(dict.fromkeys(names))
    owner = np.array([distinct.index(name) for name in names])
    first = np.array([names.index(name) for name in distinct])
    images, captions = (np.load(folder / f"{n}_embeddings.npy").astype(np.float32) for n in ("image", "text"))
    images = images if len(images) == len(distinct) else images[first]
    images, captions = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, captions))
    return images, captions, owner
