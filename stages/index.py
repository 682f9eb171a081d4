"""Stage `index`: FAISS over test pictures and captions."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads


@stage(
    reads=[
        catalog.MANIFEST,
        catalog.SHARDS[Split.TEST],
        catalog.CAPTION_EMBEDDINGS,
        catalog.STUDENT_CONFIG,
        catalog.STUDENT_WEIGHTS,
    ],
    writes=[catalog.INDEX],
    takes=["compute.device", "compute.dtype", "compute.threads", "features.batch", "student.text", "index"],
    unwatched=["compute.workers"],
    less_memory="features.batch or compute.workers",
)
def index(params: Params, ws: Workspace) -> dict[str, Any]:
    """Embed the test images and captions with the student and index them with FAISS.

    They are computed and rounded as the base's cached ones are, so that the two differ by their weights alone; with
    frozen text the captions' are read from the cache. The index is bound to the student's weights. It
    is exact; where `index.name` asks for an approximate one, that lies beside it for searches, with its recall.
    """
    import numpy as np

    from pipeline.clip import encode, pictures, towers
    from pipeline.clip.encode import Compute
    from pipeline.search.index import RetrievalIndex
    from pipeline.search.vectors import Kind

    threads(params)
    manifest = ws.manifest(Split.TEST)
    student = towers.load(ws.student, params.compute.device)
    compute = Compute(params.compute.device, params.compute.dtype, params.features.batch, params.compute.workers)
    image_vectors = (
        pictures.embed(student, manifest.pictures, compute, "embed test pictures").numpy().astype(np.float16)
    )
    if params.student.text == "frozen":
        caption_vectors = ws.captions(manifest)
    else:
        texts = [text for own in manifest.captions for text in own]
        caption_vectors = encode.texts(student, texts, compute).numpy().astype(np.float16)
    made = RetrievalIndex.of(
        image_vectors, caption_vectors, manifest.keys, manifest.captions, weights=student.weights,
        manifest=manifest.fingerprint, kind=Kind(**params.index.model_dump()),
    )  # fmt: skip
    made.save(ws.path(catalog.INDEX))
    return {"images": len(made.keys), "captions": len(caption_vectors), "kind": made.kind.name, "recall": made.recall}


if __name__ == "__main__":
    run(index)
