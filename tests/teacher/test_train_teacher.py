import numpy as np
import pytest
import torch
from tiny_gpu import PretendedGpu
from tiny_manifest import write_manifest
from tiny_models import unit_rows

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, Split, embeddings
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.artifacts.weights import weights_hash
from pipeline.artifacts.workspace import Workspace
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.train import TeacherTraining, embed_images, embed_pairs, retrieval_of, train

D = 8


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """48 training and 12 validation images: a caption's spans and embedding lie near one of the image's regions."""
    folder = tmp_path_factory.mktemp("data") / "features"
    samples = {
        Split.TRAIN: {f"mscoco-{i}": [f"{i} a", f"{i} b"] for i in range(48)},
        Split.VAL: {f"mscoco-{i}": [f"{i} a"] for i in range(48, 60)},
    }
    manifest = write_manifest(folder / "curate", samples)
    metadata = {"manifest": manifest.fingerprint, "weights": "w", "features": "f"}
    with (
        EmbeddingWriter(folder / "captions.arrow", embeddings("caption_index", dimension=D), metadata) as captions,
        EmbeddingWriter(folder / "regions.arrow", embeddings("region_index", dimension=D), metadata) as regions,
        EmbeddingWriter(
            folder / "spans/phrases.arrow", embeddings("caption_index", "span_index", dimension=D), metadata
        ) as spans,
    ):
        for i, (key, texts) in enumerate(zip(manifest.keys, manifest.captions, strict=True)):
            own = unit_rows(3, D, seed=i)
            regions.write([key] * 3, range(3), own)
            turned = own[: len(texts)] + 0.3 * unit_rows(len(texts), D, seed=100 + i)
            turned /= np.linalg.norm(turned, axis=1, keepdims=True)
            captions.write([key] * len(texts), range(len(texts)), turned[:, ::-1])
            spans.write([key] * len(texts), range(len(texts)), [0] * len(texts), turned[:, ::-1])
    return [
        FeatureSet(Manifest(manifest.folder, (s,)), Workspace(folder.parent), SpanKind.PHRASES)
        for s in (Split.TRAIN, Split.VAL)
    ]


def teacher(seed=0):
    torch.manual_seed(seed)
    return MetaTeacher(D, heads=2)


def how(**changed):
    settings = {"epochs": 6, "batch": 16, "lr": 5e-3, "temperature": 0.1, "caption_dropout": 0.5, "seed": 2}
    return TeacherTraining(**{**settings, **changed})


def test_training_lowers_the_loss_and_reports_both_directions(sets):
    made = teacher()
    history = train(made, *sets, how(caption_dropout=0.0)).history
    assert history[-1]["loss"] < 0.9 * history[1]["loss"]
    assert set(history[0]) == {"epoch", "val_text_to_image_recall@1", "val_image_to_text_recall@1"}
    assert not made.training


def test_equal_seeds_train_equal_teachers(sets):
    def trained(seed):
        made = teacher()
        train(made, *sets, how(epochs=2, seed=seed))
        return weights_hash(made.state_dict())

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_the_best_epoch_is_that_of_its_image_only_targets(sets):
    made = teacher()
    result = train(made, *sets, how())
    scores = [r["val_text_to_image_recall@1"] + r["val_image_to_text_recall@1"] for r in result.history[1:]]
    assert result.best_epoch == 1 + int(np.argmax(scores))
    now = retrieval_of(embed_images(made, sets[1]), sets[1])
    assert now["text_to_image"] + now["image_to_text"] == max(scores)


def test_without_caption_dropout_the_last_epoch_is_taken(sets):
    """Image-only targets are not trained then, so there is nothing to choose by."""
    trained = train(teacher(), *sets, how(caption_dropout=0.0))
    assert trained.best["epoch"] == 6


def test_embedding_does_not_depend_on_the_batch(sets):
    made = teacher().eval()
    for embed, count in ((embed_images, 48), (embed_pairs, 96)):
        found = embed(made, sets[0])
        assert found.shape == (count, D)
        torch.testing.assert_close(embed(made, sets[0], batch=7), found, atol=1e-5, rtol=0)


def test_pairs_stand_in_the_order_of_the_captions_table(sets):
    made = teacher().eval()
    pairs = embed_pairs(made, sets[0])
    for caption in (0, 1, 2, 50, 95):
        b = sets[0].batch(np.array([caption // 2]), np.array([caption % 2]), np.array([True]))
        with torch.inference_mode():
            alone = made(b.regions, b.region_mask, b.spans, b.span_mask)[0]
        torch.testing.assert_close(pairs[caption], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dropout", "low", "high"), [(0.0, 1.0, 1.0), (0.5, 0.35, 0.65)])
def test_caption_dropout_masks_its_share_of_rows(sets, monkeypatch, dropout, low, high):
    given = []
    batch = FeatureSet.batch

    def spy(self, rows, captions, with_text):
        if self is sets[0]:
            given.append(with_text)
        return batch(self, rows, captions, with_text)

    monkeypatch.setattr(FeatureSet, "batch", spy)
    train(teacher(), *sets, how(epochs=4, caption_dropout=dropout))
    assert low <= np.concatenate(given).mean() <= high


def test_retrieval_of_perfect_targets_is_perfect(sets):
    captions = torch.from_numpy(sets[1].caption_embeddings.astype(np.float32))
    assert retrieval_of(captions, sets[1]) == {"text_to_image": 1.0, "image_to_text": 1.0}


def test_a_gpus_way_to_the_batches_trains_the_same_teacher(sets, monkeypatch):
    plain, piped = teacher(), teacher()
    wanted = train(plain, *sets, how(epochs=2))
    gpu = PretendedGpu(monkeypatch)
    assert train(piped, *sets, how(epochs=2)) == wanted
    assert weights_hash(piped.state_dict()) == weights_hash(plain.state_dict())
    assert gpu.journal.count(("receive", 0)) == 2 + 3, "two epochs, and a validation before and after each"
