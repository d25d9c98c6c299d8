"""How the web page looks: nothing sticks out on a phone, and everything can be read in light and dark."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import DESK, PHONE, watched
from PIL import Image

from tools.screenshots import SHOTS, screenshot, small

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"

SEARCH = "/?collection=emoji&text=firefighter&rerank=reversed&depth=6&k=12&without=helmet&wanted=pictures.parquet::woman-farmer"
ASK = "/?collection=report&answerer=extractive&text=What+did+the+skipper+accept+for+bringing+back+the+drifting+buoy"
STATES = {  # where to go, what to wait for, and what to do then
    "start": ("/?collection=emoji", "#empty h2", ""),
    "results": (SEARCH, ".card", ""),
    "moves": (SEARCH + "&view=moves", ".moves", ""),
    "marks": (SEARCH, ".card", ".card:nth-child(2) [data-mark=unwanted]"),
    "nothing": ("/?collection=report&mode=find&text=xylophone", "#empty h2", ""),
    "answer": (ASK, ".sources .passage", ""),
    "opened": (ASK + "&open=harbour-station-annual-report.pdf%23page%3D14", "#viewer .passage", ""),
}
OUTSIDE = """
elements => elements.filter((e) => e.checkVisibility() && !e.closest(".hidden-text, .stage"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 200))
"""
FAINT = """
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (!words || element.closest(":disabled, .hidden-text")) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    found.push([words, (a + 0.05) / (b + 0.05)]);
  }
  return found;
}
"""


@pytest.mark.parametrize("state", STATES)
def test_nothing_sticks_out_on_a_phone(browser: Any, site: SimpleNamespace, state: str) -> None:
    address, wait_for, press = STATES[state]
    with watched(browser, base_url=site.address, viewport=PHONE, has_touch=True, is_mobile=True) as page:
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
    with watched(browser, base_url=site.address, viewport=DESK, color_scheme=scheme) as page:
        page.goto(address)
        page.wait_for_selector(wait_for)
        if press:
            page.hover(".card:nth-child(2)")
            page.click(press)
        contrasts = page.evaluate(FAINT)
        assert len(contrasts) > 8
        assert [(words, round(value, 2)) for words, value in contrasts if value < 4.5] == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) == (scheme == "dark")


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
