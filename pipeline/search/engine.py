"""Search by a text or an image: the student and its index, loaded once."""

from pathlib import Path
from threading import Lock
from typing import Any

from pipeline.clip import encode, texts, towers
from pipeline.clip.encode import Compute
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.search import index
from pipeline.search.index import Hit


class Search:
    """The student and its index; threads may share it, for images are decoded and the rest is done by one at a time.

    Args:
        student: an open_clip local directory.
        folder: an index that it has made.
        manifest: fingerprint of the manifest whose images it finds; None to trust the index.

    Raises:
        WrongWeights: there is no such student.
        ContractError: there is no such index, it was changed, or another model made it.
        InputError: it is empty.
    """

    def __init__(self, student: Path, folder: Path, manifest: str | None = None, device: str = "cpu") -> None:
        self._clip = towers.load(student, device)
        self._to_pixels = self._clip.pixels()
        self._compute = Compute(device, "float32", 1)
        self._lock = Lock()
        self.index = index.load(folder, self._clip.weights, manifest, gpus=True)
        if not self.index.keys:
            raise InputError(f"{folder} holds no image; run: dvc repro index")
        self.captions = dict(zip(self.index.keys, self.index.texts, strict=True))

    def text(self, query: str, top: int) -> list[Hit]:
        """The images that fit a text best.

        Raises:
            InputError: the text is empty, too long, or not UTF-8.
        """
        if not query.strip():
            raise InputError("the query is empty; say what the image should show")
        with self._lock:
            return self.index.search_images(encode.texts(self._clip, [query], self._compute).numpy()[0], top)

    def unread(self, query: str) -> str | None:
        """What is to be said of a text whose end the student does not read; None where it reads all of it.

        Raises:
            InputError: the text is too long, or not UTF-8.
        """
        with self._lock:
            if not texts.cut(self._clip, [query])[0]:
                return None
        read = self._clip.context_length
        return f"only the first {read} tokens were read, start and end included: the query is too long for the student"

    def image(self, data: bytes, top: int) -> list[Hit]:
        """The images most like another one, given its file's bytes.

        Raises:
            InputError: the bytes are no image.
        """
        try:
            pixels = self._to_pixels(decoding.decode(data))
        except decoding.UnreadableImage as error:
            raise InputError(f"the query is no image ({error})") from error
        with self._lock:
            return self.index.search_images(encode.images(self._clip, [pixels], self._compute).numpy()[0], top)

    def described(self, hits: list[Hit]) -> list[dict[str, Any]]:
        """What was found, as JSON has it: rank from 1, key, similarity (cosine), the image's captions."""
        return [
            {"rank": i, "key": hit.key, "similarity": hit.similarity, "captions": self.captions[hit.key]}
            for i, hit in enumerate(hits, start=1)
        ]
