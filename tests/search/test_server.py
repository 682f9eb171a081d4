import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from threading import Barrier, Lock, Thread
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from tiny_manifest import png, write_manifest
from tiny_models import picture

from pipeline.artifacts.schema import Split
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.search import server
from pipeline.search.index import Hit

SAMPLES = {
    "mscoco-1": ["a red star", "a star"],
    "cc/2 é%20?": ["a <b>blue</b> moon"],
    "flickr30k-3": ["two cats"],
}
KEYS = list(SAMPLES)
OPEN = build_opener(ProxyHandler({})).open


class Recorded:
    """Answers as `Search` does, tells what it was asked, and notices two threads at once."""

    def __init__(self):
        self.asked, self.together, self._inside = [], False, Lock()

    def _answer(self, query, top):
        if not self._inside.acquire(blocking=False):
            self.together = True
            return []
        try:
            self.asked.append((query, top))
            return [Hit(key, 1 - i / 4) for i, key in enumerate(KEYS)][:top]
        finally:
            self._inside.release()

    def text(self, query, top):
        if not query.strip():
            raise InputError("the query is empty; say what the image should show")
        return self._answer(query, top)

    def unread(self, query):
        return None

    def image(self, data, top):
        try:
            decoding.decode(data)
        except decoding.UnreadableImage as error:
            raise InputError(f"the query is no image ({error})") from error
        return self._answer(data, top)

    def described(self, hits):
        return [
            {"rank": i, "key": hit.key, "similarity": hit.similarity, "captions": SAMPLES[hit.key]}
            for i, hit in enumerate(hits, start=1)
        ]


@contextmanager
def running(search, manifest):
    started = server.server(search, manifest, 0)
    with started:
        thread = Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield started
        finally:
            started.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("serve") / "curate", {Split.TEST: SAMPLES})


@pytest.fixture
def site(manifest):
    search = Recorded()
    with running(search, manifest) as server:
        port = server.server_address[1]
        yield SimpleNamespace(server=server, search=search, port=port, url=f"http://127.0.0.1:{port}")


