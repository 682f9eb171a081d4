import io

import numpy as np
import pytest
from PIL import Image
from tiny_manifest import write_manifest
from tiny_models import picture, tiny_clip

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import REGIONS, Split
from pipeline.artifacts.tables import ContractError, Table, TableWriter
from pipeline.distillation.crops import Crops
from pipeline.distillation.pixels import Decoded, cached
from pipeline.machine.ahead import ahead

SAMPLES = {
    Split.TRAIN: {"mscoco-1": ["a"], "mscoco-2": ["b"], "mscoco-3": ["c"]},
    Split.VAL: {"mscoco-4": ["d"]},
    Split.TEST: {"mscoco-5": ["e"]},
}
BOXES = {"mscoco-1": 2, "mscoco-2": 0, "mscoco-3": 1, "mscoco-4": 1, "mscoco-5": 3}


def jpeg(key, index):
    """Another image for every key and region."""
    out = io.BytesIO()
    picture(10 * int(key[-1]) + index, width=40 + index, height=36).save(out, "JPEG")
    return out.getvalue()


def write_regions(path, boxes, fingerprint="one", crop=jpeg):
    """A table of region 0 and so many boxes of each key, one batch a key."""
    with TableWriter(path, REGIONS, {"fingerprint": fingerprint}) as writer:
        for key, count in boxes.items():
            writer.write({
                "key": [key] * (1 + count), "region_index": range(1 + count), "box": [[0, 0, 1, 1]] * (1 + count),
                "score": [1.0] * (1 + count), "class_name": ["image"] + ["star"] * count,
                "crop": [None, *(crop(key, 1 + i) for i in range(count))],
            })  # fmt: skip
    return Table(path, REGIONS)


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path / "curate", SAMPLES)


@pytest.fixture
def regions(tmp_path):
    return write_regions(tmp_path / "regions.arrow", BOXES)


def decoded(clip, *crops):
    to_pixels = clip.pixels()
    return np.stack([to_pixels(Image.open(io.BytesIO(jpeg(*crop))).convert("RGB")) for crop in crops])


TRAIN = [("mscoco-1", 1), ("mscoco-1", 2), ("mscoco-3", 1)]
"""Key and region_index of every crop of the train split."""


# Which crops


def test_crops_stand_in_the_order_of_pictures_and_their_regions(manifest, regions):
    crops = Crops(regions, Manifest(manifest.folder, (Split.TRAIN,)))
    assert len(crops) == 3
    assert [crops.image(row) for row in range(3)] == [jpeg(*crop) for crop in TRAIN]


def test_start_counts_the_picture_itself(manifest, regions):
    assert Crops(regions, manifest).start.tolist() == [0, 3, 4, 6, 8, 12]
    assert Crops(regions, Manifest(manifest.folder, (Split.TRAIN,))).start.tolist() == [0, 3, 4, 6]


def test_only_pictures_of_the_manifests_splits_have_crops(manifest, regions):
    crops = Crops(regions, Manifest(manifest.folder, (Split.TRAIN, Split.TEST)))
    wanted = [*TRAIN, ("mscoco-5", 1), ("mscoco-5", 2), ("mscoco-5", 3)]
    assert [crops.image(row) for row in range(len(crops))] == [jpeg(*crop) for crop in wanted]
    assert crops.start.tolist() == [0, 3, 4, 6, 10]
    assert crops.splits == (Split.TRAIN, Split.TEST)


def test_all_crops_come_with_the_keys_of_their_pictures(manifest, regions):
    found = list(Crops(regions, Manifest(manifest.folder, (Split.TRAIN,))).images("read"))
    assert found == [(crop[0], jpeg(*crop)) for crop in TRAIN]


def test_crops_have_the_fingerprint_of_their_table(manifest, tmp_path):
    assert Crops(write_regions(tmp_path / "other.arrow", BOXES, "two"), manifest).fingerprint == "two"


# Tables that do not fit


def test_a_picture_without_any_region_is_refused_with_advice(manifest, tmp_path):
    given = {key: count for key, count in BOXES.items() if key != "mscoco-2"}
    regions = write_regions(tmp_path / "regions.arrow", given)
    with pytest.raises(ContractError, match=r"regions\.arrow has no region 0 of mscoco-2; run: dvc repro -sf regions$"):
        Crops(regions, manifest)


def test_a_picture_of_another_split_may_have_no_region(manifest, tmp_path):
    given = {key: count for key, count in BOXES.items() if key != "mscoco-4"}
    regions = write_regions(tmp_path / "regions.arrow", given)
    assert len(Crops(regions, Manifest(manifest.folder, (Split.TRAIN,)))) == 3


