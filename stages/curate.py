"""Stage `curate`: from corpora as they are downloaded to clean shards."""

from pathlib import Path
from typing import Any

from pipeline.curation import curate as library
from pipeline.params import Params
from stages.program import run


def curate(params: Params, data: Path) -> dict[str, Any]:
    """Curate the corpora into WebDataset shards, a manifest, and a table of everything rejected.

    Reads every corpus named in sources.quota below sources.path. Karpathy val and test images never train. Writes
    data/curate/{train,val,test}/NNNNNN.tar, manifest.parquet and rejected.parquet; kept + rejected = read, always.
    """
    wanted = params.curate
    return library.curate(
        Path(params.sources.path),
        data / "curate",
        quota={str(source): images for source, images in params.sources.quota.items()},
        test=wanted.test,
        validation=wanted.validation,
        samples_per_shard=wanted.samples_per_shard,
        seed=params.seed,
        workers=params.compute.workers,
    )


if __name__ == "__main__":
    run(curate)
