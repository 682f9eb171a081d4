"""Stage `sample`: generate the sample world."""

from pathlib import Path
from typing import Any

from pipeline.disk import files
from pipeline.params import Params
from pipeline.sample_world import attributes, corpora, training_sets
from stages.program import run


def sample(params: Params, data: Path) -> dict[str, Any]:
    """Generate the sample world below data/sample.

    corpora/ holds MSCOCO, Flickr30k and Conceptual Captions in their native layouts, with planted defects that
    planted.json lists; base/ the pictures that the sample's own models train on; zeroshot/ pictures by class;
    attributes/ pictures with all that can be said of them, in CUB's layout.
    """
    size, seed, workers = params.sample, params.seed, params.compute.workers
    assert size is not None
    out = data / "sample"
    images = {name: getattr(size, name) for name in ("mscoco", "flickr30k", "conceptual_captions")}
    planted = corpora.build(out / "corpora", images=images, test=size.test, seed=seed, workers=workers)
    files.write_json(out / "planted.json", planted)
    training_sets.build_base(out / "base", pairs=size.base_pairs, seed=seed, workers=workers)
    per_class = {"val": size.zeroshot_val, "test": size.zeroshot_test}
    training_sets.build_zeroshot(out / "zeroshot", per_class=per_class, seed=seed, workers=workers)
    attributes.build(
        out / "attributes", train=size.attributes_train, test=size.attributes_test, seed=seed, workers=workers
    )
    counts = {source: {defect: len(rows) for defect, rows in of.items()} for source, of in planted.items()}
    return {"images": sum(images.values()) + size.test, "base_pairs": size.base_pairs, "planted": counts}


if __name__ == "__main__":
    run(sample, lower="compute.workers")
