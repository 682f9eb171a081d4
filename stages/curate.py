"""Stage `curate`: from corpora as they are downloaded to clean shards."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.engine import PARAMETERS, cluster
from stages.program import run


@stage(
    writes=[*catalog.SHARDS.values(), catalog.MANIFEST, catalog.REJECTED, *catalog.COLUMNS, catalog.DATA_CARD],
    takes=["seed", "sources", "curate", "zeroshot", "probe.enabled", "probe.attributes"],
    unwatched=PARAMETERS,
    folders=["sources.path", "zeroshot.path", "probe.attributes"],
    less_memory="compute.workers or curate.images.max_pixels",
)
def curate(params: Params, ws: Workspace) -> dict[str, Any]:
    """Curate the corpora into WebDataset shards, a manifest, a table of everything rejected, and a data card.

    Reads every corpus named in sources.quota below sources.path. Published val and test images never train, and
    neither do copies of them, altered ones included, nor copies of the images in zeroshot.path or of the test
    images in probe.attributes, where those folders exist. Writes data/curate/{train,val,test}/NNNNNN.tar,
    manifest.parquet, rejected.parquet, columns/ and card/; kept + rejected = read, always.
    """
    from pipeline.curation import curate as library
    from pipeline.curation import held_out
    from pipeline.curation.captions import CaptionLimits
    from pipeline.curation.inspection import ImageLimits
    from pipeline.curation.select import Rules
    from pipeline.report import data_card

    wanted = params.curate
    quota = params.sources.quota
    rules = Rules(
        quota={source: quota[source] for source in wanted.duplicates.prefer if source in quota},
        test=wanted.test,
        validation=wanted.validation,
        images=ImageLimits(**wanted.images.model_dump()),
        radius=wanted.duplicates.radius,
        merge=wanted.duplicates.captions == "merge",
        seed=params.seed,
        uncaptioned=frozenset(name for name, wanted in params.sources.captions.items() if wanted == "optional"),
    )
    beside = {source: files.model_dump() for source, files in params.sources.columns.items()}
    try:
        with cluster(params, models=False) as actors:
            foresight = None
            if actors:
                from pipeline.cluster.inspections import Foreseen

                foresight = Foreseen(actors)
            return library.curate(
                Path(params.sources.path),
                ws.folder("curate"),
                rules,
                CaptionLimits(**wanted.captions.model_dump()),
                samples_per_shard=wanted.samples_per_shard,
                workers=params.compute.workers,
                held_out=held_out.collections(
                    Path(params.zeroshot.path), Path(params.probe.attributes) if params.probe.enabled else None
                ),
                foresight=foresight,
                beside=beside,
            )
    finally:  # a curation that came to nothing has a card, too
        if ws.has(catalog.DATA_CARD):
            data_card.write(ws)


if __name__ == "__main__":
    run(curate)
