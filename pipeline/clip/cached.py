"""The frozen CLIP behind the feature store: what has been embedded once is read, whatever else is embedded and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from itertools import chain, groupby, tee
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from pipeline.clip import encode, towers
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.machine.ahead import ahead
from pipeline.machine.batches import batches
from pipeline.machine.progress import report_new, track
from pipeline.store import keys
from pipeline.store.collection import Collection
from pipeline.store.keys import Keys
from pipeline.views import view
from pipeline.views.table import ViewsOf

_OF_IMAGES = ("pictures", "views")
"""Collections of what goes through the image tower, which may be compiled."""


class CachedClip:
    """A frozen CLIP and the collections of the feature store that hold its embeddings, unit float16 [d].

    `images` by the bytes of an image file (a whole image or a crop), `views` by those and what is made of the image,
    `texts` by a string, `tokens` by a string: one embedding for each of its BPE tokens, start and end left out. What a
    row depends on besides its content: weights, architecture, preprocessing, dtype, batch shape and code; not the
    device, so that a team with other machines can share (results of another device differ in the last bits; `dclip
    verify` measures by how much).

    Args:
        clip: the model.
        compute: where and how it runs.
        root: the feature store's folder.
    """

    def __init__(self, clip: Clip, compute: Compute, root: Path) -> None:
        self.clip, self.compute, self.root = clip, compute, root
        self.weights = clip.weights
        self._vector = pa.list_(pa.float16(), clip.dimension)

    def _collection(self, name: str, value: pa.DataType, **made_with: Any) -> Collection:
        made_with |= {"code": f"{encode.CODE}, {towers.CODE}", "dtype": self.compute.dtype, "batch": self.compute.batch}
        made_with |= {"weights": self.weights, "architecture": self.clip.config["model_cfg"]}
        if self.compute.compiled and name in _OF_IMAGES:
            made_with["compiled"] = True  # collections from before there was a choice keep their names
        return Collection(self.root, name, made_with, pa.schema([("vector", value)]))

    @cached_property
    def images(self) -> Collection:
        """Embeddings of images, by the bytes of their files."""
        return self._collection(
            "pictures", self._vector, images=decoding.CODE, preprocessing=self.clip.config["preprocess_cfg"]
        )

    @cached_property
    def views(self) -> Collection:
        """Embeddings of views, by their image's bytes and their parameters."""
        made = {"images": decoding.CODE, "views": view.CODE}
        return self._collection("views", self._vector, **made, preprocessing=self.clip.config["preprocess_cfg"])

    @cached_property
    def texts(self) -> Collection:
        """Embeddings of strings."""
        return self._collection("texts", self._vector, **_tokenizer(self.clip))

    @cached_property
    def tokens(self) -> Collection:
        """Embeddings of every token of a string, in the string's context."""
        return self._collection("tokens", pa.list_(self._vector))

    def embed_images(
        self,
        wanted: Keys,
        read: Callable[[NDArray[np.int64]], Iterable[bytes]],
        what: str,
        name: Callable[[int], str] = str,
    ) -> int:
        """Embed those of the wanted images that no row holds.

        Args:
            wanted: their keys, uint64 [n, 2].
            read: yields the file bytes of the images whose numbers it is given (ascending), in that order.
            what: for the progress line.
            name: of an image by its number, for errors.

        Returns:
            how many were embedded.

        Raises:
            InputError: an image cannot be read; it is named.
        """
        lacking = self._lacking(self.images, wanted, what)
        if len(lacking):
            files = (([number], data) for number, data in zip(lacking, read(lacking), strict=True))
            self._embed(self.images, wanted, files, lambda _, image: image, name)
        return len(lacking)

    def embed_views(self, views: ViewsOf, what: str) -> int:
        """Embed those views that no row holds; an image is decoded once for all views of it.

        Returns:
            how many were embedded.
        """
        wanted = views.store_keys
        lacking = self._lacking(self.views, wanted, what)
        if len(lacking):
            of_file = {file: list(rows) for file, rows in groupby(lacking.tolist(), lambda row: row // views.count)}
            read = views.images("read images", list(of_file))
            files = ((rows, data) for rows, (_, data) in zip(of_file.values(), read, strict=True))
            self._embed(self.views, wanted, files, views.made, views.keys.__getitem__)
        return len(lacking)

    def _lacking(self, collection: Collection, wanted: Keys, what: str) -> NDArray[np.int64]:
        """Which of the wanted rows a collection does not hold, each distinct one once; it is said how many."""
        lacking = keys.first_of(wanted, collection.missing(wanted))
        report_new(what, len(lacking), len(wanted))
        return lacking

    def _embed(
        self,
        collection: Collection,
        wanted: Keys,
        files: Iterable[tuple[Sequence[int], bytes]],
        made: Callable[[int, Image], Image],
        name: Callable[[int], str],
    ) -> None:
        """Embed what is `made` of each file for the rows that it is given with."""
        to_pixels = self.clip.pixels()

        def decoded(given: tuple[Sequence[int], bytes]) -> list[tuple[int, NDArray[np.uint8]]]:
            rows, data = given
            try:
                image = decoding.decode(data)
            except decoding.UnreadableImage as error:
                raise InputError(f"{name(rows[0])} is no image ({error}); take it out or replace it") from error
            return [(row, to_pixels(made(row, image))) for row in rows]

        workers = self.compute.workers
        groups = ahead(decoded, files, threads=workers, depth=self.compute.batch + workers)
        numbered, shown = tee(batches(chain.from_iterable(groups), self.compute.batch))
        found = encode.images_of(self.clip, ([pixels for _, pixels in batch] for batch in shown), self.compute)
        with collection.writing() as writer:
            for embeddings, batch in zip(found, numbered, strict=True):
                writer.add(wanted[[row for row, _ in batch]], embeddings.numpy())

    def embed_texts(self, strings: Sequence[str], what: str, *, tokens: bool = False) -> int:
        """Embed those of some strings that no row holds, and their tokens in the same forward if they are wanted.

        Returns:
            how many were embedded.
        """
        strings = list(dict.fromkeys(strings))
        wanted = keys.from_texts(strings)
        no_text = self.texts.missing(wanted)
        lacking = np.flatnonzero(no_text | self.tokens.missing(wanted) if tokens else no_text)
        report_new(what, len(lacking), len(wanted))
        if len(lacking) == 0:
            return 0
        parts = list(batches(lacking, self.compute.batch))
        given = self.clip, ([strings[i] for i in numbers] for numbers in parts), self.compute
        found: Iterable[tuple[Tensor, ...]]
        found = encode.texts_with_tokens_of(*given) if tokens else ((pooled,) for pooled in encode.texts_of(*given))
        with self.texts.writing() as pooled_rows, self.tokens.writing() if tokens else nullcontext() as token_rows:
            for numbers, (pooled, *by_token) in zip(track(parts, what, unit="batches"), found, strict=True):
                if token_rows:
                    rows = [row[1:end].numpy() for row, end in zip(by_token[0], by_token[1].tolist(), strict=True)]
                    token_rows.add(wanted[numbers], _ragged(rows, self._vector))
                new = no_text[numbers]
                pooled_rows.add(wanted[numbers][new], pooled.numpy()[new])
        return len(lacking)

    def embeddings_of(self, strings: Sequence[str], what: str) -> NDArray[np.float16]:
        """Embeddings of strings, float16 [n, d], computed where no row holds them."""
        self.embed_texts(strings, what)
        return self.texts.vectors(keys.from_texts(strings))


def _tokenizer(clip: Clip) -> dict[str, str]:
    """What stands for a tokenizer that lies in files beside the weights; CLIP's own is told by the architecture."""
    tokenizer = getattr(clip.tokenize, "tokenizer", None)
    if tokenizer is None:
        return {}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    settings = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
    return {"tokenizer": files.fingerprint(**{k: v for k, v in settings.items() if k not in ("truncation", "padding")})}


def _ragged(rows: Sequence[NDArray[np.float32]], vector: pa.DataType) -> pa.Array:
    """Lists of embeddings, [n_i, d] each, as one Arrow array."""
    flat = np.concatenate(rows).astype(np.float16)
    if not np.isfinite(flat).all():
        raise ValueError("a token's embedding is not finite in float16")
    ends = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(ends), pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), vector.list_size)
    )
