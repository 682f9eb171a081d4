import hashlib
import json

import yaml

from pipeline.verification import recorded


def test_a_folder_beside_a_file_of_its_name_has_the_hash_that_dvc_gives_it(tmp_path):
    """As data/sample/attributes has images/ and images.txt; the listing is what DVC 3 writes into its cache."""
    out = tmp_path / "data/sample/attributes"
    for name in ("images/1.jpg", "images.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    listed = [
        {"md5": hashlib.md5(name.encode()).hexdigest(), "relpath": name} for name in ("images.txt", "images/1.jpg")
    ]
    found = hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"
    outs = [{"path": "data/sample/attributes", "md5": found}]
    lock = tmp_path / "dvc.lock"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"sample": {"outs": outs}}}))
    assert [f.fault for f in recorded.check(lock, tmp_path, tmp_path / "data")] == [""]
