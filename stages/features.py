"""Stage `features`: frozen CLIP embeddings of everything."""

import shutil
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.engine import PARAMETERS, cluster
from stages.program import run, store, threads

_TABLES = (catalog.IMAGE_EMBEDDINGS, catalog.REGION_EMBEDDINGS, catalog.CAPTION_EMBEDDINGS)
_CLIPS = (catalog.BASE_CLIP, catalog.TEACHER_CLIPS, catalog.summary("teachers"))
_COMPUTE = [f"compute.{name}" for name in ("device", "dtype", "batch", "compile", "threads")]


@stage(
    reads=[catalog.MANIFEST, catalog.REWRITES, *catalog.SHARDS.values(), *_CLIPS, catalog.REGIONS, catalog.SPANS],
    writes=[
        *(*_TABLES, *catalog.SPAN_EMBEDDINGS.values(), *catalog.ZEROSHOT_EMBEDDINGS, catalog.COLUMN_EMBEDDINGS),
        *(catalog.VIEWS, catalog.TEACHER_TABLES),
    ],
    takes=["seed", *_COMPUTE, "features", "views", "teacher.of", "teacher.spans", "zeroshot"],
    unwatched=PARAMETERS,
    folders=["zeroshot.path"],
    less_memory="compute.batch or compute.workers",
)
def features(params: Params, ws: Workspace) -> dict[str, Any]:
    """Embed images, crops, captions, spans and the zero-shot set with the frozen base CLIP and every teacher.

    So are rewrites and negatives of training images, where there are some.

    Teachers embed views of the training images, too, which are drawn here. In batches of one fixed shape; float16,
    unit length. Every embedding is kept in the feature store as it is made: a killed run goes on where it stopped, and
    only what was never seen is embedded; another teacher computes its own rows and nothing else.
    """
    from pipeline.artifacts import columns
    from pipeline.clip.encode import Compute
    from pipeline.features.classes import Contents
    from pipeline.features.clip_tables import Embedding, Material
    from pipeline.views import table
    from pipeline.views.view import Augmentation

    threads(params)
    p = params.compute
    compute = Compute(p.device, p.dtype, p.batch, p.workers, p.compile)
    manifest, train = ws.manifest(), ws.manifest(Split.TRAIN)
    how = Augmentation(params.views.area, params.views.flip, params.views.colour)
    table.write(train, ws.path(catalog.VIEWS), how, count=params.views.count, seed=params.seed)
    views = table.ViewsOf(train, ws.table(catalog.VIEWS, train))
    regions, spans = (ws.table(artifact, manifest) for artifact in (catalog.REGIONS, catalog.SPANS))
    beside = columns.distinct(train), columns.fingerprint(train)
    material = Material(manifest, regions, spans, Contents(Path(params.zeroshot.path)), views, *beside)
    shutil.rmtree(ws.path(catalog.TEACHER_TABLES), ignore_errors=True)  # of teachers that are no longer there, too
    ws.path(catalog.TEACHER_TABLES).mkdir(parents=True)
    tokens = {params.teacher.of} if params.teacher.spans == SpanKind.TOKENS else set()
    with cluster(params) as actors:
        before = None
        if actors:
            from pipeline.cluster.clips import Embedder

            before = Embedder(actors, lambda name: ws.path(catalog.clip_of(name)))
        embedding = Embedding(material, ws, compute, store(), before)
        counts = embedding.base(params.features.spans)
        teachers = {
            name: embedding.teacher(name, [SpanKind.PHRASES, *([SpanKind.TOKENS] if name in tokens else [])])
            for name in ws.summary("teachers")
        }
    return {"images": len(manifest), "regions": len(regions), "views": len(views), **counts, "teachers": teachers}


if __name__ == "__main__":
    run(features)
