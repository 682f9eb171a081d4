from threading import Thread

import numpy as np
import pytest
from tiny_manifest import png, write_manifest
from tiny_models import COMPUTE, picture, tiny_clip

from pipeline.artifacts.schema import Split
from pipeline.clip import encode
from pipeline.search.engine import Search
from pipeline.search.index import RetrievalIndex
from pipeline.search.server import server

COUNT = 15
SHOWN = 12
SAMPLES = {f"mscoco/{i} é%": [f"{i} <b>image</b> & its caption", f'{i} "another" one of them'] for i in range(COUNT)}
KEYS = list(SAMPLES)


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """Images under their own vectors, so that each finds itself first."""
    data = tmp_path_factory.mktemp("page")
    clip = tiny_clip()
    clip.save(data / "student")
    manifest = write_manifest(data / "curate", {Split.TEST: SAMPLES})
    to_pixels = clip.pixels()
    vectors = np.concatenate([encode.images(clip, [to_pixels(picture(i))], COMPUTE).numpy() for i in range(COUNT)])
    captions = encode.texts(clip, [text for texts in SAMPLES.values() for text in texts], COMPUTE).numpy()
    index = RetrievalIndex.of(vectors, captions, KEYS, manifest.captions, weights=clip.weights, manifest="m")
    index.save(data / "faiss")
    return Search(data / "student", data / "faiss"), manifest


@pytest.fixture(scope="module")
def site(search):
    """The address of a running server."""
    running = server(*search, 0)
    with running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/"
        finally:
            running.shutdown()
            thread.join()


def host(site):
    return site.removeprefix("http://").rstrip("/")


def said(seen):
    return seen.page.get_by_role("status")


def wait_for(seen, text):
    said(seen).filter(has_text=text).wait_for()


def captions_shown(seen):
    return seen.page.locator("#found figcaption").all_text_contents()


def wanted(search, hits):
    return [f"{one['rank']}. {one['similarity']:.3f} {one['captions'][0]}" for one in search[0].told(hits)]


def ask(seen, query):
    seen.page.get_by_role("searchbox").fill(query)
    seen.page.get_by_role("searchbox").press("Enter")


def send(seen, data, name="asked.png"):
    seen.page.get_by_label("Search by an image").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": data}
    )


def assert_results(seen, expected, asked=False):
    wait_for(seen, f"{len(expected)} images, the most similar first")
    assert captions_shown(seen) == expected
    seen.assert_images_loaded(len(expected) + asked)
    assert seen.page.locator("#asked img").count() == asked


def test_the_page_opens_without_errors_and_waits_for_a_query(visit, site):
    seen = visit(site)
    seen.assert_clean(host(site))
    assert seen.page.get_by_role("heading").inner_text() == f"Search {COUNT} images"
    assert "drop an image here" in said(seen).inner_text()
    assert seen.page.locator("img").count() == 0
    assert seen.page.evaluate("document.activeElement.id") == "query"


def test_a_text_and_enter_show_pictures_in_order(visit, site, search):
    seen = visit(site)
    seen.page.locator("#query:focus").wait_for()
    seen.page.keyboard.type("a red star & <b>more</b>")
    seen.page.keyboard.press("Enter")
    assert_results(seen, wanted(search, search[0].text("a red star & <b>more</b>", SHOWN)))
    assert len(captions_shown(seen)) == SHOWN
    assert seen.page.locator("#found span b").count() == 0, "captions are text"
    seen.assert_clean(host(site))


def test_an_example_is_a_query_in_one_click(visit, site, search):
    seen = visit(site)
    examples = seen.page.locator("#examples button")
    assert examples.count() == 4
    query = examples.nth(1).inner_text()
    assert [query] in [own[:1] for own in SAMPLES.values()]
    examples.nth(1).click()
    assert_results(seen, wanted(search, search[0].text(query, SHOWN)))
    assert seen.page.get_by_role("searchbox").input_value() == query
    assert not seen.page.locator("#examples").is_visible()
    seen.assert_clean(host(site))


def test_more_shows_more_until_there_are_no_more(visit, site, search):
    seen = visit(site)
    ask(seen, "a star")
    wait_for(seen, f"{SHOWN} images")
    seen.page.get_by_role("button", name="More").click()
    assert_results(seen, wanted(search, search[0].text("a star", 2 * SHOWN)))
    assert len(captions_shown(seen)) == COUNT < 2 * SHOWN
    assert not seen.page.get_by_role("button", name="More").is_visible()
    seen.assert_clean(host(site))


def test_more_of_a_picture_is_of_the_same_picture(visit, site, search):
    seen = visit(site)
    send(seen, png(picture(2)))
    wait_for(seen, f"{SHOWN} images")
    seen.page.get_by_role("button", name="More").click()
    assert_results(seen, wanted(search, search[0].image(png(picture(2)), COUNT)), asked=True)


def test_a_query_can_be_passed_on_by_its_address(visit, site):
    seen = visit(site)
    ask(seen, "a star & é")
    wait_for(seen, f"{SHOWN} images")
    again = visit(seen.page.url)
    wait_for(again, f"{SHOWN} images")
    assert captions_shown(again) == captions_shown(seen)


def test_the_button_asks_too_and_captions_are_alternatives(visit, site, search):
    seen = visit(site)
    seen.page.get_by_role("searchbox").fill("漢字 é 100 % + ?&q=x#")
    seen.page.get_by_role("button", name="Search", exact=True).click()
    hits = search[0].text("漢字 é 100 % + ?&q=x#", SHOWN)
    assert_results(seen, wanted(search, hits))
    images = seen.page.locator("#found img")
    assert images.evaluate_all("all => all.map(one => one.alt)") == [SAMPLES[hit.key][0] for hit in hits]
    assert images.first.get_attribute("title") == "\n".join(SAMPLES[hits[0].key])


