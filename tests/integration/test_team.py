"""A team: one member computes and pushes, the others fetch; a real S3 API, all other hosts blocked.

The tests of this file build on each other: they are steps of one story.
"""

import re

import boto3
import pytest
from checkout import fresh
from moto.server import ThreadedMotoServer
from tiny_world import STAGES, quotas

from pipeline.artifacts.manifest import Manifest

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """The folder of all clones, and the first member's checkout with a remote on a real S3 API."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    secrets = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket="team")
    folder = tmp_path_factory.mktemp("team")
    first = fresh(folder)
    first.environment |= secrets | {"AWS_ENDPOINT_URL": url}
    first.run("dvc", "remote", "add", "--quiet", "--default", "team", "s3://team/dvc")
    yield folder, first
    server.stop()


@pytest.fixture(scope="module")
def shared(team):
    """The first member has run everything and pushed it."""
    folder, first = team
    ran = first.repro()
    assert sorted(ran) == sorted(["sample@world", *STAGES[1:]])
    assert (first.root / "data/evaluate/report/index.html").is_file()
    first.commit("results")
    first.run("dvc", "push")
    first.dclip("cache", "push", "s3://team/store")
    return folder, first


def test_a_second_repro_runs_nothing_and_every_artefact_is_right(shared):
    _, first = shared
    assert first.repro() == []
    assert "checks passed" in first.dclip("verify", "--sample", "8")
    assert "recall@1" in first.run("dvc", "metrics", "show")
    assert "text to image recall@1" in first.dclip("show")
    assert first.dclip("search", "a small red star on sand", "--top", "3").count("flickr30k-") == 3


def test_what_was_pushed_is_not_sent_again(shared):
    _, first = shared
    assert re.search(r"^0 files .* were there already$", first.dclip("cache", "push", "s3://team/store"), re.MULTILINE)


def test_a_clone_of_the_same_commit_pulls_everything_and_runs_nothing(shared):
    folder, first = shared
    second = first.clone(folder / "second")
    assert second.repro("--pull") == []
    assert not (second.root / ".dclip").exists(), "not a single forward pass, so nothing in the feature store"
    for name in ("targets/targets.arrow", "student/open_clip_model.safetensors", "evaluate/report/index.html"):
        assert (second.root / "data" / name).read_bytes() == (first.root / "data" / name).read_bytes()


def test_another_curation_pulls_segments_and_computes_only_what_is_new(shared):
    folder, first = shared
    third = first.clone(folder / "third")
    third.dclip("cache", "pull", "s3://team/store")
    third.change("sources", of=quotas(mscoco=73, flickr30k=45, conceptual_captions=40))
    assert third.repro("--pull", "features") == ["curate", "regions", "spans", "features"]
    mine, theirs = (Manifest(member.root / "data/curate") for member in (third, first))
    images = {row["image_sha256"] for row in mine.rows} - {row["image_sha256"] for row in theirs.rows}
    captions = {c for own in mine.captions for c in own} - {c for own in theirs.captions for c in own}
    found = third.new()
    assert 0 < len(images) < 10
    assert found["detect"] == found["embed images"] == (len(images), len(mine))
    assert found["embed captions"] == (len(captions), len({c for own in mine.captions for c in own}))
    assert found["embed crops"][0] <= 3 * len(images)
    assert found["embed zero-shot images"][0] == 0


def test_a_member_without_corpora_trains_another_student_without_a_frozen_forward(shared):
    folder, first = shared
    fourth = first.clone(folder / "fourth")
    fourth.change("student", epochs=1)
    assert fourth.repro("--pull", "--allow-missing") == ["student", "embed", "index", "probe", "evaluate"]
    assert not (fourth.root / "data/sample/corpora").exists()
    assert not (fourth.root / "data/teachers/clips").exists(), "no teacher is here that could be run"
    assert not (fourth.root / "data/models/detector.pt").exists()
    assert not (fourth.root / ".dclip/store").exists(), "not a single frozen forward"
    assert "text to image recall@1" in fourth.dclip("show")


def test_a_change_pulls_what_its_stage_reads_and_no_more(shared):
    folder, first = shared
    fifth = first.clone(folder / "fifth")
    fifth.change("evaluate", examples=1)
    assert fifth.repro("--pull", "--allow-missing") == ["evaluate"]
    assert "things are not here" in fifth.dclip("verify", "--sample", "4")
    fifth.change("regions", max_regions=2)
    assert fifth.repro("--pull", "--allow-missing", "regions") == ["regions"]


def test_a_change_reaches_what_depends_on_it_and_nothing_else(shared):
    _, first = shared
    first.change("teacher", lr=0.002)
    changed = set(re.findall(r"^(\w+)(?:@\w+)?:$", first.run("dvc", "status"), flags=re.MULTILINE))
    assert changed == {"teacher", "targets"}, "the stages that read teacher.* and, of course, what follows them"
