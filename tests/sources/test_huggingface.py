import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.feather as feather
import pytest
from reading import places, read, texts
from tiny_corpora import png, write
from tiny_kinds import saved

from pipeline.sources import Caption, Image, Rejected, SourceError


def dataset(path, **options):
    found = list(read("huggingface", path, **options))
    return tuple([row for row in found if isinstance(row, kind)] for kind in (Image, Caption, Rejected))


def table(numbers, **more):
    images = [{"bytes": png(n), "path": f"{n}.jpg"} for n in numbers]
    return pa.table({"image": images, "caption": [[f"dog {n}", f"cat {n}"] for n in numbers], **more})


def test_splits_are_folders_and_images_stay_where_they_are(tmp_path):
    saved(tmp_path, {"train": table(range(12)), "test": table([20])})
    images, captions, rejected = dataset(tmp_path)
    assert [i.file.read() for i in images] == [png(n) for n in [*range(12), 20]]
    assert [i.evaluation for i in images] == [None] * 12 + ["test"]
    assert texts(captions)[:2] == [(images[0].id, "dog 0"), (images[0].id, "cat 0")]
    assert len(captions) == 26 and rejected == []
    assert all(image.file.path.endswith(".arrow") for image in images)


@pytest.mark.parametrize(("split", "known"), [("test", "test"), ("train+validation[:5%]", "val"), ("train", None)])
def test_a_dataset_says_what_split_it_was_taken_from(tmp_path, split, known):
    saved(tmp_path, {"part": table([1])})
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split}
    write(tmp_path / "part/state.json", json.dumps(state).encode())
    assert [i.evaluation for i in dataset(tmp_path)[0]] == [known]


def test_an_image_may_be_a_path_or_nothing(tmp_path):
    images = [{"bytes": None, "path": "/p/1.jpg"}, {"bytes": None, "path": None}, None, {"bytes": b"", "path": "x"}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    saved(tmp_path, {"train": pa.table({"image": pa.array(images, kind), "text": ["a", "b", "c", "d"]})})
    found, captions, _ = dataset(tmp_path)
    assert found[0].file.path == "/p/1.jpg"
    assert [i.file is None for i in found] == [False, True, True, False]
    assert found[3].file.read() == b""
    assert len(captions) == 4


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    saved(tmp_path, {"train": table(range(12))})
    path = tmp_path / "train/data-00000-of-00001.arrow"
    whole = path.read_bytes()
    for cut in (len(whole) - 8, len(whole) - 2000, len(whole) // 2):
        path.write_bytes(whole[:cut])
        images, captions, rejected = dataset(tmp_path)
        assert 5 <= len(images) <= 12 and len(captions) == 2 * len(images)
        name = "train/data-00000-of-00001.arrow"
        assert places(rejected) == [("image", name), ("caption", name)]
        assert f"after row {len(images)}" in rejected[0].detail


def test_a_compressed_file_says_so(tmp_path):
    feather.write_feather(table([1]), tmp_path / "x.arrow", compression="lz4")
    (image,), captions, _ = dataset(tmp_path)
    assert image.file is None and "is compressed" in image.note
    assert len(captions) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset_dict.json", "{"), ("dataset_dict.json", "{}"), ("dataset_dict.json", '{"splits": [1]}'),
        ("dataset_dict.json", '{"splits": ["dev"]}'), ("train/state.json", "[]"),
        ("train/state.json", '{"_data_files": [{"filename": "gone.arrow"}]}'), ("train/state.json", "{"),
    ],
)  # fmt: skip
def test_a_dataset_that_is_not_whole_is_an_error_that_names_the_file(tmp_path, name, content):
    saved(tmp_path, {"train": table([1])})
    write(tmp_path / name, content.encode())
    with pytest.raises(SourceError, match=str(tmp_path)):
        dataset(tmp_path)


def test_a_dataset_by_name_needs_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SourceError, match="pip install datasets"):
        dataset(tmp_path / "d", dataset="pets/pets")


def test_a_dataset_by_name_is_fetched_once(tmp_path, monkeypatch):
    asked = []

    class Fetched:
        def save_to_disk(self, path):
            assert path != str(tmp_path / "d"), "which would be half there where this is killed"
            saved(Path(path), {"train": table([1, 2])})

    def load_dataset(name, revision):
        asked.append((name, revision))
        return Fetched()

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    for _ in range(2):
        assert len(dataset(tmp_path / "d", dataset="pets/pets@v1")[0]) == 2
    assert asked == [("pets/pets", "v1")]
    write(tmp_path / "other/readme", b"")
    with pytest.raises(SourceError, match="holds something else"):
        dataset(tmp_path / "other", dataset="pets/pets")


def test_a_dataset_that_cannot_be_fetched_is_an_error_that_names_it(tmp_path, monkeypatch):
    def load_dataset(name, revision):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(SourceError, match=r"pets/pets cannot be fetched and saved to .*reach the Hub"):
        dataset(tmp_path / "d", dataset="pets/pets")


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_is_never_more_than_rejected_rows_or_an_error(tmp_path, seed):
    saved(tmp_path, {"train": table(range(7))})
    path = tmp_path / "train/data-00000-of-00001.arrow"
    whole, rng = path.read_bytes(), random.Random(seed)
    for _ in range(60):
        data = bytearray(whole)
        at = rng.choice([rng.randrange(len(data)), rng.randrange(3000)])
        data[at : at + 4] = rng.randbytes(4)
        path.write_bytes(data)
        try:
            images, _, rejected = dataset(tmp_path)
        except SourceError:
            continue
        assert len(images) == 7 or rejected
