"""The report of the tiny world, opened from disk in a real browser."""

import copy

import pytest
from tiny_world import BEFORE_CONCEPTS, execute, linked


@pytest.fixture(scope="module")
def report(world):
    return world[0] / "evaluate/report/index.html"


def examples(seen):
    return seen.page.locator(".example:visible")


def test_it_opens_from_disk_with_all_pictures_and_asks_for_nothing(visit, report):
    seen = visit(report)
    assert seen.page.title() == "Student against base"
    count = seen.page.locator("img").count()
    assert count > 10
    seen.page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    seen.page.locator("img").evaluate_all("all => all.forEach(one => one.loading = 'eager')")
    seen.assert_images_loaded(count)
    assert len(seen.urls) == 1 + sum(url.startswith("data:") for url in seen.urls), "nothing but the page itself"
    seen.assert_clean()


def test_it_has_what_is_to_be_looked_at(visit, report):
    seen = visit(report)
    for heading in ("Results", "Probes", "Curves", "Queries won", "Queries lost", "Worst failures", "Data"):
        assert seen.page.get_by_role("heading", name=heading).first.is_visible(), heading
    for title in ("recall@K, text to image", "trade-off on validation"):
        assert seen.page.get_by_text(title, exact=True).count() == 1, title
    assert seen.page.locator(".image i").count() > 0, "boxes of regions"


def test_queries_are_filtered_by_word_and_source(visit, report):
    seen = visit(report)
    every = examples(seen).count()
    assert every > 2
    word = seen.page.locator(".example .caption").first.inner_text().split()[-1].strip(".").lower()
    seen.page.get_by_label("Show queries that say").fill(word)
    said = [text.lower() for text in examples(seen).locator(".caption").all_inner_texts()]
    assert 0 < len(said) <= every
    assert all(word in text for text in said)
    assert seen.page.locator("#shown").inner_text() == f"{len(said)} of {every}"
    seen.page.get_by_label("Show queries that say").fill("no caption says this")
    assert examples(seen).count() == 0
    seen.page.get_by_label("Show queries that say").fill("")
    seen.page.locator("#source").select_option("flickr30k")
    assert examples(seen).count() == every, "all test images are Flickr30k's"
    seen.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 800), (1280, 900)], ids=["phone", "desk"])
def test_it_fits_every_window_and_both_schemes(visit, report, scheme, size):
    seen = visit(report, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    seen.assert_fits()
    results = seen.page.locator(".scroll").first
    assert results.evaluate("card => card.scrollWidth <= card.clientWidth"), "figures are seen without scrolling"
    assert (seen.brightness() > 128) == (scheme == "light")


def test_concepts_are_one_click_away_and_lead_back(visit, knowing, tmp_path):
    given, params = knowing
    data = linked(tmp_path / "data", given, (*BEFORE_CONCEPTS, "concepts"))
    changed = copy.deepcopy(params)
    changed["probe"]["enabled"] = False
    execute(["student", "embed", "index", "probe", "evaluate"], changed, data)
    seen = visit(data / "evaluate/report/index.html")
    seen.page.get_by_role("link", name="Concepts").click()
    assert seen.page.title() == "Concepts"
    assert seen.page.locator("section").count() > 3
    seen.page.get_by_role("link", name="Back to the results").click()
    assert seen.page.title() == "Student against base"
    seen.assert_clean()
