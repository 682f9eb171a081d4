"""Images decoded whenever they are read."""

import numpy as np
import pytest
from tiny_batches import assert_same, loader, pairs
from tiny_gpu import PretendedGpu
from tiny_manifest import write_manifest
from tiny_models import tiny_clip

from pipeline.artifacts.schema import Split
from pipeline.distillation.loader import epoch_order
from pipeline.distillation.pixels import Decoded, cached

SAMPLES = {
    Split.TRAIN: {f"mscoco-{i}": [f"caption {i}"] for i in range(4)},
    Split.VAL: {f"mscoco-{i}": [f"caption {i}"] for i in range(4, 6)},
}


def test_decoded_pictures_make_the_batches_that_cached_ones_make(tmp_path):
    clip, manifest = tiny_clip(), write_manifest(tmp_path / "curate", SAMPLES)
    rows, read_anew = cached(clip, manifest, tmp_path / "cache"), Decoded(clip, manifest)
    assert len(read_anew) == len(rows) == 6
    order = np.array([5, 0, 3, 3])
    assert np.array_equal(read_anew[order], rows[order])
    assert (read_anew[order].dtype, read_anew[order].shape) == (np.uint8, (4, 3, 32, 32))
    found, wanted = (
        list(loader(pairs(manifest.captions, pixels=pixels), batch=2, threads=3)(1, 3)) for pixels in (read_anew, rows)
    )
    assert len(found) == 3
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def test_pictures_that_cannot_be_read_are_an_error_of_their_batch(tmp_path):
    class Broken:
        def __len__(self):
            return 6

        def __getitem__(self, rows):
            if 4 in rows:
                raise OSError("image 4")
            return np.zeros((len(rows), 3, 1, 1), dtype=np.uint8)

    batches, shown = loader(pairs(pixels=Broken()), batch=1, threads=2)(1, 6), 0
    before = [int(rows[0]) for rows, _ in epoch_order(pairs(), 1, None, 1, 1)].index(4)
    with pytest.raises(OSError, match="image 4"):
        for _ in batches:
            shown += 1
    assert shown == before


@pytest.mark.parametrize("threads", [1, 3])
def test_a_gpus_way_to_the_batches_gives_the_same(tmp_path, monkeypatch, threads):
    clip, manifest = tiny_clip(), write_manifest(tmp_path / "curate", SAMPLES)
    load = loader(pairs(manifest.captions, pixels=Decoded(clip, manifest)), batch=2, threads=threads)
    wanted = list(load(1, 3))
    gpu = PretendedGpu(monkeypatch)
    found = list(load(1, 3))
    assert ("receive", 2) in gpu.journal
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)
    assert_same(next(load(1, 3, skip=2)), wanted[2])
