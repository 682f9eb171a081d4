import pytest
from tiny_manifest import png, write_manifest
from tiny_models import picture

from pipeline.artifacts import tables
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split

SAMPLES = {f"cc-{i}": [f"caption {i}"] for i in range(4)}


@pytest.fixture
def folder(tmp_path):
    write_manifest(tmp_path, {Split.TEST: SAMPLES})
    return tmp_path


@pytest.mark.parametrize("keep", [0, 100, -1], ids=["empty", "half", "but a byte"])
def test_a_damaged_manifest_is_named_with_what_to_do(folder, keep):
    path = folder / "manifest.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(tables.ContractError, match=r"manifest\.parquet is damaged .*run: dvc checkout, or dvc repro"):
        Manifest(folder)


def test_pictures_are_read_in_any_order_under_their_keys(folder):
    pictures = Manifest(folder).image_files
    assert [str(one) for one in pictures] == list(SAMPLES)
    assert [pictures[i].read_bytes() for i in (2, 0)] == [png(picture(i)) for i in (2, 0)]


def test_a_picture_with_other_bytes_is_refused(folder):
    pictures = Manifest(folder).image_files
    shard = next(folder.glob("test/*.tar"))
    shard.write_bytes(shard.read_bytes().replace(png(picture(1)), png(picture(1))[::-1]))
    assert pictures[0].read_bytes() == png(picture(0))
    with pytest.raises(tables.ContractError, match="the image of cc-1 has sha256"):
        pictures[1].read_bytes()


def test_every_caption_has_an_image_and_a_place_among_those_of_its_image(tmp_path):
    given = {"cc-1": ["a", "b"], "cc-2": ["c"], "cc-3": ["d", "e", "f"]}
    manifest = write_manifest(tmp_path, {Split.TRAIN: given})
    assert manifest.texts == ["a", "b", "c", "d", "e", "f"]
    assert manifest.owner.tolist() == [0, 0, 1, 2, 2, 2]
    assert manifest.caption_index.tolist() == [0, 1, 0, 0, 1, 2]
    nothing = Manifest(tmp_path, (Split.VAL,))
    assert nothing.texts == nothing.owner.tolist() == nothing.caption_index.tolist() == []
