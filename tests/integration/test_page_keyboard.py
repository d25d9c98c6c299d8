"""The web page by somebody who has no mouse and was never here: every stop of Tab is seen, in order, and can be left."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from browsing import watched
from PIL import Image, ImageChops
from served import serving

from mmrerank import Collection

MOST_STOPS = 60
AROUND_PX = 6  # an outline lies outside its element
STOP = """
() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const box = (at.matches(".segments input") ? at.parentElement : at).getBoundingClientRect();
  return { id: at.id, box: [box.left, box.top, box.right, box.bottom], scrolled: [scrollX, scrollY, at.closest(".about")?.scrollTop ?? 0] };
}
"""
FOLLOWS = """
() => {
  const before = window.stopBefore;
  window.stopBefore = document.activeElement;
  return !before || Boolean(before.compareDocumentPosition(document.activeElement) & Node.DOCUMENT_POSITION_FOLLOWING);
}
"""


def pressed(page: Any, key: str) -> dict[str, Any] | None:
    """Where the focus is after a key, None where it has left the page; AssertionError where it cannot be seen."""
    before, was = page.screenshot(), page.evaluate(STOP)
    page.keyboard.press(key)
    stop: dict[str, Any] | None = page.evaluate(STOP)
    if stop is None:
        return None
    left, top, right, bottom = stop["box"]
    size = page.viewport_size
    assert right > left, f"{stop} has no size"
    assert 0 <= left < size["width"], f"{stop} is out of sight"
    assert -1 <= top < size["height"], f"{stop} is out of sight"
    if was is None or (was["box"] != stop["box"] and was["scrolled"] == stop["scrolled"]):
        right, bottom = min(right, size["width"]), min(bottom, size["height"])
        clip = (max(left - AROUND_PX, 0), max(top - AROUND_PX, 0), right + AROUND_PX, bottom + AROUND_PX)
        with Image.open(BytesIO(before)) as one, Image.open(BytesIO(page.screenshot())) as other:
            difference = ImageChops.difference(one.convert("RGB").crop(clip), other.convert("RGB").crop(clip))
        assert difference.getbbox() is not None, f"nothing shows that the focus is on {stop}"
    return stop


def tab_to(page: Any, selector: str, key: str = "Tab") -> None:
    """Goes on until the focus is on an element of that selector, round the end of the page where it has to."""
    for _ in range(MOST_STOPS):
        pressed(page, key)
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{key} never reaches {selector}")


def body_of(page: Any, key: str) -> dict[str, Any]:
    """What the page asks of the service when a key is pressed."""
    with page.expect_response("**/v1/search") as response:
        page.keyboard.press(key)
    body: dict[str, Any] = json.loads(response.value.request.post_data)
    page.wait_for_selector("#results .card")
    page.wait_for_load_state("networkidle")
    return body


def test_somebody_new_finds_excludes_refines_and_asks(page: Any) -> None:
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    tab_to(page, "#text")
    page.keyboard.type("firefighter")
    assert body_of(page, "Enter")["text"] == "firefighter"
    tab_to(page, "#exclude")
    page.keyboard.type("woman")
    page.keyboard.press("Enter")
    assert body_of(page, "Enter")["exclude_text"] == ["woman"]
    tab_to(page, ".card .open")
    page.keyboard.press("ArrowRight")
    tab_to(page, "[data-mark=wanted]")
    page.keyboard.press("Enter")
    marked = page.evaluate("document.activeElement.closest('.card').dataset.id")
    tab_to(page, "#refine")
    assert body_of(page, "Enter")["positive"] == [marked]
    page.wait_for_function("() => document.activeElement.matches('.card:first-child .open')")  # the button is gone, the results are next
    tab_to(page, "#collection", "Shift+Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#empty:has-text('Ask these documents')")
    tab_to(page, "#options summary")
    page.keyboard.press("Enter")
    tab_to(page, "#answerer")
    page.keyboard.press("ArrowDown")
    tab_to(page, "#text", "Shift+Tab")
    page.keyboard.type("What did the skipper accept for bringing back the drifting buoy?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sources .passage")
    assert "accepted a cake" in page.inner_text(".said")
    tab_to(page, ".sources .open")


def test_every_stop_follows_the_one_before_and_none_is_a_trap(page: Any) -> None:
    page.goto("/?collection=emoji&text=firefighter&rerank=reversed&depth=6&k=6&without=helmet")
    page.wait_for_selector("#results .card")
    page.wait_for_load_state("networkidle")
    page.click("#options summary")
    page.click(".card:nth-child(2) [data-mark=unwanted]")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.focus("h1 a")
    page.evaluate(FOLLOWS)
    stops = 0
    while pressed(page, "Tab") is not None and not page.evaluate("document.activeElement.matches('h1 a')"):
        stops += 1
        assert page.evaluate(FOLLOWS), page.evaluate(STOP)
        assert stops < MOST_STOPS, "the end is never reached"
    assert stops >= 20
    page.focus("#refine")
    tab_to(page, "h1 a", "Shift+Tab")


@pytest.mark.parametrize(("opening", "dialog"), [("#keys", "#help"), (".card .open", "#viewer")])
def test_a_window_holds_the_focus_until_escape_and_gives_it_back(page: Any, opening: str, dialog: str) -> None:
    page.goto("/?collection=emoji&text=firefighter&k=6")
    page.wait_for_selector("#results .card")
    page.wait_for_load_state("networkidle")
    tab_to(page, opening)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{dialog}[open]")
    page.wait_for_load_state("networkidle")
    for key in ("Tab", "Shift+Tab"):
        for _ in range(9):
            if pressed(page, key) is not None:  # None: at the end, before it begins anew
                assert page.evaluate("(dialog) => Boolean(document.activeElement.closest(dialog))", dialog)
    page.keyboard.press("Escape")
    page.wait_for_function("(dialog) => !document.querySelector(dialog).open", arg=dialog)
    page.wait_for_function("(opening) => document.activeElement.matches(opening)", arg=opening)


def test_more_than_a_hundred_results_are_reached(browser: Any, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"id": f"{n}", "text": f"buoy number {n}"}) + "\n" for n in range(130)), encoding="utf-8")
    collection = Collection.create(tmp_path / "buoys")
    collection.add([texts])
    with serving(collections=(collection.path,)) as address, watched(browser, base_url=address) as page:
        page.goto("/?text=buoy")
        page.wait_for_selector("#results .card")
        for count in (24, 48, 96):
            page.wait_for_function("(count) => document.querySelectorAll('.card').length === count", arg=count)
            assert page.inner_text("#more") == f"Show {count} more"
            tab_to(page, "#more")
            page.keyboard.press("Enter")
            page.wait_for_function("(count) => document.activeElement.matches(`.card:nth-child(${count + 1}) .open`)", arg=count)
        cards = page.eval_on_selector_all("#results .card", "cards => cards.map((card) => card.dataset.id)")
        assert sorted(cards) == sorted(f"texts.jsonl::{n}" for n in range(130))
        assert page.locator(".more").count() == 0
        page.keyboard.press("End")
        assert page.evaluate("document.activeElement.closest('.card').dataset.id") == cards[-1]
        page.keyboard.press("Enter")
        assert page.inner_text("#viewer dd >> nth=0").startswith("130")


def test_at_the_most_that_the_service_shows_the_page_says_so(browser: Any, site: Any) -> None:
    from mmrerank.service.settings import Limits

    with serving(collections=(site.emoji,), limits=Limits(k=30)) as address, watched(browser, base_url=address) as page:
        page.goto("/?text=pilot")
        page.wait_for_selector("#more:has-text('Show 6 more')")
        page.click("#more")
        page.wait_for_selector(".more:has-text('These are the first 30.')")
        assert page.locator("#more").count() == 0
