"""Stage `curate`: from corpora as they are downloaded to clean shards."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.declaration import stage
from stages.engine import PARAMETERS, cluster
from stages.program import allow_downloads, run

if TYPE_CHECKING:
    from pipeline.curation.select import Rules

log = logging.getLogger(__name__)


@stage(
    writes=[*catalog.SHARDS.values(), catalog.MANIFEST, catalog.REJECTED, *catalog.COLUMNS, catalog.DATA_CARD],
    takes=["seed", "sources", "curate", "zeroshot", "probe.enabled", "probe.attributes"],
    unwatched=PARAMETERS,
    folders=["sources.path", "zeroshot.path", "probe.attributes", "curate.similarity.path"],
    less_memory="compute.workers or curate.images.max_pixels",
)
def curate(params: Params, ws: Workspace) -> dict[str, Any]:
    """Curate the corpora into WebDataset shards, a manifest, a table of everything rejected, and a data card.

    Reads every source of sources.of, in its folder below sources.path. Published val and test images never train, and
    neither do copies of them, altered ones included, nor copies of the images in zeroshot.path or of the test
    images in probe.attributes, where those folders exist. Writes data/curate/{train,val,test}/NNNNNN.tar,
    manifest.parquet, rejected.parquet, columns/ and card/; kept + rejected = read, always. Only a dataset of Hugging
    Face that is not there yet, by its name, reaches the network.
    """
    from pipeline.curation import curate as library
    from pipeline.curation import held_out
    from pipeline.curation.captions import CaptionLimits
    from pipeline.report import data_card

    wanted = params.curate
    if any(source.options.get("dataset") for source in params.sources.given().values()):
        allow_downloads()
    for name, source in params.sources.given().items():
        if not source.path.resolve().is_relative_to(Path(params.sources.path).resolve()):
            log.warning("%s is at %s, where DVC sees no changes; after one run: dvc repro -f curate", name, source.path)
    try:
        with cluster(params, models=False) as actors:
            foresight = None
            if actors:
                from pipeline.cluster.inspections import Foreseen

                foresight = Foreseen(actors)
            return library.curate(
                Path(params.sources.path),
                ws.folder("curate"),
                rules_of(params),
                CaptionLimits(**wanted.captions.model_dump()),
                samples_per_shard=wanted.samples_per_shard,
                workers=params.compute.workers,
                given=params.sources.given(),
                held_out=held_out.collections(
                    Path(params.zeroshot.path), Path(params.probe.attributes) if params.probe.enabled else None
                ),
                foresight=foresight,
            )
    finally:  # a curation that came to nothing has a card, too
        if ws.has(catalog.DATA_CARD):
            data_card.write(ws)


def rules_of(params: Params) -> Rules:
    """The rules that parameters ask for."""
    from pipeline.curation.inspection import ImageLimits
    from pipeline.curation.select import PUBLISHED, Rules
    from pipeline.curation.similarity import Similarity

    wanted, quota, like = params.curate, params.sources.quota, params.curate.similarity
    dropping = like.drop > 0 or like.below > -1
    return Rules(
        quota={source: quota[source] for source in wanted.duplicates.prefer if source in quota},
        test={name: PUBLISHED if mode == "published" else mode for name, mode in wanted.test.items()},
        validation=wanted.validation,
        images=ImageLimits(**wanted.images.model_dump()),
        radius=wanted.duplicates.radius,
        merge=wanted.duplicates.captions == "merge",
        seed=params.seed,
        kinds={name: source.kind for name, source in params.sources.of.items()},
        similarity=Similarity(Path(like.path), like.by, like.drop, like.below) if dropping else None,
        uncaptioned=frozenset(name for name, source in params.sources.of.items() if source.captions == "optional"),
    )


if __name__ == "__main__":
    run(curate)
