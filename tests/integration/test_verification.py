import hashlib
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import yaml
from tiny_world import execute
from verifying import FEWER, as_column, check, embeddings_of, rewrite

from console.main import main
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import Table
from pipeline.artifacts.workspace import Workspace
from pipeline.detector import cached
from pipeline.store import inventory, keys, segment
from pipeline.verification.artefacts import Artefacts
from pipeline.verification.recompute import Recomputation
from pipeline.verification.recompute_clip import ClipRows
from stages.program import store


def test_a_finished_run_is_right_and_rows_computed_anew_are_the_same_up_to_float16(copied):
    found, faults = check(*copied)
    assert faults == {}
    anew = {f.artefact: f for f in found if f.deviation is not None}
    assert set(anew) == {
        "regions/regions.arrow", "spans/spans.arrow", "features/images.arrow", "features/regions.arrow",
        "features/captions.arrow", "features/spans/phrases.arrow", "features/spans/tokens.arrow",
        "features/zeroshot/images.arrow", "features/zeroshot/prompts.arrow", "targets/targets.arrow",
        "concepts/language.arrow", "concepts/labels.arrow", "features/views.arrow", "features/columns.arrow",
        *(f"features/teachers/large/{what}.arrow" for what in (
            "images", "regions", "captions", "columns", "views", "spans/phrases", "zeroshot/images",
            "zeroshot/prompts",
        )),
        *(f"targets/teachers/large/{what}.arrow" for what in (
            "images", "views", "crops", "captions", "columns", "phrases",
        )),
    }  # fmt: skip
    assert anew["concepts/language.arrow"].recomputed == 0, "concepts are not enabled"
    assert all(f.recomputed >= 12 for name, f in anew.items() if name not in FEWER)
    assert all(f.deviation < 1e-3 for f in anew.values())


CAPTION = r"[\w-]+ caption \d"
CURES = {
    "features/images.arrow": (r"[\w-]+", "pictures"),
    "features/regions.arrow": (r"[\w-]+ region \d", "pictures"),
    "features/captions.arrow": (CAPTION, "texts"),
    "features/spans/phrases.arrow": (rf"{CAPTION} span \d+", "texts"),
    "features/spans/tokens.arrow": (rf"{CAPTION} span \d+", "tokens"),
    "features/zeroshot/images.arrow": (r"(val|test)/\w+/\w+\.jpg", "pictures"),
    "features/zeroshot/prompts.arrow": (r"'[a-z ]+'", "texts"),
}
"""How rows that are wrong are named, and from what they are taken so that they are computed again."""


def assert_named(fault, row, collection, stage):
    cure = f"dclip cache forget {collection}-[0-9a-f]{{8}}[0-9a-f ]*, then " if collection else ""
    assert re.search(
        rf"differs by .* in \d+ of \d+ rows that were computed anew: {row}[;.] .*run: {cure}"
        rf"dvc repro -sf {stage}, then dvc repro$", fault
    )  # fmt: skip


@pytest.mark.parametrize("name", CURES)
def test_vectors_of_the_wrong_rows_are_found_by_computing_them_anew(copied, name):
    data, params = copied
    rewrite(data / name, lambda columns: {"vector": as_column(-embeddings_of(columns["vector"]))})
    _, faults = check(data, params)
    assert set(faults) <= {name, "targets/targets.arrow"}, "which were computed from the right ones"
    assert_named(faults[name], *CURES[name], "features")


def test_boxes_that_the_detector_does_not_find_are_named(copied):
    data, params = copied

    def shifted(columns):
        boxes = embeddings_of(columns["box"]).copy()
        own = columns["region_index"].to_numpy() > 0
        boxes[own] = boxes[own] * 0.9
        return {"box": as_column(boxes)}

    rewrite(data / "regions/regions.arrow", shifted)
    rewrite(data / "regions/test_boxes.arrow", shifted)
    found, faults = check(data, params, sample=500)
    assert set(faults) == {"regions/regions.arrow"}
    boxes, crops = (f.fault for f in found if f.fault)
    assert_named(boxes, r"[\w-]+ \(\d boxes, \d anew\)", "boxes", "regions")
    assert_named(crops, r"[\w-]+ region \d( \(of \d+ pixels, \d+ anew\))?", "crops", "regions")


def test_targets_of_another_picture_are_named(copied):
    data, params = copied

    def reversed_rows(columns):
        rows, alone = embeddings_of(columns["z"]).copy(), columns["caption_index"].to_numpy() == -1
        rows[alone] = rows[alone][::-1]
        return {"z": as_column(rows)}

    rewrite(data / "targets/targets.arrow", reversed_rows)
    _, faults = check(data, params, sample=500)  # some of the tiny world's targets are alike
    assert set(faults) == {"targets/targets.arrow"}
    assert_named(faults["targets/targets.arrow"], r"[\w-]+ alone", "", "targets")