def test_regions_in_another_order_than_the_manifest_are_refused(manifest, tmp_path):
    regions = write_regions(tmp_path / "regions.arrow", {"mscoco-2": 0, **BOXES})
    assert regions.strings("key")[0] == "mscoco-2"
    with pytest.raises(ContractError, match=r"regions\.arrow: row \d+ has key 'mscoco-\d', which does not follow"):
        Crops(regions, manifest)


# Their pixels


def test_cached_crops_are_the_decoded_ones(clip, manifest, regions, tmp_path):
    train = Manifest(manifest.folder, (Split.TRAIN,))
    rows = cached(clip, Crops(regions, train), tmp_path / "cache", threads=2)
    assert (rows.shape, rows.dtype) == ((3, 3, 32, 32), np.uint8)
    assert np.array_equal(rows, decoded(clip, *TRAIN))
    assert len({row.tobytes() for row in rows}) == 3


def test_crops_decoded_when_they_are_read_are_the_same(clip, manifest, regions):
    found, wanted = Decoded(clip, Crops(regions, Manifest(manifest.folder, (Split.TRAIN,)))), decoded(clip, *TRAIN)
    assert len(found) == 3
    for rows in ([0, 1, 2], [2, 0], [1, 1]):
        assert np.array_equal(found[np.array(rows)], wanted[rows])


def test_threads_may_decode_crops_at_the_same_time(clip, manifest, regions):
    found, wanted = Decoded(clip, Crops(regions, Manifest(manifest.folder, (Split.TRAIN,)))), decoded(clip, *TRAIN)
    rows = [np.array([i % 3, (i + 1) % 3]) for i in range(12)]
    for own, pixels in zip(rows, ahead(found.__getitem__, rows, threads=4, depth=8), strict=True):
        assert np.array_equal(pixels, wanted[own])


def test_another_table_is_another_file(clip, manifest, regions, tmp_path):
    folder, train = tmp_path / "cache", Manifest(manifest.folder, (Split.TRAIN,))
    first = cached(clip, Crops(regions, train), folder)
    moved = write_regions(tmp_path / "moved.arrow", BOXES, "two", crop=lambda key, index: jpeg(key, index + 5))
    second = cached(clip, Crops(moved, train), folder)
    assert len(list(folder.iterdir())) == 2
    assert np.array_equal(second, decoded(clip, *((key, index + 5) for key, index in TRAIN)))
    assert not np.array_equal(first, second)


def test_crops_of_another_split_are_another_file(clip, manifest, regions, tmp_path):
    train, val = (Crops(regions, Manifest(manifest.folder, (split,))) for split in (Split.TRAIN, Split.VAL))
    assert len(cached(clip, train, tmp_path / "cache")) == 3
    assert np.array_equal(cached(clip, val, tmp_path / "cache"), decoded(clip, ("mscoco-4", 1)))


def test_pictures_and_their_crops_are_cached_apart(clip, manifest, regions, tmp_path):
    assert len(cached(clip, manifest, tmp_path / "cache")) == 5
    assert len(cached(clip, Crops(regions, manifest), tmp_path / "cache")) == 7


def test_no_rows_are_an_empty_array_of_pictures(clip, manifest, regions):
    for source in (manifest, Crops(regions, manifest)):
        found = Decoded(clip, source)[np.array([], dtype=np.int64)]
        assert (found.shape, found.dtype) == ((0, 3, 32, 32), np.uint8)


def test_pictures_without_any_box_have_no_crops(clip, manifest, tmp_path):
    crops = Crops(write_regions(tmp_path / "regions.arrow", dict.fromkeys(BOXES, 0)), manifest)
    assert (len(crops), list(crops.images("read"))) == (0, [])
    assert crops.start.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(Decoded(clip, crops)) == 0
    rows = cached(clip, crops, tmp_path / "cache")
    assert (rows.shape, rows.dtype) == ((0, 3, 32, 32), np.uint8)


def test_a_picture_whose_first_region_is_a_crop_is_refused(manifest, regions, tmp_path):
    keys, index = regions.strings("key"), regions.integers("region_index").copy()
    index[keys.index("mscoco-3")] = 3
    columns = {name: regions.columns[name].to_pylist() for name in REGIONS.names} | {"region_index": index}
    with TableWriter(tmp_path / "other.arrow", REGIONS, {"fingerprint": "other"}) as writer:
        writer.write(columns)
    with pytest.raises(ContractError, match=r"other\.arrow has no region 0 of mscoco-3"):
        Crops(Table(tmp_path / "other.arrow"), manifest)
