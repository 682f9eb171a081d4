"""What one client does, however slow or hostile, is not felt by another."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from threading import Event, Semaphore

import pytest
from test_server import OPEN, SAMPLES, Recorded, ask, assert_refused, manifest, running, sent, site  # noqa: F401
from tiny_manifest import png, write_manifest
from tiny_models import picture

from pipeline.artifacts.schema import Split
from pipeline.search import connections, server
from pipeline.search.turns import Busy, Late, Turns


class Slow(Recorded):
    """Does not answer `slow`, nor any image, until it is let go."""

    def __init__(self):
        super().__init__()
        self.begun, self.let_go = Event(), Event()

    def text(self, query, top):
        if query == "slow":
            self.begun.set()
            self.let_go.wait(60)
        return super().text(query, top)

    def image(self, data, top):
        self.begun.set()
        self.let_go.wait(60)
        return super().image(data, top)


@pytest.fixture
def slow(manifest, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server, "SECONDS", 0.3)
    search = Slow()
    with running(search, manifest) as started:
        yield f"http://127.0.0.1:{started.server_address[1]}", search
        search.let_go.set()


def opened(port, said):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(said)
    return connection


def heard(connection):
    with connection:
        received = b""
        while part := connection.recv(2**16):
            received += part
    return received


# queries


def test_a_query_that_takes_too_long_is_an_answer_and_so_is_the_one_behind_it(slow):
    url, _ = slow
    assert_refused(ask(url + "/search?q=slow"), 504, "takes longer than 0.3 s")
    assert_refused(ask(url + "/search?q=x"), 503, "other queries are being answered")


def test_texts_and_pictures_are_answered_while_a_picture_is_looked_at(slow):
    url, search = slow
    assert ask(url + "/search", png(picture(0)))[0] == 504
    assert search.begun.is_set()
    assert ask(url + "/search?q=x")[0] == 200
    assert ask(url + "/image/mscoco-1")[0] == 200


def test_the_next_query_is_answered_once_a_slow_one_has_ended(slow):
    url, search = slow
    assert ask(url + "/search?q=slow")[0] == 504
    search.let_go.set()
    assert ask(url + "/search?q=x")[0] == 200


def test_of_a_burst_of_queries_every_one_is_answered(manifest, monkeypatch):  # noqa: F811
    count = 40
    monkeypatch.setattr(server, "SECONDS", 60.0)
    search, came, each = Slow(), Semaphore(0), connections.Server.heard

    def heard_of(self, request):
        came.release()
        return each(self, request)

    monkeypatch.setattr(connections.Server, "heard", heard_of)
    with running(search, manifest) as started:
        port = started.server_address[1]
        request = b"GET /search?q=slow HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port
        asked = [opened(port, request) for _ in range(count)]
        for _ in range(count):
            assert came.acquire(timeout=30)
        search.let_go.set()
        answers = [heard(connection) for connection in asked]
    assert [answer.split()[1] for answer in answers] == [b"200"] * count


def test_work_is_refused_where_too_much_waits():
    turns, begun, let_go = Turns(1), Event(), Event()
    with pytest.raises(Late):
        turns.ask(lambda: begun.set() or let_go.wait(60), 0.2)
    assert begun.is_set() and turns.busy
    for _ in range(2):
        with pytest.raises(Busy):
            turns.ask(lambda: 1, 0.01)
    let_go.set()


def test_an_error_of_ours_is_an_answer_and_stands_on_the_terminal(manifest, capfd):  # noqa: F811
    class Broken(Recorded):
        def text(self, query, top):
            raise RuntimeError("out of memory")

    with running(Broken(), manifest) as started:
        answer = ask(f"http://127.0.0.1:{started.server_address[1]}/search?q=x")
    assert_refused(answer, 500, "RuntimeError: out of memory")
    assert "out of memory" in capfd.readouterr().err


def test_a_text_whose_end_is_not_read_is_answered_with_a_warning(manifest):  # noqa: F811
    class Short(Recorded):
        def unread(self, query):
            return "only the first 77 tokens were read" if len(query) > 9 else None

    with running(Short(), manifest) as started:
        url = f"http://127.0.0.1:{started.server_address[1]}/search?q="
        assert "only the first 77" in OPEN(url + "x" * 10, timeout=30).headers["Warning"]
        assert "Warning" not in OPEN(url + "x", timeout=30).headers


# connections


@pytest.mark.parametrize(
    "begun",
    [b"GET / HTTP/1.1\r\nHost: {}\r\nX: y", b"POST /search HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["headers", "body"],
)
def test_a_request_that_does_not_come_in_time_is_told_so(site, monkeypatch, begun):  # noqa: F811
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.05)
    received = heard(opened(site.port, begun.replace(b"{}", b"127.0.0.1:%d" % site.port)))
    assert b" 408 " in received.splitlines()[0] and b"did not come in time" in received
    assert site.search.asked == []


def test_a_connection_that_says_nothing_is_closed(site, monkeypatch):  # noqa: F811
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.05)
    assert heard(opened(site.port, b"")) == b""


def test_idle_connections_make_room(site, monkeypatch):  # noqa: F811
    monkeypatch.setattr(connections, "MOST", 8)
    idle = [opened(site.port, b"GET / HTTP/1.1\r\n") for _ in range(40)]
    for _ in range(3):
        assert ask(site.url + "/search?q=x")[0] == 200
    for connection in idle:
        connection.close()


def test_a_body_that_ends_too_soon_is_refused(site):  # noqa: F811
    connection = opened(
        site.port, b"POST /search HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 9\r\n\r\nhalf" % site.port
    )
    connection.shutdown(socket.SHUT_WR)
    assert b"found 4 bytes, expected 9" in heard(connection)


def test_of_requests_sent_together_the_first_is_answered(site):  # noqa: F811
    one = b"GET /search?q=x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % site.port
    received = heard(opened(site.port, one * 50))
    assert received.count(b" 200 ") == 1 and b"mscoco-1" in received


NO_REQUEST = {
    "address": b"GET http://[ HTTP/1.1\r\nHost: {}\r\n\r\n",
    "long address": b"GET /" + b"x" * 70_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200,
    "long header": b"GET / HTTP/1.1\r\nHost: {}\r\na: " + b"b" * 70_000,
    "tls": b"\x16\x03\x01\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\n\r\n",
}


@pytest.mark.parametrize("said", NO_REQUEST.values(), ids=NO_REQUEST)
def test_what_is_no_request_is_refused(site, said, capfd):  # noqa: F811
    connection = opened(site.port, said.replace(b"{}", b"127.0.0.1:%d" % site.port))
    connection.shutdown(socket.SHUT_WR)
    assert b'{"error":' in heard(connection)
    assert capfd.readouterr().err == ""


def test_the_head_of_an_answer_has_no_body(site):  # noqa: F811
    status, kind, body = sent(site, "HEAD", "/image/mscoco-1", Host=f"127.0.0.1:{site.port}")
    assert (status, kind, body) == (200, "application/octet-stream", b"")


def test_pictures_whose_shards_are_gone_are_an_error_as_json(tmp_path, capfd):
    own = write_manifest(tmp_path / "curate", {Split.TEST: SAMPLES})
    with running(Recorded(), own) as started:
        url = f"http://127.0.0.1:{started.server_address[1]}/image/mscoco-1"
        shutil.rmtree(tmp_path / "curate/test")
        assert_refused(ask(url), 500, "cannot be read")
        (tmp_path / "curate/test/000000.tar").mkdir(parents=True)
        assert_refused(ask(url), 500, "cannot be read")
        (tmp_path / "curate/test/000000.tar").rmdir()
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "curate/test/000000.tar")
            assert_refused(ask(url), 500, "no regular file")
    assert "Traceback" not in capfd.readouterr().err


SERVE = """
import sys, types
from pathlib import Path
from threading import Event
from console.search import serve

class Stuck:
    def __init__(self, *_):
        pass

    def text(self, query, top):
        print("begun", flush=True)
        Event().wait()

sys.modules["pipeline.search.engine"] = types.SimpleNamespace(Search=Stuck)  # the real one imports torch
serve(0, Path(sys.argv[1]))
"""


def test_ctrl_c_ends_it_while_a_query_is_under_way(tmp_path):
    write_manifest(tmp_path / "curate", {Split.TEST: SAMPLES})
    command = [sys.executable, "-c", SERVE, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[0]
        port = int(url.rpartition(":")[2])
        request = f"GET /search?q=x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        with opened(port, request), opened(port, b""):
            assert process.stdout.readline() == "begun\n"
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(10) == 0
        assert process.stderr.read() == ""
