"""How the web page looks: nothing sticks out on a phone, and everything can be read in light and dark."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import DESK, PHONE, faint, watched
from PIL import Image
from served import serving

from tools.screenshots import SHOTS, screenshot, small

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"

SEARCH = "/?collection=emoji&text=firefighter&rerank=reversed&depth=6&k=12&without=helmet&wanted=pictures.parquet::woman-farmer"
ASK = "/?collection=report&answerer=extractive&text=What+did+the+skipper+accept+for+bringing+back+the+drifting+buoy"
SEEN = "/?collection=emoji&text=firefighter&rerank=square&depth=9&k=9&view=seen"
STATES = {  # where to go, what to wait for, and what to do then
    "start": ("/?collection=emoji", "#empty h2", ""),
    "results": (SEARCH, ".card", ""),
    "moves": (SEARCH + "&view=moves", ".moves", ""),
    "nothing moved": ("/?collection=emoji&text=pilot&rerank=reversed&depth=1&k=1&view=moves", ".moves .still", ""),
    "what the model saw": (SEEN, ".seen img", "#notes summary"),
    "marks": (SEARCH, ".card", ".card:nth-child(2) [data-mark=unwanted]"),
    "more": ("/?collection=emoji&text=face&k=6", "#more", ""),
    "nothing": ("/?collection=report&mode=find&text=xylophone", "#empty h2", ""),
    "ask": ("/?collection=report", "#empty h2", ""),
    "answer": (ASK, ".sources .passage", ""),
    "no answer": ("/?collection=report&answerer=extractive&text=Who+plays+the+xylophone", ".said.none", ""),
    "opened": (ASK + "&open=harbour-station-annual-report.pdf%23page%3D14", "#viewer .passage", ""),
    "refused": ("/?collection=emoji&text=pilot&rerank=nobody", "#problem h2", ""),
    "no such collection": ("/?collection=nobody", "#problem h2", ""),
}
REFUSED = "status of 4"  # what the console says of it
DRAGGED = """
() => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([], "some.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("dragenter", { dataTransfer: transfer, bubbles: true }));
}
"""

OUTSIDE = """
elements => elements.filter((e) => e.checkVisibility() && !e.closest(".hidden-text, .stage"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 200))
"""


@pytest.mark.parametrize("state", STATES)
def test_nothing_sticks_out_on_a_phone(browser: Any, site: SimpleNamespace, state: str) -> None:
    address, wait_for, press = STATES[state]
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    with watched(browser, base_url=site.address, complains=REFUSED, **phone) as page:
        page.goto(address)
        page.wait_for_selector(wait_for)
        if state != "opened":  # which lies above everything else
            page.click("#options summary")
        if press:
            page.click(press)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.eval_on_selector_all("body *", OUTSIDE) == []
        small = (
            "buttons => buttons.filter((b) => b.checkVisibility() && Math.min(b.offsetWidth, b.offsetHeight) < 24).map((b) => b.outerHTML)"
        )
        assert page.eval_on_selector_all("button", small) == [], "too small for a finger"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_every_word_stands_out_from_its_ground(browser: Any, site: SimpleNamespace, state: str, scheme: str) -> None:
    address, wait_for, press = STATES[state]
    with watched(browser, base_url=site.address, complains=REFUSED, viewport=DESK, color_scheme=scheme) as page:
        page.goto(address)
        page.wait_for_selector(wait_for)
        assert faint(page) == []
        if state != "opened":
            page.click("#options summary")
            assert faint(page) == [], "unfolded"
        if press:
            if page.locator(".card").count():
                page.hover(".card:nth-child(2)")
            page.click(press)
            assert faint(page) == [], press
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_while_the_page_waits_and_lies_under_something(browser: Any, site: SimpleNamespace, scheme: str) -> None:
    with watched(browser, base_url=site.address, complains="status of 5", viewport=DESK, color_scheme=scheme) as page:
        page.goto(SEARCH)
        page.wait_for_selector(".card")
        page.click("#options summary")
        page.select_option("#rerank", "slow")
        page.click("#go")
        page.wait_for_selector("#progress:visible")
        assert faint(page) == [], "the results before, beside the progress"
        page.click("#cancel")
        page.wait_for_selector("#status:has-text('Cancelled')")
        assert faint(page) == []
        page.click("#keys")
        assert faint(page) == [], "the keys"
        page.keyboard.press("Escape")
        page.evaluate(DRAGGED)
        page.wait_for_selector("#drop:visible")
        assert faint(page) == [], "where a picture is dropped"
        page.select_option("#rerank", "broken")
        page.evaluate("document.querySelector('#search').requestSubmit()")
        page.wait_for_selector("#problem button")
        assert faint(page) == [], "an error, with a button"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_where_a_token_is_asked_for(browser: Any, site: SimpleNamespace, scheme: str) -> None:
    with (
        serving(collections=(site.emoji,), token="open sesame") as address,
        watched(browser, base_url=address, complains="status of 401", color_scheme=scheme) as page,
    ):
        page.goto("/?text=pilot")
        page.fill("#token", "guessed")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem:has-text('wrong')")
        assert faint(page) == []


def test_faint_words_would_be_found(page: Any) -> None:
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    page.eval_on_selector("#empty p", "words => { words.style.opacity = 0.6; }")
    page.eval_on_selector("#empty h2", "words => { words.style.color = '#888'; }")
    assert len(faint(page)) == 2


def test_pictures_that_come_late_move_nothing(browser: Any, site: SimpleNamespace) -> None:
    with watched(browser, base_url=site.address) as page:
        held: list[Any] = []
        page.route("**/thumbnail?*", lambda route: held.append(route))
        page.goto(SEARCH)
        page.wait_for_selector(".card")
        place = "cards => cards.map((card) => { const box = card.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })"
        before = page.eval_on_selector_all(".card", place)
        for route in held:
            route.continue_()
        page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
        assert page.eval_on_selector_all(".card", place) == before


def test_the_pictures_in_the_repository_are_those_that_the_command_takes(browser: Any, site: SimpleNamespace) -> None:
    pictures = {file.name: file for file in PICTURES.glob("page-*.png")}
    assert set(pictures) == {f"page-{shot.name}.png" for shot in SHOTS}
    assert all(file.stat().st_size < 150_000 for file in pictures.values())
    (phone,) = (shot for shot in SHOTS if shot.name == "phone")
    with Image.open(BytesIO(small(screenshot(browser, site.address, phone)))) as picture:
        assert picture.size == phone.size
        assert picture.mode == "P"