def test_a_vector_that_is_not_of_unit_length_is_named_with_its_row(copied):
    data, params = copied

    def longer(columns):
        rows = embeddings_of(columns["vector"]).copy()
        rows[7] *= 2
        return {"vector": as_column(rows)}

    rewrite(data / "features/images.arrow", longer)
    _, faults = check(data, params)
    assert set(faults) == {"features/images.arrow"}
    assert "row 7" in faults["features/images.arrow"]


@pytest.mark.parametrize("name", ["images/student", "captions/end_point", "attribute_images/base"])
def test_embeddings_of_what_is_measured_are_of_unit_length(copied, name):
    data, params = copied
    rewrite(data / f"embed/{name}.arrow", lambda columns: {"vector": as_column(2 * embeddings_of(columns["vector"]))})
    _, faults = check(data, params)
    assert set(faults) == {f"embed/{name}.arrow"}
    assert re.search(r"row 0 .* has length 2.*run: dvc repro -sf embed", faults[f"embed/{name}.arrow"])


def test_embeddings_of_another_student_are_named(copied):
    data, params = copied
    shutil.copytree(data / "student/end_point", data / "student", dirs_exist_ok=True)
    shutil.copytree(data / "models/clip", data / "student/end_point", dirs_exist_ok=True)
    _, faults = check(data, params)
    assert {name for name in faults if name.startswith("embed/")} == {
        f"embed/{what}/{model}.arrow"
        for model, names in {
            "student": ("images", "captions", "training_captions", "attribute_images", "class_images", "class_prompts"),
            "end_point": ("images", "captions", "training_captions", "attribute_images"),
        }.items()
        for what in names
    }
    assert "weights is" in faults["embed/images/student.arrow"]


def test_tables_made_with_other_weights_are_named(copied):
    data, params = copied
    from pipeline.clip import towers

    clip = towers.load(data / "models/clip")
    with_change = next(clip.model.parameters())
    with_change.data += 1e-3
    clip.save(data / "models/clip")
    _, faults = check(data, params)
    assert "models/clip" in faults
    assert {name for name in faults if name.startswith("features/")} == {
        "features/images.arrow", "features/regions.arrow", "features/captions.arrow", "features/spans/phrases.arrow",
        "features/spans/tokens.arrow", "features/zeroshot/images.arrow", "features/zeroshot/prompts.arrow",
        "features/columns.arrow",
    }  # fmt: skip


def test_an_image_whose_bytes_changed_is_named(copied):
    data, params = copied
    (shard, *_) = sorted((data / "curate/train").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    at = content.find(b"\xff\xd8") + 300
    content[at] ^= 1
    shard.write_bytes(content)
    _, faults = check(data, params)
    assert "sha256" in faults["curate/train"]


@pytest.mark.parametrize("name", ["features/captions.arrow", "features/spans/tokens.arrow"])
def test_a_flipped_byte_differs_from_the_hash_that_dvc_recorded(copied, name):
    data, params = copied
    folder = data / "features/spans"
    listed = [{"md5": hashlib.md5(p.read_bytes()).hexdigest(), "relpath": p.name} for p in sorted(folder.iterdir())]
    text = "[" + ", ".join(f'{{"md5": "{e["md5"]}", "relpath": "{e["relpath"]}"}}' for e in listed) + "]"
    captions = hashlib.md5((data / "features/captions.arrow").read_bytes()).hexdigest()
    outs = [
        {"path": "data/features/captions.arrow", "md5": captions},
        {"path": "data/features/spans", "md5": hashlib.md5(text.encode()).hexdigest() + ".dir"},
        {"path": "data/features/gone.arrow", "md5": "0" * 32},
    ]  # fmt: skip
    (data.parent / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"features": {"outs": outs}}}))
    assert check(data, params)[1] == {}

    table = Table(data / name)
    rows = table.vectors()
    content = bytearray((data / name).read_bytes())
    at = bytes(content).find(rows[3].tobytes())
    content[at] ^= 1  # the last bit of a number: no other check can see it
    (data / name).write_bytes(content)
    _, faults = check(data, params)
    assert set(faults) == {name if name == "features/captions.arrow" else "features/spans"}


