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
    return library.curate(
        Path(params.sources.path), data / "curate", quota={str(k): v for k, v in params.sources.quota.items()}, test=params.curate.test,
        validation=params.curate.validation, samples_per_shard=params.curate.samples_per_shard, seed=params.seed,
        workers=params.compute.workers,
    )  # fmt: skip


if __name__ == "__main__":
    run(curate)
