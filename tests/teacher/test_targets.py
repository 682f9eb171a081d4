import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_features import SAMPLES, D, write_features
from tiny_manifest import write_manifest
from tiny_models import unit_rows

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, Split, embeddings
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, Table
from pipeline.artifacts.targets import Targets
from pipeline.artifacts.workspace import Workspace
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.targets import write

ROWS = [
    ("mscoco-1", -1), ("mscoco-1", 0), ("mscoco-1", 1), ("flickr30k-2", -1), ("flickr30k-2", 0),
    ("cc-3", -1), ("cc-3", 0), ("cc-3", 1), ("cc-3", 2),
]  # fmt: skip
Z = unit_rows(len(ROWS), D, seed=1)


@pytest.fixture
def manifest(tmp_path):
    whole = write_manifest(tmp_path / "curate", SAMPLES)
    return Manifest(whole.folder, (Split.TRAIN,))


def put(path, manifest, rows=ROWS, z=Z, changed=None):
    metadata = {"manifest": manifest.fingerprint, "weights": "w", "fingerprint": "f", **(changed or {})}
    with EmbeddingWriter(path, embeddings("caption_index", dimension=D, name="z"), metadata) as writer:
        keys, index = zip(*rows, strict=True)
        writer.write(keys, index, z)
    return path


def read(path, manifest, **expected):
    return Targets(Table(path, manifest=manifest.fingerprint, **expected), manifest)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return MetaTeacher(D, heads=2).eval()


@pytest.fixture
def features(tmp_path, manifest):
    whole = write_manifest(tmp_path / "curate", SAMPLES)
    write_features(tmp_path / "features", whole, rows=lambda ns: np.stack([unit_rows(D, seed=int(n)) for n in ns]))
    return FeatureSet(manifest, Workspace(tmp_path), SpanKind.PHRASES)


def test_hand_written_targets_come_back_by_picture_and_by_caption(tmp_path, manifest):
    found = read(put(tmp_path / "targets.arrow", manifest), manifest, weights="w")
    half = Z.astype(np.float16)
    assert np.array_equal(found.images, half[[0, 3, 5]])
    assert np.array_equal(found.pairs, half[[1, 2, 4, 6, 7, 8]])
    assert found.metadata["fingerprint"] == "f"


def test_the_teachers_targets_pass_every_check(tmp_path, manifest, features, teacher):
    path = tmp_path / "targets.arrow"
    counts = write(teacher, features, path, {"manifest": manifest.fingerprint, "weights": "w"})
    assert (counts["images"], counts["pairs"]) == (3, 6)
    table = Table(path)
    assert list(zip(table.strings("key"), table.integers("caption_index"), strict=True)) == ROWS
    found = read(path, manifest)
    owner = [0, 0, 1, 2, 2, 2]
    cosine = (found.images[owner].astype(np.float32) * found.pairs.astype(np.float32)).sum(1)
    assert counts["cosine_of_image_and_pair"] == pytest.approx(cosine.mean(), abs=2e-3)


def test_each_target_is_the_teachers_embedding_of_its_own_picture_and_caption(tmp_path, manifest, features, teacher):
    path = tmp_path / "targets.arrow"
    write(teacher, features, path, {"manifest": manifest.fingerprint})
    found = read(path, manifest)
    captions = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]
    for stored, (row, caption), with_text in [
        *((found.pairs[i], place, True) for i, place in enumerate(captions)),
        *((found.images[i], (i, 0), False) for i in range(3)),
    ]:
        b = features.batch(np.array([row]), np.array([caption]), np.array([with_text]))
        with torch.inference_mode():
            wanted = teacher(b.regions, b.region_mask, b.spans, b.span_mask)[0].numpy()
        np.testing.assert_allclose(stored.astype(np.float32), wanted, atol=2e-3)


def test_a_caption_without_spans_has_the_target_of_its_picture(tmp_path, manifest, features, teacher):
    path = tmp_path / "targets.arrow"
    write(teacher, features, path, {"manifest": manifest.fingerprint})
    found = read(path, manifest)
    np.testing.assert_allclose(found.pairs[2], found.images[1], atol=1e-3)
    assert np.abs(found.pairs[0] - found.images[0]).max() > 1e-2


