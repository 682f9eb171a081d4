import hashlib
import io
import json
import re
import zipfile

import pytest

from pipeline.errors import InputError
from pipeline.fetch import fetching
from pipeline.fetch.download import FetchError
from pipeline.fetch.items import ITEMS, Item, Remote
from pipeline.fetch.lock import Lock


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return out.getvalue()


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def lock(tmp_path):
    return Lock(tmp_path / "lock.json")


def run(item, data, lock, **options):
    return list(fetching.fetch(item, data, lock, wait=lambda _: None, **options))


def item(site, **known):
    return Item("weights", (Remote(site.url("w.pt"), "weights", **known),))


def test_a_file_without_a_published_hash_is_recorded_and_held_to_it(site, data, lock):
    site.files["w.pt"] = b"weights"
    run(item(site), data, lock)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert json.loads(lock.path.read_text()) == {site.url("w.pt"): {"size": 7, "sha256": sha256}}
    (data / "weights/w.pt").unlink()
    site.files["w.pt"] = b"evil ws"
    with pytest.raises(FetchError, match=f"expected {sha256}"):
        run(item(site), data, Lock(lock.path))
    assert not (data / "weights/w.pt").exists()


def test_a_published_hash_is_not_recorded(site, data, lock):
    site.files["w.pt"] = b"weights"
    run(item(site, sha256=hashlib.sha256(b"weights").hexdigest()), data, lock)
    assert not lock.path.exists()


def test_a_lock_that_is_none_is_named(tmp_path):
    for text in ("[]", '{"http://a": 1}', '{"http://a": {"size": "x", "sha256": "y"}}', "{"):
        (tmp_path / "lock.json").write_text(text)
        with pytest.raises(InputError, match=r"lock\.json"):
            Lock(tmp_path / "lock.json")


def corpus(site):
    site.files["coco.zip"] = zipped(train__a="image a", train__b="image b", notes="x")
    return Item("a corpus", (Remote(site.url("coco.zip"), "raw/coco", members=("train/",)),))


def test_an_archive_is_unpacked_removed_and_not_fetched_again(site, data, lock):
    one = corpus(site)
    assert fetching.lacking(one, data) == list(one.remotes)
    run(one, data, lock)
    assert {path.name for path in (data / "raw/coco").iterdir()} == {"train", ".fetched"}
    assert fetching.lacking(one, data) == []
    site.asked.clear()
    (line,) = run(one, data, lock)
    assert "is there" in line and site.asked == []


def test_an_archive_can_be_kept(site, data, lock):
    run(corpus(site), data, lock, keep=True)
    assert (data / "raw/coco/coco.zip").is_file()


def test_a_run_killed_while_it_unpacks_goes_on_without_fetching_again(site, data, lock, monkeypatch):
    one = corpus(site)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fetching, "unpack", killed)
        with pytest.raises(KeyboardInterrupt):
            run(one, data, lock)
    site.asked.clear()
    run(one, data, lock)
    assert site.asked == []
    assert (data / "raw/coco/train/b").read_text() == "image b"


def test_a_full_disk_is_told_before_anything_comes(data):
    one = Remote("http://127.0.0.1:9/a.zip", "raw", size=10**18, members=("a",))
    with pytest.raises(FetchError, match="GB are needed"):
        fetching.check_room([one], data)


def test_the_register_is_of_safe_folders_and_plain_hashes():
    for name, one in ITEMS.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert one.remotes or one.hub or one.by_hand
        for remote in one.remotes:
            assert remote.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", remote.sha256)
            assert remote.folder.split("/")[0] in ("raw", "weights", "suites")
            assert remote.name and not remote.name.startswith(".")
        assert one.by_hand.format(data="data") == one.by_hand.replace("{data}", "data")
