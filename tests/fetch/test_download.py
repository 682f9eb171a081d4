import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_server import serving

from pipeline.fetch.download import TRIES, Fetched, FetchError, download, length

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = DATA[::-1]


@pytest.fixture
def fetch(site, tmp_path):
    """Fetches `a.bin`; returns what was asked of the server."""
    site.files["a.bin"] = DATA

    def execute(*faults, path=tmp_path / "a.bin", **known):
        site.faults["a.bin"] = list(faults)
        site.asked.clear()
        waits = []
        found = download(site.url("a.bin"), path, wait=waits.append, **known)
        assert found == Fetched(len(DATA), SHA256)
        assert path.read_bytes() == DATA
        assert [one.name for one in path.parent.iterdir()] == ["a.bin"]
        return list(site.asked), waits

    return execute


def left(folder):
    return sorted(one.name for one in folder.iterdir())


def test_a_file_comes_whole(fetch):
    assert fetch() == ([None], [])


def test_what_is_there_and_right_is_not_asked_for(fetch):
    fetch()
    assert fetch(sha256=SHA256) == ([], [])


def test_what_is_there_and_wrong_is_named_and_stays(fetch, tmp_path):
    (tmp_path / "a.bin").write_bytes(OTHER)
    with pytest.raises(FetchError, match=r"is there and has sha256 .* remove it"):
        fetch(sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_broken_connections_are_gone_on_with(fetch):
    asked, waits = fetch({"cut": 1000}, {"cut": 50_000}, {"cut": 0})
    assert asked == [None, "bytes=1000-", "bytes=51000-", "bytes=51000-"]
    assert waits == [1, 1, 2]  # longer where nothing came


def test_a_server_that_knows_no_ranges_is_asked_for_everything(fetch):
    asked, _ = fetch({"cut": 1000}, {"no_range": True})
    assert asked == [None, "bytes=1000-"]


def test_a_range_that_begins_elsewhere_is_not_believed(fetch):
    asked, _ = fetch({"cut": 1000}, {"shift": 5}, {})
    assert asked == [None, "bytes=1000-", None]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_is_busy_is_asked_again(fetch, status):
    assert fetch({"status": status}, {"status": status}) == ([None] * 3, [1 * 2, 4])


def test_redirects_are_followed(fetch, site):
    site.files["b.bin"] = DATA
    fetch({"redirect": "b.bin"})


def test_a_killed_fetch_goes_on(fetch, site, tmp_path):
    site.files["a.bin"] = DATA
    site.faults["a.bin"] = [{"cut": 1000}]

    def killed(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site.url("a.bin"), tmp_path / "a.bin", wait=killed)
    assert left(tmp_path) == [".a.bin.origin", ".a.bin.partial"]
    assert fetch()[0] == ["bytes=1000-"]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(fetch, site):
    asked, _ = fetch({"data": OTHER, "cut": 1000})
    assert asked == [None, "bytes=1000-"]  # If-Range: the server sends all of the new one


def test_pieces_of_two_versions_are_found_out_by_their_hash(fetch, site):
    site.tagged = False  # the server does not say which version it is
    asked, _ = fetch({"data": OTHER, "cut": 1000}, sha256=SHA256)
    assert asked == [None, "bytes=1000-", None]


def test_without_hash_and_version_nothing_is_gone_on_with(fetch, site):
    site.tagged = False
    assert fetch({"cut": 1000})[0] == [None, None]


def test_what_another_url_has_left_is_not_gone_on_with(fetch, site, tmp_path):
    (tmp_path / ".a.bin.partial").write_bytes(OTHER[:1000])
    (tmp_path / ".a.bin.origin").write_text('{"url": "http://elsewhere/a.bin", "validator": ""}')
    assert fetch(sha256=SHA256)[0] == [None]


def test_too_few_bytes_without_a_stated_length_are_found_out_by_the_size(fetch):
    fetch({"no_length": True, "cut": 1000}, size=len(DATA))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"sha256": "0" * 64}, "has sha256"),
        ({"size": 10}, "more than|has .* bytes"),
        ({"size": 10**6}, "has .* bytes|cannot"),
    ],
)
def test_wrong_bytes_leave_nothing(site, tmp_path, known, told):
    site.files["a.bin"] = DATA
    with pytest.raises(FetchError, match=told):
        download(site.url("a.bin"), tmp_path / "a.bin", wait=lambda _: None, **known)
    assert not (tmp_path / "a.bin").exists()


def test_wrong_bytes_after_a_break_are_fetched_once_more_and_then_given_up(site, tmp_path):
    site.files["a.bin"] = OTHER
    site.faults["a.bin"] = [{"cut": 1000}]
    with pytest.raises(FetchError, match="has changed"):
        download(site.url("a.bin"), tmp_path / "a.bin", sha256=SHA256, wait=lambda _: None)
    assert site.asked == [None, "bytes=1000-", None]
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [({"status": 404}, "404"), ({"status": 403}, "403"), ({"kind": "text/html; charset=utf-8"}, "answers with a page")],
)
def test_what_is_refused_is_not_asked_for_again(site, tmp_path, fault, told):
    site.files["a.bin"] = DATA
    site.faults["a.bin"] = [fault]
    with pytest.raises(FetchError, match=told):
        download(site.url("a.bin"), tmp_path / "a.bin", wait=pytest.fail)
    assert site.asked == [None]


def test_it_is_given_up_when_nothing_comes_any_more_and_what_came_stays(site, tmp_path):
    site.files["a.bin"] = DATA
    site.faults["a.bin"] = [{"cut": 1000}] + [{"cut": 0}] * (TRIES + 5)
    waits = []
    with pytest.raises(FetchError, match="1,000 bytes are here; the same command goes on"):
        download(site.url("a.bin"), tmp_path / "a.bin", wait=waits.append)
    assert len(site.asked) == 1 + TRIES
    assert waits == sorted(waits) and max(waits) <= 60


def test_nobody_there_is_an_error_that_names_the_url(tmp_path):
    with pytest.raises(FetchError, match=r"http://127.0.0.1:9/a.bin cannot be"):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", wait=lambda _: None)
    with pytest.raises(FetchError, match="cannot be reached"):
        length("http://127.0.0.1:9/a.bin")


def test_a_length_is_asked_for_without_the_file(site):
    site.files["a.bin"] = DATA
    assert length(site.url("a.bin")) == len(DATA)
    assert site.asked == []


_FAULTS = st.fixed_dictionaries(
    {},
    optional={
        "cut": st.integers(0, len(DATA)), "no_range": st.just(True), "no_length": st.just(True),
        "status": st.sampled_from([500, 503]), "shift": st.sampled_from([-1, 1]), "data": st.just(OTHER),
    },
)  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(_FAULTS, max_size=6), tagged=st.booleans(), sized=st.booleans())
def test_whatever_goes_wrong_the_right_file_is_there_or_none(tmp_path_factory, faults, tagged, sized):
    path = tmp_path_factory.mktemp("fetched") / "a.bin"
    with serving() as site:
        site.files["a.bin"], site.faults["a.bin"], site.tagged = DATA, list(faults), tagged
        known = {"size": len(DATA)} if sized else {}
        try:
            download(site.url("a.bin"), path, sha256=SHA256, wait=lambda _: None, **known)
        except FetchError:
            assert not path.exists()
        else:
            assert path.read_bytes() == DATA
            assert left(path.parent) == ["a.bin"]