def test_an_empty_query_says_so_and_the_next_one_answers(visit, site, search):
    seen = visit(site)
    ask(seen, "a star")
    wait_for(seen, f"{SHOWN} images")
    ask(seen, "  ")
    wait_for(seen, "the query is empty")
    assert captions_shown(seen) == []
    ask(seen, "two cats")
    assert_results(seen, wanted(search, search[0].text("two cats", SHOWN)))


@pytest.mark.parametrize("i", [0, 14])
def test_a_picture_that_is_sent_finds_itself(visit, site, search, i):
    seen = visit(site)
    send(seen, png(picture(i)))
    assert_results(seen, wanted(search, search[0].image(png(picture(i)), SHOWN)), asked=True)
    assert captions_shown(seen)[0] == f"1. 1.000 {SAMPLES[KEYS[i]][0]}"
    size = seen.page.locator("#asked img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [picture(i).width, picture(i).height]
    seen.assert_clean(host(site))


def test_the_same_picture_can_be_sent_twice(visit, site):
    seen = visit(site)
    for _ in range(2):
        send(seen, png(picture(3)))
        seen.page.locator("#asked img").wait_for()
        wait_for(seen, f"{SHOWN} images")
        ask(seen, "")
        wait_for(seen, "the query is empty")
        assert seen.page.locator("#asked img").count() == 0


def test_a_file_that_is_no_picture_says_so(visit, site):
    seen = visit(site)
    send(seen, b"no image at all")
    wait_for(seen, "the query is no image")
    assert seen.page.locator("img").count() == 0


def test_a_picture_that_is_dropped_is_searched(visit, site):
    seen = visit(site)
    transfer = seen.page.evaluate_handle(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
          return transfer;
        }""",
        list(png(picture(6))),
    )
    seen.page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    seen.page.locator("#asked img").wait_for()
    assert captions_shown(seen)[0] == f"1. 1.000 {SAMPLES[KEYS[6]][0]}"


def test_a_click_on_a_picture_searches_by_it(visit, site, search):
    seen = visit(site)
    ask(seen, "a star")
    wait_for(seen, f"{SHOWN} images")
    key = search[0].text("a star", SHOWN)[4].key
    seen.page.locator("#found img").nth(4).click()
    seen.page.locator("#asked img").wait_for()
    i = KEYS.index(key)
    assert_results(seen, wanted(search, search[0].image(png(picture(i)), SHOWN)), asked=True)
    assert captions_shown(seen)[0] == f"1. 1.000 {SAMPLES[key][0]}"
    seen.assert_clean(host(site))


def test_a_picture_is_chosen_by_the_keyboard_too(visit, site):
    seen = visit(site + "?q=a+star")
    wait_for(seen, f"{SHOWN} images")
    seen.page.get_by_label("Search by an image").focus()
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.getElementById('found').contains(document.activeElement)")


def test_an_answer_that_was_overtaken_is_not_shown(visit, site, search):
    seen = visit(site)
    held = []
    seen.page.route("**/search?*q=slow", lambda route: held.append(route))
    ask(seen, "slow")
    wait_for(seen, "searching")
    ask(seen, "quick")
    expected = wanted(search, search[0].text("quick", SHOWN))
    assert_results(seen, expected)
    held[0].fulfill(json=[])
    seen.page.evaluate("fetch('/').then(answer => answer.text())")  # by then the held answer has arrived
    assert captions_shown(seen) == expected


def test_a_server_that_is_gone_is_named(visit, site):
    seen = visit(site)
    seen.page.route("**/search?*", lambda route: route.abort())
    ask(seen, "a star")
    wait_for(seen, "the server does not answer")


def test_a_query_in_the_address_is_searched_at_once(visit, site, search):
    seen = visit(site + "?q=a%20blue+moon%20%26%20%C3%A9")
    assert_results(seen, wanted(search, search[0].text("a blue moon & é", SHOWN)))
    assert seen.page.get_by_role("searchbox").input_value() == "a blue moon & é"
    seen.assert_clean(host(site))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 800), (1280, 800)], ids=["phone", "desk"])
def test_it_fits_every_window_and_both_schemes(visit, site, scheme, size):
    viewport = {"width": size[0], "height": size[1]}
    seen = visit(site + "?q=a+star", viewport=viewport, color_scheme=scheme)
    wait_for(seen, f"{SHOWN} images")
    seen.assert_images_loaded(SHOWN)
    seen.assert_fits()
    assert seen.brightness() < 60 if scheme == "dark" else seen.brightness() > 200
    lefts = seen.page.locator("#found figure").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
    assert len(set(lefts)) >= (2 if size[0] == 390 else 5), "images stand in columns"
    for name in ("query", "picture"):
        assert seen.page.locator(f"#{name}").is_enabled()
    seen.assert_clean(host(site))


def test_a_touch_searches_by_a_picture(visit, site):
    seen = visit(site + "?q=a+star", viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    wait_for(seen, f"{SHOWN} images")
    seen.page.locator("#found img").first.tap()
    seen.page.locator("#asked img").wait_for()
    seen.assert_fits()


def test_what_of_a_query_is_not_read_is_said(visit, site):
    seen = visit(site)
    ask(seen, "a star " * 40)
    wait_for(seen, "only the first 16 tokens were read")