def test_the_image_target_does_not_change_with_the_captions_spans(tmp_path, manifest, features, teacher):
    write(teacher, features, tmp_path / "before.arrow", {"manifest": manifest.fingerprint})
    features.span_embeddings = features.span_embeddings[::-1] * np.float16(0.5)
    write(teacher, features, tmp_path / "after.arrow", {"manifest": manifest.fingerprint})
    before, after = (read(tmp_path / f"{n}.arrow", manifest) for n in ("before", "after"))
    assert np.array_equal(before.images, after.images)
    assert not np.array_equal(before.pairs, after.pairs)


def changed_row(place, row):
    return [row if i == place else old for i, old in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:-1], "3 targets of cc-3, expected 4"),
        (ROWS[1:], "2 targets of mscoco-1, expected 3"),
        ([*ROWS, ("cc-3", 3)], "5 targets of cc-3, expected 4"),
        ([*ROWS, ("mscoco-4", -1)], r"row 9 has key 'mscoco-4', which does not follow the manifest's order of 3 keys"),
        (ROWS[3:] + ROWS[:3], r"row 6 has key 'mscoco-1', which does not follow the manifest's order"),
        (changed_row(4, ("flickr30k-9", 0)), r"row 4 has key 'flickr30k-9'"),
        (changed_row(4, ("flickr30k-2", 1)), "caption_index does not count from -1"),
        ([ROWS[1], ROWS[0], *ROWS[2:]], "caption_index does not count from -1"),
    ],
    ids=["last missing", "first missing", "one too many", "another split's", "another order", "another key",
         "another index", "index out of order"],
)  # fmt: skip
def test_wrong_rows_are_refused(tmp_path, manifest, rows, message):
    path = put(tmp_path / "targets.arrow", manifest, rows, unit_rows(len(rows), D))
    with pytest.raises(ContractError, match=message):
        read(path, manifest)


@pytest.mark.parametrize("length", [0.0, 0.99, 1.01, 2.0])
def test_a_target_that_is_not_unit_length_is_named(tmp_path, manifest, length):
    z = Z.copy()
    z[7] *= length
    with pytest.raises(ContractError, match=r"row 7 \(cc-3\) has length [\d.]+, expected 1"):
        read(put(tmp_path / "targets.arrow", manifest, z=z), manifest)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_target_that_is_not_finite_is_named(tmp_path, manifest, value):
    path = put(tmp_path / "targets.arrow", manifest)
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    z = Z.astype(np.float16)
    z[4, 2] = value
    column = pa.FixedSizeListArray.from_arrays(pa.array(z.ravel(), pa.float16()), D)
    table = table.set_column(2, table.schema.field("z"), column)
    other = tmp_path / "other.arrow"
    with pa.ipc.new_file(str(other), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ContractError, match=r"row 4 \(flickr30k-2\) has length (nan|inf), expected 1"):
        read(other, manifest)


@pytest.mark.parametrize("field", ["manifest", "weights"])
def test_targets_of_another_origin_name_both_sides(tmp_path, manifest, field):
    path = put(tmp_path / "targets.arrow", manifest, changed={field: "stale"})
    with pytest.raises(ContractError, match=rf"{field} is 'stale', expected"):
        read(path, manifest, weights="w")


def test_no_targets_say_what_to_run(tmp_path, manifest):
    with pytest.raises(ContractError, match="dvc repro targets"):
        read(tmp_path / "targets/targets.arrow", manifest)


def test_another_table_in_its_place_is_refused(tmp_path, manifest, features):
    with pytest.raises(ContractError, match="found columns"):
        read(tmp_path / "features/captions.arrow", manifest)


@pytest.mark.parametrize("inputs", ["regions", "text"])
def test_the_table_is_the_same_bytes_however_many_are_in_memory(
    tmp_path, manifest, features, teacher, monkeypatch, inputs
):
    made = FeatureSet(manifest, Workspace(tmp_path), SpanKind.PHRASES, inputs)
    found = []
    for images in (512, 2, 1):
        monkeypatch.setattr("pipeline.teacher.targets._IMAGES", images)
        path = tmp_path / f"{images}.arrow"
        found.append((write(teacher, made, path, {}), path.read_bytes()))
    assert found[0] == found[1] == found[2]
