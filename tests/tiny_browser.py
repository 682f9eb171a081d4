"""Pages in a real browser, the system's Chromium.

Playwright's `wait_for_function` evaluates strings, which our pages' security policy forbids: wait for a locator.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Visit:
    """A page that was opened, and what happened on it.

    Attributes:
        page: of playwright.
        console: warnings and errors of the console, and exceptions that nobody caught.
        failed: requests without an answer, with the reason, and answers of a status of 400 or more.
        urls: all that were asked for.
    """

    page: object
    console: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def assert_clean(self, *hosts):
        """Nothing was said, nothing failed, and no host was asked but those named."""
        assert self.console == []
        assert self.failed == []
        assert self.hosts() <= set(hosts)

    def hosts(self):
        return {urlsplit(url).netloc for url in self.urls} - {""}  # data:, blob: and file: have none

    def assert_images_loaded(self, count):
        """There are so many images, and each of them has been decoded."""
        self.page.evaluate("Promise.allSettled([...document.images].map(image => image.decode()))")
        widths = self.page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
        assert len(widths) == count
        assert all(width > 0 for width in widths), widths

    def assert_fits(self):
        """Nothing is wider than the window."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    def brightness(self):
        """Of the page's background, 0 (black) to 255."""
        colour = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        parts = colour[colour.index("(") + 1 : -1].split(",")
        return sum(map(float, parts[:3])) / 3


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Opens a page by its path or address; keyword arguments are those of playwright's `new_context`."""
    contexts = []

    def opened(where, **context):
        contexts.append(browser.new_context(**context))
        found = Visit(contexts[-1].new_page())
        page = found.page
        page.on("console", lambda said: said.type in ("error", "warning") and found.console.append(said.text))
        page.on("pageerror", lambda error: found.console.append(str(error)))
        page.on("request", lambda request: found.urls.append(request.url))
        page.on("requestfailed", lambda request: found.failed.append(f"{request.url}: {request.failure}"))
        page.on(
            "response", lambda answer: answer.status >= 400 and found.failed.append(f"{answer.url}: {answer.status}")
        )
        page.goto(where.resolve().as_uri() if isinstance(where, Path) else where)
        return found

    yield opened
    for context in contexts:
        context.close()
