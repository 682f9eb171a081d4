"""Images and queries are for whoever sits at this machine, whatever another site has a browser ask."""

import pytest
from test_server import OPEN, assert_refused, manifest, sent, site  # noqa: F401
from tiny_manifest import png
from tiny_models import picture

PATHS = ["/", "/search?q=a", "/image/mscoco-1", "/nothing"]
FOREIGN = [
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": ""},
    {"Origin": "null"},
    {"Origin": "http://evil.example"},
    {"Origin": "https://127.0.0.1:{}"},
    {"Origin": "127.0.0.1:{}"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1:{}.evil.example"},
    {"Referer": "http://evil.example/page"},
    {"Referer": "http://127.0.0.1:{}.evil.example/"},
    {"Referer": "http://127.0.0.1:{}@evil.example/"},
    {"Host": "evil.example:{}"},
    {"Host": "127.0.0.1.evil.example:{}"},
    {"Host": "127.0.0.1"},
    {"Host": ""},
]
OWN = [
    {},
    {"Sec_Fetch_Site": "same-origin", "Origin": "http://127.0.0.1:{}", "Referer": "http://127.0.0.1:{}/?q=a"},
    {"Sec_Fetch_Site": "none"},
    {"Host": "LocalHost:{}", "Origin": "http://localhost:{}", "Referer": "http://localhost:{}"},
]


def given(site, headers):  # noqa: F811
    return {"Host": f"127.0.0.1:{site.port}", **{name: text.format(site.port) for name, text in headers.items()}}


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_is_refused_whatever_it_asks(site, headers):  # noqa: F811
    for path in PATHS:
        assert_refused(sent(site, "GET", path, **given(site, headers)), 403, "open http://127.0.0.1:")
    for method in ("HEAD", "OPTIONS", "DELETE"):
        assert sent(site, method, "/image/mscoco-1", **given(site, headers))[0] == 403
    data = png(picture(0))
    simple = {"Content_Type": "text/plain", "Content_Length": str(len(data))}
    assert_refused(sent(site, "POST", "/search", data, **given(site, headers), **simple), 403, "asked as")
    assert site.search.asked == []


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_its_own_page_is_answered(site, headers):  # noqa: F811
    for path in PATHS[:3]:
        assert sent(site, "GET", path, **given(site, headers))[0] == 200


def test_two_hosts_are_refused(site):  # noqa: F811
    own = f"127.0.0.1:{site.port}"
    assert_refused(sent(site, "GET", "/", Host=own, host="evil.example"), 403, "evil.example")


def test_every_answer_is_kept_from_other_sites_by_the_browser_too(site):  # noqa: F811
    for path in PATHS[:3]:
        with OPEN(site.url + path, timeout=30) as answer:
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in answer.headers
