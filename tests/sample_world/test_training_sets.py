import json

from pipeline.artifacts import shards
from pipeline.images.decoding import decode
from pipeline.sample_world.training_sets import build_base, build_zeroshot


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_base_pictures_have_one_caption_and_boxes_of_every_thing(tmp_path):
    build_base(tmp_path, pairs=30, seed=1, workers=1)
    found = list(shards.read(tmp_path))
    assert [key for key, _, _ in found] == [f"base-{i:06d}" for i in range(30)]
    for _, data, record in found:
        assert decode(data).size == (192, 192)
        (caption,) = record["captions"]
        assert caption.strip()
        assert 1 <= len(record["boxes"]) <= 3
        for x0, y0, x1, y1 in record["boxes"]:
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1


def test_the_same_seed_makes_the_same_base(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        build_base(tmp_path / folder, pairs=6, seed=seed, workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


def test_zeroshot_classes_are_every_colour_of_every_shape(tmp_path):
    build_zeroshot(tmp_path, per_class={"val": 0, "test": 1}, seed=1, workers=1)
    content = json.loads((tmp_path / "classes.json").read_bytes())
    classes = content["classes"]
    assert len({c["name"] for c in classes}) == 100
    assert sum(c["seen"] for c in classes) == 64
    assert {c["name"]: c["seen"] for c in classes}["pink star"] is False
    assert all("{}" in template for template in content["templates"])
    for c in classes:
        assert [p.name for p in (tmp_path / "test" / c["folder"]).iterdir()] == ["000.jpg"]
    assert decode((tmp_path / "test" / "red_star" / "000.jpg").read_bytes()).size == (192, 192)