def test_a_member_who_fetched_only_what_training_needs_is_told_what_is_not_here(copied):
    data, params = copied
    for name in (
        "models/detector.pt",
        "regions/regions.arrow",
        "spans",
        "features/regions.arrow",
        "teacher/teacher.safetensors",
    ):
        path = data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found, faults = check(data, params)
    assert faults == {}
    absent = {f.artefact for f in found if f.absent}
    assert {"models/detector.pt", "regions/regions.arrow", "spans/spans.arrow", "features/regions.arrow"} <= absent
    there = {f.artefact: f for f in found if not f.absent}
    assert there["features/captions.arrow"].recomputed == 12
    assert "targets/targets.arrow" in there


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("curate/manifest.parquet", b"PAR1"),
        ("features/captions.arrow", b"ARROW1"),
        ("teacher/teacher.safetensors", b"{}"),
        ("models/metrics.json", b"{}"),
        ("models/clip/open_clip_model.safetensors", b"cut"),
        ("../dvc.lock", b"<<<<<<< HEAD"),
    ],
)
def test_a_damaged_file_is_a_finding_and_the_other_checks_go_on(copied, name, content):
    data, params = copied
    (data / name).write_bytes(content)
    found, faults = check(data, params)
    assert faults and len(found) > len(faults)


def test_spans_that_are_others_than_their_captions_are_named_with_the_caption(copied):
    data, params = copied

    def shifted(columns):
        kinds = np.array(columns["kind"].to_pylist())
        begin, end = (np.nan_to_num(columns[n].to_numpy(zero_copy_only=False).astype(float)) for n in ("start", "end"))
        move = (kinds == "tokens") & (begin > 0)
        return {n: pa.array((v - move).astype(np.int32)) for n, v in (("start", begin), ("end", end))}

    rewrite(data / "spans/spans.arrow", shifted)
    _, faults = check(data, params)
    assert set(faults) == {"spans/spans.arrow"}
    assert "the tokens of caption" in faults["spans/spans.arrow"]


def test_another_zero_shot_set_than_the_one_embedded_is_named(copied):
    data, params = copied
    picture = next((data / "sample/zeroshot/val").rglob("*.jpg"))
    other = next((data / "sample/zeroshot/test").rglob("*.jpg"))
    shutil.copyfile(other, picture)
    _, faults = check(data, params)
    assert set(faults) == {"features/zeroshot/images.arrow", "features/teachers/large/zeroshot/images.arrow"}


# Concepts


def test_rows_that_the_store_holds_wrongly_are_right_after_what_is_named(copied, tmp_path, monkeypatch, capsys):
    data, params = copied
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path))
    shutil.rmtree(data / "features")  # which are of other regions than those that follow
    execute(["regions"], params, data)
    manifest, regions = Manifest(data / "curate"), Table(data / "regions/regions.arrow")
    seen = regions.strings("key")[int(np.argmax(regions.integers("region_index")))]
    key = manifest.image_keys[[manifest.keys.index(seen)]]
    (held,) = inventory.collections(tmp_path / "store", ["boxes"])
    inventory.forget(held, key)
    with monkeypatch.context() as patch:  # as when the time limit of ultralytics fired
        patch.setattr(cached, "detect", lambda detector, pictures, **how: [[] for _ in pictures])
        execute(["regions"], params, data)
    found, _ = check(data, params, sample=500)
    (fault,) = (f.fault for f in found if f.artefact == "regions/regions.arrow" and f.recomputed and f.fault)
    command = re.search(r"dclip (cache forget boxes-[0-9a-f]{8} [0-9a-f]{32}), then", fault)[1]
    execute(["regions"], params, data)
    assert any(f.fault == fault for f in check(data, params, sample=500)[0]), "the stage alone reads the same row again"
    monkeypatch.setattr("sys.argv", ["dclip", *command.split()])
    with pytest.raises(SystemExit):
        main()
    assert "1 rows forgotten" in capsys.readouterr().out
    execute(["regions"], params, data)
    assert not any(f.fault for f in check(data, params, sample=500)[0] if f.artefact == "regions/regions.arrow")


ROWS = ("boxes", "crops", "whole_images", "regions", "captions", "phrases", "tokens", "zeroshot_images",
        "zeroshot_prompts")  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
def test_rows_are_named_by_the_keys_that_the_store_has_them_under(world, rows):
    data, _ = world
    anew = Recomputation(Artefacts(Workspace(data), "cpu"), sample=30, seed=0, zeroshot=data / "sample/zeroshot")
    compared = getattr(anew if rows in ("boxes", "crops") else ClipRows(anew.drawn, "base"), rows)()
    held = inventory.collections(store(), [compared.collection])
    segments = (segment.read(path, h.folder.name.rpartition("-")[2]) for h in held for path in h.segments)
    halves = (np.stack([rows["high"].to_numpy(), rows["low"].to_numpy()], axis=1) for rows in segments)
    known = {key for own in halves for key in keys.unpack(own)}
    assert compared.keys and set(compared.keys) <= known
