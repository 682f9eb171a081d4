import json
import tarfile

import pytest
import webdataset as wds
from tiny_corpora import picture, png

from pipeline.artifacts import shards
from pipeline.errors import InputError


def records(count, first=0):
    numbers = range(first, first + count)
    return [shards.record(f"mscoco-{i:03d}", "png", png(i), captions=[f"café {i}"]) for i in numbers]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_samples_are_placed_in_order_shard_by_shard(tmp_path):
    shards.write(tmp_path, records(5), per_shard=2)
    for name, keys in (("000000", "01"), ("000001", "23"), ("000002", "4")):
        with tarfile.open(tmp_path / f"{name}.tar") as tar:
            found = [m.name for m in tar.getmembers() if m.name.endswith(".png")]
        assert found == [f"mscoco-00{k}.png" for k in keys]
    assert names(tmp_path) == ["000000.tar", "000001.tar", "000002.tar"]


def test_a_full_last_shard_is_not_followed_by_an_empty_one(tmp_path):
    shards.write(tmp_path, records(4), per_shard=2)
    assert names(tmp_path) == ["000000.tar", "000001.tar"]


def test_what_is_written_is_read_back_in_order(tmp_path):
    shards.write(tmp_path, records(5), per_shard=2)
    found = list(shards.read(tmp_path))
    assert [key for key, _, _ in found] == [f"mscoco-{i:03d}" for i in range(5)]
    assert [data for _, data, _ in found] == [png(i) for i in range(5)]
    assert found[3][2] == {"captions": ["café 3"]}


def test_plain_webdataset_reads_a_shard(tmp_path):
    shards.write(tmp_path, records(2), per_shard=2)
    samples = list(wds.WebDataset(str(tmp_path / "000000.tar"), shardshuffle=False).decode("pil"))
    assert [s["__key__"] for s in samples] == ["mscoco-000", "mscoco-001"]
    assert samples[1]["png"].tobytes() == picture(1).tobytes()
    assert samples[1]["json"] == {"captions": ["café 1"]}


def test_the_same_samples_are_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        shards.write(tmp_path / folder, records(3), per_shard=2)
    for name in ("000000.tar", "000001.tar"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_time_and_no_user_stands_in_a_shard(tmp_path):
    shards.write(tmp_path, records(1), per_shard=1)
    with tarfile.open(tmp_path / "000000.tar") as tar:
        members = tar.getmembers()
    assert sorted(m.name for m in members) == ["mscoco-000.json", "mscoco-000.png"]
    assert {(m.mtime, m.uname, m.gname) for m in members} == {(0, "", "")}


def test_an_error_on_the_way_leaves_whole_shards_only(tmp_path):
    def broken():
        yield from records(3)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        shards.write(tmp_path, broken(), per_shard=2)
    assert names(tmp_path) == ["000000.tar"]
    assert [key for key, _, _ in shards.read(tmp_path)] == ["mscoco-000", "mscoco-001"]


def test_writing_fewer_samples_again_leaves_nothing_of_the_first_time(tmp_path):
    shards.write(tmp_path, records(4), per_shard=2)
    shards.write(tmp_path, records(1, first=7), per_shard=2)
    assert [key for key, _, _ in shards.read(tmp_path)] == ["mscoco-007"]


def test_no_samples_are_no_shards(tmp_path):
    shards.write(tmp_path, [], per_shard=2)
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_folder_without_shards_is_an_error_that_names_it(tmp_path, folder):
    with pytest.raises(InputError, match="no shards") as caught:
        next(shards.read(tmp_path / folder))
    assert str(tmp_path / folder) in str(caught.value)


def test_a_sample_without_an_image_is_an_error_that_names_it(tmp_path):
    with tarfile.open(tmp_path / "000000.tar", "w") as tar:
        (tmp_path / "text").write_text(json.dumps({"captions": []}))
        tar.add(tmp_path / "text", "mscoco-001.json")
    with pytest.raises(InputError, match="mscoco-001 has no image"):
        next(shards.read(tmp_path))


def read_at(path, offset, length):
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def test_the_places_of_images_hold_their_bytes(tmp_path):
    shards.write(tmp_path, records(5), per_shard=3)
    found = [(key, read_at(path, *place)) for path in sorted(tmp_path.iterdir()) for key, *place in shards.places(path)]
    assert found == [(key, data) for key, data, _ in shards.read(tmp_path)]


def test_images_of_every_format_and_length_have_a_place(tmp_path):
    sizes = {"jpg": 1, "png": 511, "webp": 512, "gif": 513}
    samples = [shards.record(f"a-{name}", name, bytes([7]) * size, n=size) for name, size in sizes.items()]
    shards.write_one(tmp_path / "000000.tar", samples)
    found = list(shards.places(tmp_path / "000000.tar"))
    assert [(key, length) for key, _, length in found] == [(f"a-{name}", size) for name, size in sizes.items()]
    assert all(read_at(tmp_path / "000000.tar", *place) == bytes([7]) * place[1] for _, *place in found)


def test_places_in_a_shard_that_is_not_there_are_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"there is no shard .*000003\.tar; run the stage"):
        list(shards.places(tmp_path / "000003.tar"))


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100], ids=["empty", "other bytes"])
def test_places_in_a_damaged_shard_are_an_error_that_says_what_to_do(tmp_path, content):
    path = tmp_path / "000000.tar"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"000000\.tar is damaged .*run: dvc checkout"):
        list(shards.places(path))


@pytest.mark.parametrize("length", [300, 700])
def test_places_in_a_shard_that_was_cut_short_are_an_error_that_says_what_to_do(tmp_path, length):
    shards.write(tmp_path, records(3), per_shard=3)
    path = tmp_path / "000000.tar"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"000000\.tar is damaged .*run: dvc checkout"):
        list(shards.places(path))


def test_a_shard_that_is_damaged_is_refused_however_it_is_read(tmp_path):
    shards.write(tmp_path, records(3), per_shard=3)
    path = tmp_path / "000000.tar"
    offset = list(shards.places(path))[1][1] - 512
    path.write_bytes(path.read_bytes()[:offset] + bytes(1024) + path.read_bytes()[offset + 1024 :])
    for read in (shards.read_one, shards.places):
        with pytest.raises(InputError, match=rf"is damaged or cut short at byte {offset}.*run: dvc checkout"):
            list(read(path))


@pytest.mark.parametrize("record", [b"{", b"\xff", b"[" * 5000])
def test_a_record_that_is_no_json_is_named(tmp_path, record):
    shards.write_one(tmp_path / "000000.tar", [{"__key__": "a", "png": png(1), "json": record}])
    with pytest.raises(InputError, match=r"000000\.tar: a\.json"):
        list(shards.read_one(tmp_path / "000000.tar"))


def test_two_images_of_one_sample_are_named(tmp_path):
    shards.write_one(tmp_path / "000000.tar", [{"__key__": "a", "png": png(1), "jpg": png(2), "json": b"{}"}])
    with pytest.raises(InputError, match="a has 2 images"):
        list(shards.read_one(tmp_path / "000000.tar"))
