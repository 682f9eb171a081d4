"""Zero-shot of a frozen CLIP: embeddings of the images and prompts of the zero-shot set, which no student changes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import ClipTables
from pipeline.artifacts.schema import Split, embeddings
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.clip.cached import CachedClip
from pipeline.clip.image_files import bytes_of
from pipeline.disk import files
from pipeline.machine.progress import track
from pipeline.store import keys
from pipeline.zeroshot import accuracy, sets

_CHUNK = 8192

SPLITS = (Split.VAL, Split.TEST)


class Contents:
    """The images and prompts of the zero-shot set at `path`, of val and test.

    Attributes:
        names: their places below `path`.
        prompts: each once.
        keys: of the images, uint64 [n, 2].
        fingerprint: of names, images, prompts, and which classes count as seen.

    Raises:
        NoZeroshotData: there is no such set.
    """

    def __init__(self, path: Path) -> None:
        both = [sets.read(path, split) for split in SPLITS]
        self.images = [image for found in both for image in found.paths]
        self.names = files.names_below(path, self.images)
        self.prompts = list(dict.fromkeys(prompt for found in both for prompt in accuracy.prompts(found)))
        read = track(self.images, "read zero-shot images", unit="images")
        self.keys = keys.pack(keys.from_bytes(bytes_of(image)) for image in read)
        self.fingerprint = files.fingerprint(
            names=self.names,
            prompts=self.prompts,
            images=keys.from_bytes(self.keys.tobytes()).hex(),
            seen=[found.seen.tolist() for found in both],
        )


def write(clip: CachedClip, contents: Contents, tables: ClipTables, folder: Path, metadata: dict[str, Any]) -> int:
    """Embed whatever is new of a zero-shot set; write its two of a CLIP's tables below `folder`, the stage's.

    Keys are the images' names, and the prompts themselves.

    Returns:
        how many images and prompts were embedded.
    """
    prompts, wanted = contents.prompts, contents.keys

    def read(rows: NDArray[np.int64]) -> list[bytes]:
        return [bytes_of(contents.images[i]) for i in rows]

    computed = clip.embed_images(wanted, read, "embed zero-shot images", lambda i: str(contents.images[i]))
    computed += clip.embed_texts(prompts, "embed zero-shot prompts")
    schema = embeddings(dimension=clip.clip.dimension)
    images, texts = tables.zeroshot
    with EmbeddingWriter(folder / images.name, schema, metadata) as writer:
        for start in range(0, len(wanted), _CHUNK):
            part = slice(start, start + _CHUNK)
            writer.write(contents.names[part], clip.images.vectors(wanted[part]))
    with EmbeddingWriter(folder / texts.name, schema, metadata) as writer:
        writer.write(prompts, clip.texts.vectors(keys.from_texts(prompts)))
    return computed
