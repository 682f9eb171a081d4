"""Whether a CLIP model puts images and captions into the concepts that the language model puts the captions into."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


def prototypes(captions: Floats, concepts: NDArray[np.int32], shares: Floats, count: int) -> Floats:
    """A model's direction of every concept: the mean of its captions' embeddings by their shares, float32 [K, d].

    A concept without captions has a zero row, which is nearest to nothing that has any similarity.

    Args:
        captions: the model's unit float32 [n, d].
        concepts: each caption's concepts, int32 [n, m].
        shares: of them, float32 [n, m].
        count: K.
    """
    sums = np.zeros((count, captions.shape[1]), dtype=np.float64)
    for concept, share in zip(concepts.T, shares.T, strict=True):
        np.add.at(sums, concept, captions * share[:, None])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    directions: Floats = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0).astype(np.float32)
    return directions


def assign(embeddings: Floats, directions: Floats) -> Numbers:
    """The nearest concept of every unit embedding, int64 [n]; concepts without a direction are never it."""
    similarity = embeddings @ directions.T
    similarity[:, ~directions.any(axis=1)] = -np.inf
    nearest: Numbers = similarity.argmax(axis=1)
    return nearest


def agreement(images: Numbers, captions: Numbers, labels: Numbers, owner: Numbers) -> dict[str, NDArray[np.float64]]:
    """Whether two assignments of every caption agree, 1 or 0, float64 [c].

    `image`: its image's concept is the language model's of the caption. `text`: its own is. `both`: its image's and
    its own are the same.

    Args:
        images: the model's concept of every image, int64 [n].
        captions: of every caption, int64 [c].
        labels: the language model's, int64 [c].
        owner: the image of each caption, int64 [c].
    """
    image = images[owner]
    agree = {"image": image == labels, "text": captions == labels, "both": image == captions}
    return {name: values.astype(np.float64) for name, values in agree.items()}
