"""Stage `curate`: from corpora as they are downloaded to clean shards."""

from pathlib import Path
from typing import Any

from pipeline.params import Params
from stages.program import run


def curate(params: Params, data: Path) -> dict[str, Any]:
    """Curate the corpora into WebDataset shards, a manifest, a table of everything rejected, and a data card.

    Reads every corpus named in sources.quota below sources.path. Published val and test images never train, and
    neither do copies of them, altered ones included, nor copies of the pictures in zeroshot.path or of the test
    pictures in probe.attributes, where those folders exist. Writes data/curate/{train,val,test}/NNNNNN.tar,
    manifest.parquet, rejected.parquet and card/; kept + rejected = read, always.
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
    )
    card = data / "curate/card"
    try:
        return library.curate(
            Path(params.sources.path),
            data / "curate",
            rules,
            CaptionLimits(**wanted.captions.model_dump()),
            samples_per_shard=wanted.samples_per_shard,
            workers=params.compute.workers,
            held_out=held_out.collections(
                Path(params.zeroshot.path), Path(params.probe.attributes) if params.probe.enabled else None
            ),
        )
    finally:  # a curation that came to nothing has a card, too
        if (card / "facts.json").is_file():
            data_card.write(card)


if __name__ == "__main__":
    run(curate, lower="compute.workers or curate.images.max_pixels")
