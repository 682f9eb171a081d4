"""Stage `sample`: generate the sample world."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.params import Params
from pipeline.sample_world import attributes, corpora, training_sets
from stages.declaration import stage
from stages.program import run


@stage(
    writes=[
        catalog.SAMPLE_CORPORA,
        catalog.SAMPLE_BASE,
        catalog.SAMPLE_ZEROSHOT,
        catalog.SAMPLE_ATTRIBUTES,
        catalog.PLANTED,
    ],
    takes=["seed", "sample"],
    unwatched=["compute.workers"],
    less_memory="compute.workers",
    for_each="sources.sample",
)
def sample(params: Params, ws: Workspace) -> dict[str, Any]:
    """Generate the sample world in the native layouts of the three corpora.

    corpora/ holds MSCOCO, Flickr30k and Conceptual Captions in their native layouts, with planted defects that
    planted.json lists; base/ the images that the sample's own models train on; zeroshot/ images by class;
    attributes/ images with all that can be said of them, in CUB's layout.
    """
    size, seed, workers = params.sample, params.seed, params.compute.workers
    assert size is not None
    images = {name: getattr(size, name) for name in ("mscoco", "flickr30k", "conceptual_captions")}
    more: dict[str, Any] = {"side_files": size.side_files, "uncaptioned": size.uncaptioned}
    folder = ws.path(catalog.SAMPLE_CORPORA)
    planted = corpora.build(folder, images=images, test=size.test, seed=seed, workers=workers, **more)
    files.write_json(ws.path(catalog.PLANTED), planted)
    training_sets.build_base(ws.path(catalog.SAMPLE_BASE), pairs=size.base_pairs, seed=seed, workers=workers)
    per_class = {"val": size.zeroshot_val, "test": size.zeroshot_test}
    training_sets.build_zeroshot(ws.path(catalog.SAMPLE_ZEROSHOT), per_class=per_class, seed=seed, workers=workers)
    probed = {"train": size.attributes_train, "test": size.attributes_test}
    attributes.build(ws.path(catalog.SAMPLE_ATTRIBUTES), **probed, seed=seed, workers=workers)
    counts = {source: {defect: len(rows) for defect, rows in kinds.items()} for source, kinds in planted.items()}
    return {"images": sum(images.values()) + size.test, "base_pairs": size.base_pairs, "planted": counts}


if __name__ == "__main__":
    run(sample)
