import hashlib
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import yaml
from tiny_world import execute

from pipeline.detector import cached
from pipeline.manifest import Manifest
from pipeline.store import inventory, keys, segment
from pipeline.tables import Table
from pipeline.verification.recompute import Recomputation
from pipeline.verification.tables import Artefacts
from pipeline.verification.verify import verify
from stages import dclip
from stages.program import store

FEWER = ("regions/regions.arrow", "concepts/language.arrow", "concepts/labels.arrow")
"""Tables of which the tiny world may have fewer rows than are drawn."""


@pytest.fixture
def copied(world, tmp_path):
    """The tiny world's data, of which a test may change anything."""
    data, params = world
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data", params


@pytest.fixture
def copied_with_concepts(copied, knowing):
    """The same, with concepts."""
    data, _ = copied
    given, params = knowing
    shutil.rmtree(data / "concepts")
    shutil.copytree(given / "concepts", data / "concepts")
    return data, params


def check(data, params, sample=12):
    found = list(
        verify(
            data,
            data.parent / "data" / "sample/zeroshot",
            data.parent / "store",
            data.parent / "dvc.lock",
            sample=sample,
            seed=0,
            device="cpu",
        )
    )
    return found, {f.artefact: f.fault for f in found if f.fault}


def rewrite(path, change):
    """Write a table again with some columns changed and its metadata as they were."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        columns = {name: table[name].combine_chunks() for name in table.schema.names}
        schema = table.schema
    columns |= change(columns)
    batch = pa.record_batch([columns[name] for name in schema.names], schema=schema)
    with pa.ipc.new_file(str(path) + ".new", schema) as writer:
        writer.write_batch(batch)
    shutil.move(str(path) + ".new", path)


def vectors_of(column):
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def as_column(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).reshape(-1)), rows.shape[1])


def test_a_finished_run_is_right_and_rows_computed_anew_are_the_same_up_to_float16(copied):
    found, faults = check(*copied)
    assert faults == {}
    anew = {f.artefact: f for f in found if f.deviation is not None}
    assert set(anew) == {
        "regions/regions.arrow", "spans/spans.arrow", "features/images.arrow", "features/regions.arrow",
        "features/captions.arrow", "features/spans/phrases.arrow", "features/spans/tokens.arrow",
        "features/zeroshot/images.arrow", "features/zeroshot/prompts.arrow", "targets/targets.arrow",
        "concepts/language.arrow", "concepts/labels.arrow",
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
    rewrite(data / name, lambda columns: {"vector": as_column(-vectors_of(columns["vector"]))})
    _, faults = check(data, params)
    assert set(faults) <= {name, "targets/targets.arrow"}, "which were computed from the right ones"
    assert_named(faults[name], *CURES[name], "features")


def test_boxes_that_the_detector_does_not_find_are_named(copied):
    data, params = copied

    def shifted(columns):
        boxes = vectors_of(columns["box"]).copy()
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
        rows, alone = vectors_of(columns["z"]).copy(), columns["caption_index"].to_numpy() == -1
        rows[alone] = rows[alone][::-1]
        return {"z": as_column(rows)}

    rewrite(data / "targets/targets.arrow", reversed_rows)
    _, faults = check(data, params)
    assert set(faults) == {"targets/targets.arrow"}
    assert_named(faults["targets/targets.arrow"], r"[\w-]+ alone", "", "targets")


def test_a_vector_that_is_not_of_unit_length_is_named_with_its_row(copied):
    data, params = copied

    def longer(columns):
        rows = vectors_of(columns["vector"]).copy()
        rows[7] *= 2
        return {"vector": as_column(rows)}

    rewrite(data / "features/images.arrow", longer)
    _, faults = check(data, params)
    assert set(faults) == {"features/images.arrow"}
    assert "row 7" in faults["features/images.arrow"]


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
    assert set(faults) == {"features/zeroshot/images.arrow"}


# Concepts


def test_concepts_are_right_and_their_vectors_computed_anew_are_the_same(copied_with_concepts):
    found, faults = check(*copied_with_concepts)
    assert faults == {}
    of_tables = [f for f in found if f.artefact.startswith("concepts/") and f.artefact.endswith(".arrow")]
    tables = [f.artefact for f in of_tables if f.deviation is None]
    assert sorted(tables) == ["concepts/concepts.arrow", "concepts/labels.arrow", "concepts/language.arrow"]
    assert not any(f.absent for f in found if f.artefact.startswith("concepts/"))
    anew = {f.artefact: f for f in found if f.artefact.startswith("concepts/") and f.deviation is not None}
    assert {name: f.recomputed for name, f in anew.items()} == {
        "concepts/language.arrow": 12,
        "concepts/labels.arrow": 12,
    }
    assert all(f.deviation < 1e-3 for f in anew.values())


def changed(name, change):
    """Gives a list or vector column other rows."""

    def of(columns):
        rows = change(np.array(columns[name].to_pylist()))
        return {name: pa.array(rows.tolist(), columns[name].type)}

    return of


def row(at, value):
    def change(rows):
        rows[at] = value(rows[at])
        return rows

    return change


def other_keys(columns):
    """Row 5 and the row of the next picture after it change places."""
    keys = columns["key"].to_pylist()
    at = next(i for i in range(5, len(keys)) if keys[i] != keys[5])
    keys[5], keys[at] = keys[at], keys[5]
    return {"key": pa.array(keys)}


def other_indices(columns):
    index = columns["caption_index"].to_numpy().copy()
    index[5] += 1
    return {"caption_index": pa.array(index)}


DAMAGES = {
    "a longer vector": ("language", changed("vector", row(7, lambda v: 2 * v)), "row 7 .* has length"),
    "a zero vector": ("language", changed("vector", row(7, lambda v: 0 * v)), "row 7 .* has length 0"),
    "vectors of other captions": ("language", changed("vector", lambda v: np.roll(v, 1, axis=0)), "differs by"),
    "keys of another order": ("language", other_keys, "row 5 has key"),
    "a caption twice": ("language", other_indices, "row 5 .*caption_index should be"),
    "labels of another order": ("labels", other_keys, "row 5 has key"),
    "a label twice": ("labels", other_indices, "row 5 .*caption_index should be"),
    "shares that sum to less": ("labels", changed("shares", row(9, lambda s: 0.9 * s)), "row 9 .*shares"),
    "no such concept": ("labels", changed("concepts", row(9, lambda c: c + 10_000)), "row 9 .*concepts .* of "),
    "a negative concept": ("labels", changed("concepts", row(9, lambda c: c - 10_000)), "row 9 .*concepts .* of "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_concepts_are_named(copied_with_concepts, damage):
    data, params = copied_with_concepts
    name, change, fault = DAMAGES[damage]
    rewrite(data / f"concepts/{name}.arrow", change)
    _, faults = check(data, params)
    labels = {"concepts/labels.arrow"} if damage == "vectors of other captions" else set()  # of which they are no more
    assert set(faults) == {f"concepts/{name}.arrow"} | labels
    assert re.search(fault, faults[f"concepts/{name}.arrow"])


def negative(shares):
    shares[0], shares[1] = shares[0] + 2, shares[1] - 2
    return shares


@pytest.mark.parametrize("wrong", [lambda s: s * np.nan, negative], ids=["not a number", "negative"])
def test_shares_that_are_none_are_named(copied_with_concepts, wrong):
    data, params = copied_with_concepts
    rewrite(data / "concepts/labels.arrow", changed("shares", row(9, wrong)))
    _, faults = check(data, params, sample=1)
    assert set(faults) == {"concepts/labels.arrow"}
    assert "row 9" in faults["concepts/labels.arrow"]


def test_a_centre_that_is_not_of_unit_length_is_named_with_its_row(copied_with_concepts):
    data, params = copied_with_concepts
    rewrite(data / "concepts/concepts.arrow", changed("centre", row(3, lambda c: 2 * c)))
    _, faults = check(data, params, sample=1)
    assert set(faults) == {"concepts/concepts.arrow"}
    assert re.search(r"row 3 .*has length 2,", faults["concepts/concepts.arrow"])


@pytest.mark.parametrize("name", ["labels", "concepts"])
def test_labels_of_other_captions_and_other_centres_are_found_by_computing_them_anew(copied_with_concepts, name):
    data, params = copied_with_concepts
    columns = ("concepts", "shares") if name == "labels" else ("centre",)
    path = data / f"concepts/{name}.arrow"
    for column in columns:
        rewrite(path, changed(column, lambda rows: np.roll(rows, 5, axis=0)))
    _, faults = check(data, params)
    assert "concepts/labels.arrow" in faults


def test_a_language_model_with_other_weights_is_named(copied_with_concepts):
    data, params = copied_with_concepts
    with pa.memory_map(str(data / "concepts/language.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
        metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        metadata["inputs"] = metadata["inputs"].replace('"weights": "', '"weights": "0')
        table = table.combine_chunks().replace_schema_metadata(metadata)
        with pa.ipc.new_file(str(data / "new"), table.schema) as writer:
            writer.write_table(table)
    shutil.move(data / "new", data / "concepts/language.arrow")
    _, faults = check(data, params)
    assert set(faults) == {"concepts/language.arrow"}
    assert "was made with 0" in faults["concepts/language.arrow"]


def test_concepts_of_another_curation_are_named(copied_with_concepts):
    data, params = copied_with_concepts
    for name in ("language", "labels", "concepts"):
        path = data / f"concepts/{name}.arrow"
        fingerprint = Table(path).metadata["manifest"].encode()
        other = fingerprint[::-1]
        path.write_bytes(path.read_bytes().replace(fingerprint, other))
    _, faults = check(data, params)
    assert set(faults) == {f"concepts/{name}.arrow" for name in ("language", "labels", "concepts")}
    assert all("manifest is" in fault for fault in faults.values())


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
        dclip.main()
    assert "1 rows forgotten" in capsys.readouterr().out
    execute(["regions"], params, data)
    assert not any(f.fault for f in check(data, params, sample=500)[0] if f.artefact == "regions/regions.arrow")


ROWS = ("boxes", "crops", "whole_pictures", "regions", "captions", "phrases", "tokens", "zeroshot_pictures",
        "zeroshot_prompts")  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
def test_rows_are_named_by_the_keys_that_the_store_has_them_under(world, rows):
    data, _ = world
    anew = Recomputation(Artefacts(data, "cpu"), sample=30, seed=0, zeroshot=data / "sample/zeroshot")
    compared = getattr(anew, f"_{rows}")()
    held = inventory.collections(store(), [compared.collection])
    segments = (segment.read(path, h.folder.name.rpartition("-")[2]) for h in held for path in h.segments)
    halves = (np.stack([rows["high"].to_numpy(), rows["low"].to_numpy()], axis=1) for rows in segments)
    known = {key for own in halves for key in keys.unpack(own)}
    assert compared.keys and set(compared.keys) <= known
