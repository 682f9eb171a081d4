"""Images without captions in the meta-teacher: a target of the image alone, and no part in training."""

import numpy as np
import pytest
import tiny_features
import torch
from tiny_features import D, write_features
from tiny_manifest import write_manifest
from tiny_models import unit_rows

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import Table
from pipeline.artifacts.targets import Targets
from pipeline.artifacts.workspace import Workspace
from pipeline.errors import InputError
from pipeline.teacher import train as training
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.targets import write
from pipeline.teacher.train import TeacherTraining, train

CAPTIONS = {"mscoco-5": [], "mscoco-1": ["one a", "one b"], "mscoco-6": [], "flickr30k-2": ["a cat"], "mscoco-7": []}
BARE = [key for key, texts in CAPTIONS.items() if not texts]


def rows(numbers):
    return np.stack([unit_rows(D, seed=int(n)) for n in numbers]) if numbers else np.zeros((0, D), np.float16)


@pytest.fixture
def features(tmp_path, monkeypatch):
    for key in BARE:
        monkeypatch.setitem(tiny_features.REGIONS, key, 2)
        monkeypatch.setitem(tiny_features.SPANS, key, [])
    whole = write_manifest(tmp_path / "curate", {Split.TRAIN: CAPTIONS, Split.VAL: {"mscoco-4": ["four a"]}})
    write_features(tmp_path / "features", whole, rows=rows)

    def of(inputs="regions", split=Split.TRAIN):
        return FeatureSet(Manifest(whole.folder, (split,)), Workspace(tmp_path), SpanKind.PHRASES, inputs)

    return of


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return MetaTeacher(D, heads=2).eval()


def test_they_have_a_target_of_the_image_alone(features, teacher, tmp_path):
    found = features()
    write(teacher, found, tmp_path / "z.arrow", {"manifest": found.manifest.fingerprint})
    rows = Table(tmp_path / "z.arrow")
    places = list(zip(rows.strings("key"), rows.integers("caption_index").tolist(), strict=True))
    wanted = [(key, i) for key, texts in CAPTIONS.items() for i in range(-1, len(texts))]
    assert places == wanted
    targets = Targets(rows, found.manifest)
    assert (len(targets.images), len(targets.pairs)) == (5, 3)


def test_a_teacher_that_reads_no_images_says_that_it_has_none(features, teacher, tmp_path):
    with pytest.raises(InputError, match=r"has nothing to say of images without captions; set teacher\.inputs"):
        write(teacher, features("text"), tmp_path / "z.arrow", {})


def test_it_trains_on_captioned_images_alone(features, teacher, monkeypatch):
    seen = []
    batch = FeatureSet.batch

    def noted(self, rows, captions, with_text):
        seen.extend(rows.tolist() if self.manifest.splits == (Split.TRAIN,) else [])
        return batch(self, rows, captions, with_text)

    monkeypatch.setattr(training.FeatureSet, "batch", noted)
    how = TeacherTraining(epochs=2, batch=2, lr=1e-3, temperature=0.05, caption_dropout=0.5, seed=0)
    train(teacher, features(), features(split=Split.VAL), how)
    assert sorted(set(seen)) == [1, 3] and len(seen) == 4
