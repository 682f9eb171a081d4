import numpy as np
import pytest
import torch
from tiny_features import SAMPLES, D, number, rows, write_features
from tiny_manifest import write_manifest

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, Split, embeddings
from pipeline.artifacts.tables import ContractError, EmbeddingWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.teacher.data import FeatureSet, ragged

KEYS = ["mscoco-1", "flickr30k-2", "cc-3"]


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path / "curate", SAMPLES)


@pytest.fixture
def folder(tmp_path, manifest):
    write_features(tmp_path / "features", manifest)
    return tmp_path / "features"


def training(manifest):
    return Manifest(manifest.folder, (Split.TRAIN,))


def batch(features, numbers, captions, with_text=None):
    with_text = [True] * len(numbers) if with_text is None else with_text
    return features.batch(np.array(numbers), np.array(captions), np.array(with_text))


def real(found, mask):
    """Whose vectors they are, row by row; padding must be zero."""
    assert (found[~mask] == 0).all()
    assert found.dtype == torch.float32
    return [row[keep][:, 0].int().tolist() for row, keep in zip(found, mask, strict=True)]


def test_ragged_by_hand():
    values = np.array([[1, 1], [2, 2], [3, 3], [4, 4]], dtype=np.float16)
    found, mask = ragged(values, np.array([0, 3, 1]), np.array([2, 1, 0]))
    assert found.tolist() == [[[1, 1], [2, 2]], [[4, 4], [0, 0]], [[0, 0], [0, 0]]]
    assert mask.tolist() == [[True, True], [True, False], [False, False]]
    assert (found.dtype, mask.dtype) == (torch.float32, torch.bool)


def test_ragged_of_nothing_still_has_a_place():
    found, mask = ragged(np.zeros((0, 3), np.float16), np.array([0, 0]), np.array([0, 0]))
    assert found.shape == (2, 1, 3)
    assert not found.any() and not mask.any()


def test_ragged_may_begin_at_the_end_of_its_values():
    found, mask = ragged(np.ones((2, 3), np.float16), np.array([2, 0]), np.array([0, 2]))
    assert not found[0].any() and not mask[0].any()
    assert mask[1].tolist() == [True, True]


def test_a_batch_holds_the_regions_of_its_pictures(manifest, folder):
    features = FeatureSet(training(manifest), Workspace(folder.parent), SpanKind.PHRASES)
    assert (len(features), features.dimension, features.weights, features.fingerprint) == (3, D, "w", "f")
    found = batch(features, [2, 0, 1], [0, 0, 0])
    assert real(found.regions, found.region_mask) == [[300, 310, 320], [100, 110], [200]]


@pytest.mark.parametrize(
    ("key", "caption", "spans"),
    [
        ("mscoco-1", 0, [100, 101]),
        ("mscoco-1", 1, [110]),
        ("flickr30k-2", 0, []),
        ("cc-3", 0, [300]),
        ("cc-3", 1, []),
        ("cc-3", 2, [320, 321, 322]),
    ],
)
def test_a_caption_gets_its_own_spans_and_vector(manifest, folder, key, caption, spans):
    features = FeatureSet(training(manifest), Workspace(folder.parent), SpanKind.PHRASES)
    found = batch(features, [KEYS.index(key)], [caption])
    assert real(found.spans, found.span_mask) == [spans]
    assert found.caption.tolist() == [[number(key, caption)] * D]


def test_a_row_without_text_has_no_spans_and_keeps_its_caption(manifest, folder):
    features = FeatureSet(training(manifest), Workspace(folder.parent), SpanKind.PHRASES)
    found = batch(features, [0, 2, 2], [0, 2, 2], [False, True, False])
    assert real(found.spans, found.span_mask) == [[], [320, 321, 322], []]
    assert found.caption[:, 0].tolist() == [100, 320, 320]