def ask(url, data=None, **headers):
    """Status, content type and body of an answer."""
    try:
        with OPEN(Request(url, data=data, headers=headers), timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def sent(site, method, path, body=None, **headers):
    """The same with headers as they are given, however wrong."""
    connection = HTTPConnection("127.0.0.1", site.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def assert_refused(answer, status, said):
    assert answer[:2] == (status, "application/json")
    error = json.loads(answer[2])
    assert set(error) == {"error"}
    assert said in error["error"]


# what is there


def test_the_page(site):
    status, kind, body = ask(site.url + "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    html = body.decode()
    assert "<h1>Search 3 images</h1>" in html
    assert "http://" not in html and "https://" not in html, "it asks no host"


def test_the_page_with_a_query_is_the_page(site):
    assert ask(site.url + "/?q=a%20star")[2] == ask(site.url + "/")[2]


def test_a_text_is_searched(site):
    status, kind, body = ask(site.url + "/search?q=a+red%20star&top=2")
    assert (status, kind) == (200, "application/json")
    assert json.loads(body) == [
        {"rank": 1, "key": "mscoco-1", "similarity": 1, "captions": ["a red star", "a star"]},
        {"rank": 2, "key": "cc/2 é%20?", "similarity": 0.75, "captions": ["a <b>blue</b> moon"]},
    ]
    assert site.search.asked == [("a red star", 2)]


@pytest.mark.parametrize("query", ["é 漢字 🌟", "100 %", "a&top=1", "a+b", "#?/=;", "%41", "<b>'\"", "a\nb"])
def test_a_query_arrives_as_it_was_written(site, query):
    assert ask(f"{site.url}/search?q={quote(query, safe='')}&top=3")[0] == 200
    assert site.search.asked == [(query, 3)]


def test_bytes_that_are_not_utf8_do_not_break_it(site):
    assert ask(site.url + "/search?q=%ff%fe")[0] == 200


def test_twelve_are_shown_if_nobody_says_how_many(site):
    ask(site.url + "/search?q=x")
    ask(site.url + "/search", png(picture(0)))
    assert [top for _, top in site.search.asked] == [12, 12]


def test_a_picture_is_searched(site):
    data = png(picture(7))
    status, kind, body = ask(site.url + "/search?top=1", data)
    assert (status, kind) == (200, "application/json")
    assert [one["key"] for one in json.loads(body)] == ["mscoco-1"]
    assert site.search.asked == [(data, 1)]


@pytest.mark.parametrize("row", range(3))
def test_a_picture_is_given_byte_for_byte(site, row):
    status, _, body = ask(f"{site.url}/image/{quote(KEYS[row], safe='')}")
    assert (status, body) == (200, png(picture(row)))


def test_every_answer_keeps_the_page_to_this_server(site):
    for path in ("/", "/search?q=x", "/image/mscoco-1"):
        with OPEN(site.url + path, timeout=30) as answer:
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
            assert int(answer.headers["Content-Length"]) == len(answer.read())


# refusals


@pytest.mark.parametrize("path", ["/nothing", "/search/", "/image/", "/image", "/index.html", "/..%2f..%2fetc/passwd"])
def test_an_unknown_path_is_refused(site, path):
    assert_refused(ask(site.url + path), 404, f"there is nothing at {path}")


@pytest.mark.parametrize("key", ["mscoco-2", "", "cc", "cc/2 é", "../manifest.parquet"])
def test_an_unknown_key_is_refused(site, key):
    assert_refused(ask(f"{site.url}/image/{quote(key, safe='')}"), 404, "there is nothing at /image/")


@pytest.mark.parametrize("path", ["/", "/image/mscoco-1", "/searching"])
def test_pictures_are_sent_to_search_alone(site, path):
    assert_refused(ask(site.url + path, png(picture(0))), 404, "sent to /search")


@pytest.mark.parametrize("top", ["0", "101", "-1", "1.5", "x", "1e1", "%20"])
@pytest.mark.parametrize("data", [None, png(picture(0))], ids=["text", "picture"])
def test_a_top_out_of_range_is_refused(site, top, data):
    assert_refused(ask(f"{site.url}/search?q=x&top={top}", data), 400, "expected 1 to 100")
    assert site.search.asked == []


@pytest.mark.parametrize("top", ["%C2%B2", "1" * 5000], ids=["superscript", "long"])
def test_a_top_that_looks_like_a_number_is_refused(site, top, capfd):
    assert_refused(ask(f"{site.url}/search?q=x&top={top}"), 400, "expected 1 to 100")


@pytest.mark.parametrize("top", [1, 100])
def test_the_ends_of_the_range_are_taken(site, top):
    assert ask(f"{site.url}/search?q=x&top={top}")[0] == 200


@pytest.mark.parametrize("path", ["/search", "/search?q=", "/search?q=%20%0a", "/search?top=3"])
def test_an_empty_query_is_refused(site, path):
    assert_refused(ask(site.url + path), 400, "the query is empty")


@pytest.mark.parametrize("data", [b"no image", png(picture(0))[:200]], ids=["text", "half"])
def test_a_body_that_is_no_picture_is_refused(site, data):
    assert_refused(ask(site.url + "/search", data), 400, "the query is no image")


@pytest.mark.parametrize("headers", [{"Content_Length": "0"}, {}], ids=["empty", "no length"])
def test_an_empty_body_is_refused(site, headers):
    status, kind, body = sent(site, "POST", "/search", **headers)
    assert status in (400, 411)
    assert kind == "application/json" and "error" in json.loads(body)


def test_an_empty_body_is_no_answer(site):
    assert "error" in json.loads(sent(site, "POST", "/search", Content_Length="0")[2])
    assert site.search.asked == []


def test_a_picture_too_large_is_refused_before_it_is_read(site):
    answer = sent(site, "POST", "/search", Content_Length=str(server.MOST_BYTES + 1))
    assert_refused(answer, 413, f"at most {server.MOST_BYTES:,}")


def test_a_picture_as_large_as_may_be_is_read(site, monkeypatch):
    data = png(picture(0))
    monkeypatch.setattr(server, "MOST_BYTES", len(data))
    assert ask(site.url + "/search", data)[0] == 200
    assert_refused(ask(site.url + "/search", data + b"x"), 413, "at most")


def test_whoever_sends_a_picture_too_large_reads_why(site):
    assert_refused(ask(site.url + "/search", b"x" * (server.MOST_BYTES + 1)), 413, "at most")


def test_a_length_that_is_no_number_is_refused(site):
    assert_refused(sent(site, "POST", "/search", Content_Length="many"), 400, "many")


def test_a_negative_length_is_refused(site):
    assert_refused(sent(site, "POST", "/search", Content_Length="-5"), 400, "-5")


def test_a_method_that_is_not_there_is_refused_as_json(site):
    status, kind, _ = sent(site, "DELETE", "/search")
    assert (status, kind) == (501, "application/json")


def test_a_picture_that_was_changed_on_disk_is_an_error_as_json(tmp_path, capfd):
    own = write_manifest(tmp_path / "curate", {Split.TEST: SAMPLES})
    with running(Recorded(), own) as server:
        shard = next((tmp_path / "curate/test").iterdir())
        content = bytearray(shard.read_bytes())
        place = content.index(b"IDAT") + 20
        content[place] ^= 1
        shard.write_bytes(content)
        answer = ask(f"http://127.0.0.1:{server.server_address[1]}/image/mscoco-1")
    assert_refused(answer, 500, "mscoco-1")


# threads and hosts


def test_requests_at_once_are_all_answered_and_searched_one_at_a_time(site):
    count = 8
    barrier = Barrier(count)

    def one(i):
        barrier.wait()
        return ask(f"{site.url}/search?q=text+{i}&top={1 + i % 3}"), ask(f"{site.url}/image/mscoco-1")

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(one, range(count)))
    for i, (found, image) in enumerate(answers):
        assert found[0] == 200
        assert len(json.loads(found[2])) == 1 + i % 3
        assert image[2] == png(picture(0))
    assert not site.search.together
    assert sorted(site.search.asked) == sorted((f"text {i}", 1 + i % 3) for i in range(count))


def test_a_page_is_given_while_another_caller_says_nothing(site):
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as silent:
        silent.sendall(b"POST /search HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
        assert ask(site.url + "/search?q=x")[0] == 200


def test_it_listens_on_this_machine_alone(site):
    assert site.server.server_address[0] == "127.0.0.1"
    assert site.server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", site.port), timeout=30):
        pass


def test_it_says_nothing_of_requests(site, capfd):
    ask(site.url + "/search?q=secret")
    ask(site.url + "/nothing")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_other_sites_are_refused(site, headers):
    given = {"Host": f"127.0.0.1:{site.port}", **headers}
    connection = HTTPConnection("127.0.0.1", site.port, timeout=30)
    connection.request("GET", "/search?q=a", headers=given)
    answer = connection.getresponse()
    assert_refused((answer.status, answer.headers["Content-Type"], answer.read()), 403, "open http://127.0.0.1:")
    connection.close()
    assert site.search.asked == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_this_site_is_answered_by_both_its_names(site, name):
    own = f"{name}:{site.port}"
    assert ask(site.url + "/search?q=a", Host=own, Origin=f"http://{own}")[0] == 200
