"""Every program of a checkout explains itself, and what blocks the network in it does."""

import subprocess
import sys

import pytest
from checkout import fresh
from tiny_world import STAGES


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return fresh(tmp_path_factory.mktemp("checkout"))


def test_the_blocker_blocks(project):
    for probe in ("socket.create_connection(('192.0.2.1', 9))", "socket.getaddrinfo('example.org', 80)"):
        done = subprocess.run(
            [sys.executable, "-c", f"import socket; {probe}"],
            env=project.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "a network connection was tried" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(project, stage):
    text = project.run(sys.executable, "-m", f"stages.{stage}", "--help")
    assert f"data/{stage}" in text
    assert "--params" in text and "--data" in text
