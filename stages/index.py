"""Stage `index`: FAISS over test pictures and captions."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Split
from pipeline.params import Params
from stages.program import run, threads


def index(params: Params, data: Path) -> dict[str, Any]:
    """Embed the test pictures and captions with the student and index them: data/index/faiss/.

    They are computed and rounded as the base's cached ones are, so that the two differ by their weights alone; with
    frozen text the captions' are read from the cache. The index is bound to the student's weights. It
    is exact; where `index.name` asks for an approximate one, that lies beside it for searches, with its recall.
    """
    import numpy as np

    from pipeline.artifacts.manifest import Manifest
    from pipeline.artifacts.tables import Table
    from pipeline.clip import encode, pictures, towers
    from pipeline.clip.encode import Compute
    from pipeline.search.index import RetrievalIndex
    from pipeline.search.vectors import Kind

    threads(params)
    manifest = Manifest(data / "curate", (Split.TEST,))
    student = towers.load(data / "student", params.compute.device)
    compute = Compute(params.compute.device, params.compute.dtype, params.compute.batch, params.compute.workers)
    image_vectors = (
        pictures.embed(student, manifest.pictures, compute, "embed test pictures").numpy().astype(np.float16)
    )
    if params.student.text == "frozen":
        origin = {"manifest": manifest.fingerprint}
        caption_vectors = Table(data / "features/captions.arrow", **origin).of(manifest.keys)
    else:
        texts = [text for own in manifest.captions for text in own]
        caption_vectors = encode.texts(student, texts, compute).numpy().astype(np.float16)
    made = RetrievalIndex.of(
        image_vectors, caption_vectors, manifest.keys, manifest.captions, weights=student.weights,
        manifest=manifest.fingerprint, kind=Kind(**params.index.model_dump()),
    )  # fmt: skip
    made.save(data / "index/faiss")
    return {"images": len(made.keys), "captions": len(caption_vectors), "kind": made.kind.name, "recall": made.recall}


if __name__ == "__main__":
    run(index, lower="compute.batch or compute.workers")