def test_equal_captions_of_different_pictures_are_marked(manifest, folder):
    features = FeatureSet(training(manifest), Workspace(folder.parent), SpanKind.PHRASES)
    assert batch(features, [1, 2, 0], [0, 0, 1]).same.tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
    assert torch.equal(batch(features, [1, 2, 0], [0, 1, 1]).same, torch.eye(3, dtype=torch.bool))


def test_a_split_reads_its_own_rows_of_the_tables(manifest, folder):
    features = FeatureSet(Manifest(manifest.folder, (Split.VAL,)), Workspace(folder.parent), SpanKind.PHRASES)
    found = batch(features, [0], [0])
    assert len(features) == 1
    assert real(found.regions, found.region_mask) == [[400]]
    assert real(found.spans, found.span_mask) == [[400, 401]]


def test_every_caption_is_drawn_and_no_other(manifest, folder):
    features = FeatureSet(training(manifest), Workspace(folder.parent), SpanKind.PHRASES)
    rng = np.random.default_rng(0)
    drawn = [
        set(column) for column in zip(*[features.random_captions(np.arange(3), rng) for _ in range(60)], strict=True)
    ]
    assert drawn == [{0, 1}, {0}, {0, 1, 2}]


def test_a_kind_of_span_that_was_not_embedded_names_the_parameter(manifest, folder):
    with pytest.raises(ContractError, match=r"tokens\.arrow does not exist.*add tokens to features\.spans"):
        FeatureSet(manifest, Workspace(folder.parent), SpanKind.TOKENS)


@pytest.mark.parametrize("table", ["regions", "spans"])
@pytest.mark.parametrize("field", ["manifest", "weights", "features"])
def test_a_table_of_another_origin_names_both_sides(tmp_path, manifest, table, field):
    write_features(tmp_path / "other/features", manifest, **{table: {field: "stale"}})
    with pytest.raises(ContractError, match=rf"{field} is 'stale', expected '\w+'"):
        FeatureSet(manifest, Workspace(tmp_path / "other"), SpanKind.PHRASES)


def test_features_of_another_curation_are_refused(tmp_path, folder):
    other = write_manifest(tmp_path / "other", {Split.TRAIN: {"mscoco-1": ["one a", "one b"]}})
    with pytest.raises(ContractError, match="manifest is"):
        FeatureSet(other, Workspace(folder.parent), SpanKind.PHRASES)


def test_a_missing_table_names_its_stage(manifest, folder):
    (folder / "regions.arrow").unlink()
    with pytest.raises(ContractError, match=r"regions\.arrow does not exist.*dvc repro features"):
        FeatureSet(manifest, Workspace(folder.parent), SpanKind.PHRASES)


def rewrite_captions(folder, manifest, keys, index):
    metadata = {"manifest": manifest.fingerprint, "weights": "w", "features": "f"}
    with EmbeddingWriter(folder / "captions.arrow", embeddings("caption_index", dimension=D), metadata) as writer:
        writer.write(keys, index, rows([0] * len(keys)))


def test_a_missing_caption_names_key_and_counts(manifest, folder):
    keys = ["mscoco-1", "flickr30k-2", "cc-3", "cc-3", "cc-3", "mscoco-4"]
    rewrite_captions(folder, manifest, keys, [0, 0, 0, 1, 2, 0])
    with pytest.raises(ContractError, match="1 captions of mscoco-1, expected 2"):
        FeatureSet(manifest, Workspace(folder.parent), SpanKind.PHRASES)


def test_rows_in_another_order_are_refused(manifest, folder):
    keys = ["flickr30k-2", "mscoco-1", "mscoco-1", "cc-3", "cc-3", "cc-3", "mscoco-4"]
    rewrite_captions(folder, manifest, keys, [0, 0, 1, 0, 1, 2, 0])
    with pytest.raises(ContractError, match="does not follow the manifest's order"):
        FeatureSet(manifest, Workspace(folder.parent), SpanKind.PHRASES)
