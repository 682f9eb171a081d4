from dataclasses import replace

import pytest
import tiny_manifest
from tiny_detector import tiny_detector
from tiny_manifest import png, write_manifest
from tiny_models import picture

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.detector import cached
from pipeline.detector.cached import CachedDetector, Cropping, Detection
from pipeline.detector.detect import crop, detect
from pipeline.images import decoding
from pipeline.store import collection

DETECTION = Detection(confidence=1e-6, iou=0.5, image_size=64, batch=4)
CROPPING = Cropping(cap=3, min_side=0, margin=0.1, side=16, quality=90)
SAMPLES = {Split.TRAIN: {key: [key] for key in "abcd"}, Split.TEST: {key: [key] for key in "ef"}}
PICTURES = [decoding.decode(png(picture(seed))) for seed in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("curate"), SAMPLES)


@pytest.fixture(scope="module")
def found(model):
    """What the detector itself sees."""
    parts = (PICTURES[:4], PICTURES[4:])
    boxes = [own for part in parts for own in detect(model, part, **vars(DETECTION), device="cpu")]
    assert all(len(own) > CROPPING.cap for own in boxes), "no box would be cut off"
    return boxes


@pytest.fixture
def work(monkeypatch):
    """How many images were looked at, and how many crops were cut."""
    count = {"detected": 0, "cut": 0}

    def counted_detect(detector, pictures, **how):
        count["detected"] += len(pictures)
        return detect(detector, pictures, **how)

    def counted_crop(*given):
        count["cut"] += 1
        return crop(*given)

    monkeypatch.setattr(cached, "detect", counted_detect)
    monkeypatch.setattr(cached, "crop", counted_crop)
    return count


@pytest.fixture
def fill(model, manifest, tmp_path, work):
    """Fill the store in one way or another; the detector, and the work that was done."""

    def fill(detection=DETECTION, cropping=CROPPING, weights="w", of=manifest):
        work.update(detected=0, cut=0)
        made = CachedDetector(model, weights, detection, cropping, "cpu", tmp_path, 1)
        made.fill(of)
        return made, (work["detected"], work["cut"])

    return fill


def segments(root, name):
    return sorted(root.glob(f"{name}-*/*.arrow"))


def crops_of(found, cropping=CROPPING):
    return [
        [decoding.encode_jpeg(crop(p, b.corners, cropping.margin, cropping.side), cropping.quality)
         for b in own[: cropping.cap]]
        for p, own in zip(PICTURES, found, strict=True)
    ]  # fmt: skip


ALL = (6, 18)
"""Six images, three crops each."""


def test_rows_are_what_the_detector_sees_and_what_is_cut_out(fill, manifest, found):
    made, work = fill()
    assert work == ALL
    assert made.boxes(manifest.image_keys) == found
    assert made.crops(manifest.image_keys, found) == crops_of(found)


def test_pictures_are_asked_for_in_any_order(fill, manifest, found):
    made, _ = fill()
    order = [5, 0, 3, 0]
    assert made.boxes(manifest.image_keys[order]) == [found[i] for i in order]
    assert made.crops(manifest.image_keys[order], [found[i] for i in order]) == [crops_of(found)[i] for i in order]


def test_filling_again_detects_and_cuts_nothing(fill, manifest, found):
    fill()
    made, work = fill()
    assert work == (0, 0)
    assert made.crops(manifest.image_keys, made.boxes(manifest.image_keys)) == crops_of(found)


def test_only_pictures_that_were_never_seen_are_looked_at(fill, manifest, found):
    fill(of=Manifest(manifest.folder, (Split.TEST,)))
    made, work = fill()
    assert work == (4, 12)
    assert made.boxes(manifest.image_keys) == found


