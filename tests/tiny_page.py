"""Pages taken apart."""

from html.parser import HTMLParser

HOSTILE = '<script src="https://example.org/x.js">alert(1)</script> & "two" <b>cats</b>'
"""A text that must not become markup."""


class Links(HTMLParser):
    """Everything that a browser would fetch or lead to, and the tags and texts of a page."""

    def __init__(self, html):
        super().__init__()
        self.targets, self.tags, self.alts, self.texts = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"):
                self.targets.append(value)
            if name == "alt":
                self.alts.append(value)

    def handle_data(self, data):
        self.texts.append(data)


def assert_asks_no_host(html):
    page = Links(html)
    assert all(target.startswith(("data:", "#")) for target in page.targets)
    assert not {"iframe", "link", "object", "embed", "base", "form"} & set(page.tags)
    assert "@import" not in html
    assert all(part.startswith(("#", "data:")) for part in html.replace("url('", "url(").split("url(")[1:])
