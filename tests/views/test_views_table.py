import numpy as np
import pyarrow as pa
import pytest
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, tiny_clip

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import VIEWS, Split
from pipeline.artifacts.tables import ContractError, Table
from pipeline.clip import encode
from pipeline.clip.cached import CachedClip
from pipeline.distillation.pixels import Decoded, cached
from pipeline.images import decoding
from pipeline.machine.batches import batches
from pipeline.views import view
from pipeline.views.table import ViewsOf, write
from pipeline.views.view import Augmentation, apply, drawn

SAMPLES = {Split.TRAIN: {key: [key] for key in "abcde"}, Split.TEST: {"f": ["f"]}}
HOW = Augmentation(area=0.3, flip=0.5, colour=0.4)


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return Manifest(write_manifest(tmp_path_factory.mktemp("curate"), SAMPLES).folder, (Split.TRAIN,))


def written(train, path, count=3, how=HOW, seed=0):
    write(train, path, how, count=count, seed=seed)
    return Table(path, VIEWS, manifest=train.fingerprint)


@pytest.fixture
def views(train, tmp_path):
    return ViewsOf(train, written(train, tmp_path / "views.arrow"))


def test_a_row_is_a_view_of_an_image_from_1_in_manifest_order(train, views):
    assert (len(views), views.count) == (15, 3)
    assert views.keys == [key for key in "abcde" for _ in range(3)]
    assert views.numbers.tolist() == [1, 2, 3] * 5
    assert [views.view(row) for row in range(15)] == [drawn(0, k, n, HOW) for k in "abcde" for n in (1, 2, 3)]


def test_the_same_parameters_write_the_same_bytes_and_others_another_fingerprint(train, tmp_path):
    first = written(train, tmp_path / "a.arrow")
    written(train, tmp_path / "b.arrow")
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "b.arrow").read_bytes()
    others = [
        written(train, tmp_path / "c.arrow", **changed).metadata["fingerprint"]
        for changed in ({"seed": 1}, {"count": 2}, {"how": Augmentation(0.3, 0.5, 0.3)})
    ]
    assert len({first.metadata["fingerprint"], *others}) == 4


def test_more_views_leave_those_that_there_were(train, tmp_path):
    few, many = (ViewsOf(train, written(train, tmp_path / f"{n}.arrow", count=n)) for n in (2, 4))
    assert [few.view(row) for row in (0, 1)] == [many.view(row) for row in (0, 1)]
    assert few.store_keys[2:4].tolist() == many.store_keys[4:6].tolist()


def test_without_views_there_is_an_empty_table(train, tmp_path):
    none = ViewsOf(train, written(train, tmp_path / "none.arrow", count=0))
    assert (len(none), none.count, none.store_keys.shape) == (0, 0, (0, 2))


def changed(path, train, change):
    table = pa.ipc.open_file(path).read_all()
    with pa.ipc.new_file(path.with_suffix(".new"), table.schema) as writer:
        writer.write_table(change(table))
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.take(pa.array([1, 0, *range(2, 15)])), r"row 0 \(a\) has view 2, expected 1"),
        (lambda table: table.take(pa.array([*range(3, 15), 0, 1, 2])), "row 0 has key 'b', expected 'a'"),
    ],
)
def test_rows_in_another_order_are_refused(train, tmp_path, change, message):
    path = tmp_path / "views.arrow"
    written(train, path)
    changed(path, train, change)
    with pytest.raises(ContractError, match=message):
        ViewsOf(train, Table(path, VIEWS))


def test_a_table_that_lacks_a_row_is_refused(train, tmp_path):
    path = tmp_path / "views.arrow"
    with_all = written(train, path)
    broken = object.__new__(Table)
    broken.__dict__ |= {**with_all.__dict__, "columns": with_all.columns.slice(0, 14)}
    with pytest.raises(ContractError, match="14 keys, expected 10"):
        ViewsOf(train, broken)


# The same pixels for teachers and students


def pixels_by_hand(clip, train):
    to_pixels = clip.pixels()
    images = [decoding.decode(data) for _, data in train.images("read")]
    return np.stack([to_pixels(apply(image, drawn(0, k, n, HOW))) for k, image in zip("abcde", images, strict=True)
                     for n in (1, 2, 3)])  # fmt: skip


def test_a_students_pixels_are_those_of_the_views(clip, train, views, tmp_path):
    wanted = pixels_by_hand(clip, train)
    assert len({row.tobytes() for row in wanted}) == 15
    assert np.array_equal(cached(clip, views, tmp_path / "pixels"), wanted)
    rows = np.array([14, 0, 7, 7])
    assert np.array_equal(Decoded(clip, views)[rows], wanted[rows])


@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_teacher_embedded_is_what_the_student_sees(clip, train, views, tmp_path, workers):
    teacher = CachedClip(clip, encode.Compute("cpu", "float32", COMPUTE.batch, workers), tmp_path / "store")
    assert teacher.embed_views(views, "embed views") == 15
    pixels = cached(clip, views, tmp_path / "pixels", workers)
    seen = np.concatenate([encode.images(clip, part, COMPUTE) for part in batches(pixels, COMPUTE.batch)])
    assert np.array_equal(teacher.views.vectors(views.store_keys), seen.astype(np.float16))


def test_only_new_views_are_embedded(clip, train, tmp_path):
    few, many = (ViewsOf(train, written(train, tmp_path / f"{n}.arrow", count=n)) for n in (2, 3))
    teacher = CachedClip(clip, COMPUTE, tmp_path / "store")
    assert teacher.embed_views(few, "embed views") == 10
    assert teacher.embed_views(many, "embed views") == 5
    assert teacher.embed_views(many, "embed views") == 0


def test_other_code_of_views_is_another_collection(clip, views, tmp_path, monkeypatch):
    before = CachedClip(clip, COMPUTE, tmp_path).views.folder
    monkeypatch.setattr(view, "CODE", "raised")
    assert CachedClip(clip, COMPUTE, tmp_path).views.folder != before


def test_the_whole_images_are_another_collection_than_views(clip, tmp_path):
    teacher = CachedClip(clip, COMPUTE, tmp_path)
    assert teacher.views.folder != teacher.images.folder
