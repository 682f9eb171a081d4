"""Stage `index`: FAISS over test images and captions."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run, threads


@stage(
    reads=[catalog.MANIFEST, catalog.EMBEDDED["student", "images"], catalog.EMBEDDED["student", "captions"]],
    writes=[catalog.INDEX],
    takes=["compute.device", "compute.threads", "index"],
    less_memory="index.nlist",
)
def index(params: Params, ws: Workspace) -> dict[str, Any]:
    """Index the student's embeddings of the test images and captions with FAISS.

    The index is bound to the student's weights. It is exact; where `index.name` asks for an approximate one, that lies
    beside it for searches, with its recall.
    """
    from pipeline.search.index import RetrievalIndex
    from pipeline.search.vectors import Kind

    threads(params)
    manifest = ws.manifest(Split.TEST)
    images, captions = (ws.table(catalog.EMBEDDED["student", what], manifest) for what in ("images", "captions"))
    origin = {"weights": images.metadata["weights"], "manifest": manifest.fingerprint}
    image_rows, caption_rows = (table.rows_of(manifest.keys) for table in (images, captions))
    kind = Kind(**params.index.model_dump())
    made = RetrievalIndex.build(image_rows, caption_rows, manifest.keys, manifest.captions, kind, **origin)
    made.save(ws.path(catalog.INDEX))
    return {"images": len(made.keys), "captions": len(captions), "kind": made.kind.name, "recall": made.recall}


if __name__ == "__main__":
    run(index)