def test_a_picture_that_stands_there_twice_is_looked_at_once(fill, tmp_path, monkeypatch, found):
    monkeypatch.setattr(tiny_manifest, "picture", lambda seed: picture(seed // 3))
    manifest = write_manifest(tmp_path / "curate", SAMPLES)
    made, work = fill(of=manifest)
    assert work == (2, 6)
    assert made.boxes(manifest.image_keys) == [found[i // 3] for i in range(6)]


@pytest.mark.parametrize("change", [{"side": 12}, {"margin": 0.3}, {"quality": 50}, {"cap": 2}])
def test_other_crops_are_cut_anew_without_detecting_again(fill, manifest, found, change):
    fill()
    other = replace(CROPPING, **change)
    made, work = fill(cropping=other)
    assert work == (0, 6 * other.cap)
    assert made.boxes(manifest.image_keys) == found
    assert made.crops(manifest.image_keys, found) == crops_of(found, other)
    assert fill()[1] == (0, 0), "the first crops are still there"


@pytest.mark.parametrize("change", [{"confidence": 1e-5}, {"iou": 0.4}, {"image_size": 96}, {"batch": 3}])
def test_another_way_of_detecting_looks_at_every_picture_again(fill, model, manifest, change):
    fill()
    other = replace(DETECTION, **change)
    made, work = fill(other)
    assert work[0] == 6
    n = other.batch
    wanted = [own for i in range(0, 6, n) for own in detect(model, PICTURES[i : i + n], **vars(other), device="cpu")]
    assert made.boxes(manifest.image_keys) == wanted
    assert made.crops(manifest.image_keys, wanted) == crops_of(wanted)


def test_another_detector_looks_at_every_picture_again(fill):
    fill()
    assert fill(weights="v")[1][0] == 6


def test_lost_crops_are_cut_again_without_detecting(fill, manifest, tmp_path, found):
    fill()
    (path,) = segments(tmp_path, "crops")
    path.unlink()
    made, work = fill()
    assert work == (0, 18)
    assert made.crops(manifest.image_keys, found) == crops_of(found)


def test_only_the_rows_of_a_lost_or_damaged_segment_are_made_again(fill, manifest, tmp_path, monkeypatch, found):
    monkeypatch.setattr(collection, "SEGMENT_BYTES", 1)
    fill()
    assert (len(segments(tmp_path, "boxes")), len(segments(tmp_path, "crops"))) == (2, 2)
    segments(tmp_path, "crops")[0].unlink()
    assert fill()[1] in ((0, 12), (0, 6)), "the crops of four images, or of two"
    segments(tmp_path, "boxes")[0].write_bytes(b"damaged")
    made, work = fill()
    assert work[0] in (4, 2)
    assert made.boxes(manifest.image_keys) == found
    assert made.crops(manifest.image_keys, found) == crops_of(found)


def test_what_was_detected_before_ctrl_c_is_kept(fill, manifest, monkeypatch, found):
    counted = cached.detect

    def interrupted(detector, pictures, **how):
        if len(pictures) < 4:
            raise KeyboardInterrupt
        return counted(detector, pictures, **how)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cached, "detect", interrupted)
        fill()
    made, work = fill()
    assert work == (2, 6), "the first batch of four was complete"
    assert made.boxes(manifest.image_keys) == found
    assert made.crops(manifest.image_keys, found) == crops_of(found)


def test_a_picture_without_boxes_is_a_result_that_is_kept(fill, manifest):
    strict = replace(DETECTION, confidence=0.9)
    assert fill(strict)[1] == (6, 0)
    made, work = fill(strict)
    assert work == (0, 0)
    assert made.boxes(manifest.image_keys) == [[]] * 6
    assert made.crops(manifest.image_keys, [[]] * 6) == [[]] * 6


def test_a_manifest_without_samples_fills_nothing(fill, tmp_path):
    assert fill(of=write_manifest(tmp_path / "curate", {}))[1] == (0, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["curate"]


def test_the_folders_of_both_collections_can_be_named(fill, tmp_path):
    made, _ = fill()
    assert sorted(made.folders) == sorted(p.name for p in tmp_path.iterdir())
    assert [name.partition("-")[0] for name in made.folders] == ["boxes", "crops"]
