"""What people do on the web page: search, refine, compare, ask; with keys, links and slow or broken services."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import Speaker, watched
from served import serving

from mmrerank import Collection

FIREFIGHTER = "pictures.parquet::woman-firefighter"
QUESTION = "/?collection=report&text=What+did+the+skipper+accept+for+bringing+back+the+drifting+buoy"
DROP = """
([data, name, zone]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const send = (type, target) => target.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  send("dragenter", document.body);
  const target = zone ? document.querySelector(`[data-drop=${zone}]`) : document.body;
  send("dragover", target);
  send("drop", target);
}
"""
PASTE = """
([data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
}
"""
SEND_AS_IT_CLOSES = """
(text) => {
  const dialog = document.querySelector("#viewer");
  dialog.addEventListener("close", () => {
    document.querySelector("#text").value = text;
    document.querySelector("#search").requestSubmit();
  }, { once: true });
  dialog.close();
}
"""


def searching(page: Any, do: Any) -> dict[str, Any]:
    """What the page asks of the service when `do` is done."""
    with page.expect_request("**/v1/search") as asked:
        do()
    body: dict[str, Any] = json.loads(asked.value.post_data)
    return body


def unfold(page: Any) -> None:
    """Opens how it searches, where it is folded."""
    if not page.locator("#rerank").is_visible():
        page.click("#options summary")


def ids(page: Any) -> list[str]:
    page.wait_for_selector("#results .card")
    found: list[str] = page.eval_on_selector_all("#results .card", "cards => cards.map((card) => card.dataset.id)")
    return found


def encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


# ---------------------------------------------------------------- searching


def test_a_text_finds_pictures_with_their_scores_and_reasons(page: Any) -> None:
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty:has-text('items in emoji')")
    page.fill("#text", "woman firefighter")
    page.click("#go")
    assert ids(page)[0] == FIREFIGHTER
    assert page.inner_text("#status").startswith("24 results · dense")
    card = page.locator(".card").first
    assert card.locator(".why").evaluate("why => getComputedStyle(why).opacity") == "0"
    card.hover()
    assert card.locator(".why").evaluate("why => getComputedStyle(why).opacity") == "1"
    assert "cosine" in card.locator(".why").inner_text()
    page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    assert card.locator("img").get_attribute("loading") == "lazy"


def test_a_search_can_be_made_with_keys_alone(page: Any) -> None:
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    page.keyboard.press("/")
    page.keyboard.type("pilot")
    page.keyboard.press("Enter")
    found = ids(page)
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.closest('[data-id]')?.dataset.id"
    assert page.evaluate(focused) == found[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("getComputedStyle(document.querySelector('.cards')).gridTemplateColumns.split(' ').length")
    assert page.evaluate(focused) == found[1 + columns]
    assert page.locator(".cards .open[tabindex='0']").count() == 1, "one stop for Tab, arrows for the rest"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator("#viewer").get_attribute("open") is not None
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer dd >> nth=0").startswith(str(3 + columns))
    page.keyboard.press("Escape")
    where_one_left_off = f"id => !document.querySelector('#viewer').open && {focused} === id"
    page.wait_for_function(where_one_left_off, arg=found[2 + columns])  # a dialog tells that it closed a moment after it did
    page.keyboard.press("+")
    page.keyboard.press("m")
    page.wait_for_url("**wanted=**")
    page.keyboard.press("?")
    assert page.locator("#help").get_attribute("open") is not None
    page.keyboard.press("Escape")


def test_with_keys_alone_one_finds_excludes_and_refines(page: Any) -> None:
    """As somebody who was never here: a key, a word, and what Tab reaches."""
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    page.keyboard.press("/")
    page.keyboard.type("firefighter")
    page.keyboard.press("Enter")
    ids(page)
    page.focus("#text")
    for _ in range(6):  # over the picture button and Search, into what must not be there
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "exclude":
            break
    page.keyboard.type("woman")
    page.keyboard.press("Enter")
    body = searching(page, lambda: page.keyboard.press("Enter"))
    assert body["exclude_text"] == ["woman"]
    ids(page)
    page.focus("#text")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("+")
    page.wait_for_selector("#marks:visible")
    body = searching(page, lambda: page.keyboard.press("r"))
    assert len(body["positive"]) == 1
    assert page.locator(".chip.wanted .sign").count() == 1, "a mark is no picture that was added"


def test_how_it_searches_is_folded_and_explained(page: Any) -> None:
    page.goto("/?collection=emoji&text=pilot")
    ids(page)
    assert page.locator("#rerank").is_hidden()
    page.click("#options summary")
    assert page.locator(".choice:visible small").count() == page.locator(".choice:visible").count() >= 5
    page.fill("#filter", "item_id LIKE '%pilot%'")
    body = searching(page, lambda: page.click("#go"))
    assert body["filter"] == "item_id LIKE '%pilot%'"
    page.wait_for_function("() => [...document.querySelectorAll('.card')].every((card) => card.dataset.id.includes('pilot'))")
    assert "filter=" in page.url
    page.fill("#filter", "nothing = 1")
    assert "only where nothing = 1" in page.inner_text("#chosen")


def test_more_results_are_a_press_away(page: Any, site: SimpleNamespace) -> None:
    page.goto("/?collection=emoji&text=face&k=6")
    first = ids(page)
    body = searching(page, lambda: page.click("#more"))
    assert body["k"] == 12
    page.wait_for_function("() => document.querySelectorAll('.card').length === 12")
    assert ids(page)[:6] == first
    seventh = "(id) => document.activeElement.closest('.card')?.dataset.id === id"
    page.wait_for_function(seventh, arg=ids(page)[6])  # the focus is where one left off
    body = searching(page, lambda: page.goto("/?collection=emoji&text=pilot&k=500"))
    assert body["k"] == 500
    assert len(ids(page)) == len(Collection.open(site.emoji))
    assert page.locator("#more").count() == 0, "there are no more"


def test_that_nothing_moved_is_said(page: Any) -> None:
    page.goto("/?collection=emoji&text=firefighter&rerank=reversed&depth=1&k=1&view=moves")
    page.wait_for_selector("#status:has-text('nothing moved')")
    assert "Nothing moved" in page.inner_text(".moves .still")
    page.goto("/?collection=emoji&text=firefighter&rerank=reversed&depth=6&k=6")
    ids(page)
    assert "nothing moved" not in page.inner_text("#status")


def test_everything_that_can_be_used_has_a_name(page: Any) -> None:
    page.goto("/?collection=emoji&text=pilot&rerank=reversed&without=helmet")
    page.wait_for_selector(".card")
    named = """
    elements => elements.filter((e) => e.checkVisibility() && !(e.getAttribute("aria-label") || e.labels?.length || e.innerText.trim()))
      .map((e) => e.outerHTML)
    """
    assert page.eval_on_selector_all("button, input, select, summary, a", named) == []
    assert page.locator("h1").count() == 1
    assert page.locator("[role=search]").count() == 1


# ---------------------------------------------------------------- pictures, exclusions, marks


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_can_be_brought_in(page: Any, picture_file: Path, way: str) -> None:
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    if way == "choose":
        with page.expect_file_chooser() as chooser:
            page.click("#choose")
        chooser.value.set_files(picture_file)
    else:
        page.evaluate(DROP if way == "drop" else PASTE, [encoded(picture_file), "dropped.png", None])
    page.wait_for_selector("#pictures .chip")
    assert "What should be different" in page.locator("#text").get_attribute("placeholder")
    asked = searching(page, lambda: page.press("#text", "Enter"))
    assert asked["images"] == ["data:image/png;base64," + encoded(picture_file)], "as it is, not drawn anew"
    assert ids(page)[0] == FIREFIGHTER
    assert "dropped=1" in page.url
    assert "link" in page.inner_text("#notice")
    page.reload()
    page.wait_for_selector("#notice:has-text('Drop the picture again')")
    assert page.locator("#pictures .chip").count() == 0


def test_a_large_photo_is_sent_smaller(page: Any, tmp_path: Path) -> None:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png", compress_level=1)
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    with page.expect_file_chooser() as chooser:
        page.click("#choose")
    chooser.value.set_files(tmp_path / "photo.png")
    page.wait_for_selector("#pictures .chip")
    (sent,) = searching(page, lambda: page.click("#go"))["images"]
    with Image.open(BytesIO(base64.b64decode(sent.partition(",")[2]))) as picture:
        assert picture.size == (1536, 1152)


def test_what_is_no_picture_is_said(page: Any) -> None:
    page.goto("/?collection=emoji")
    page.wait_for_selector("#empty h2")
    page.evaluate(DROP, [base64.b64encode(b"no picture").decode(), "notes.png", None])
    page.wait_for_selector("#problem:has-text('notes.png is not a picture')")
    assert page.locator(".chip").count() == 0


def test_words_and_pictures_can_be_excluded(page: Any, picture_file: Path) -> None:
    page.goto("/?collection=emoji&text=pilot")
    page.fill("#exclude", "woman")
    page.press("#exclude", "Enter")
    page.fill("#exclude", "man")  # not finished with Enter, and meant all the same
    page.evaluate(DROP, [encoded(picture_file), "dropped.png", "unlike"])
    page.wait_for_selector("#exclusions img")
    asked = searching(page, lambda: page.click("#go"))
    assert asked["exclude_text"] == ["woman", "man"]
    assert len(asked["exclude_images"]) == 1
    page.click("#exclusions [aria-label='Remove woman']")
    asked = searching(page, lambda: page.click("#go"))
    assert asked["exclude_text"] == ["man"]


def test_a_picture_dropped_before_the_page_is_ready_is_kept(page: Any, picture_file: Path) -> None:
    held: list[Any] = []
    page.route("**/v1/collections", lambda route: held.append(route))
    page.goto("/?collection=emoji")
    page.evaluate(DROP, [encoded(picture_file), "dropped.png", "like"])
    assert page.locator("#exclude").is_disabled()
    held[0].continue_()
    page.wait_for_selector("#pictures img")


def test_marks_refine_the_search(page: Any) -> None:
    page.goto("/?collection=emoji&text=farmer")
    first, second, *_ = ids(page)
    for n, label in ((0, "Wanted"), (1, "Unwanted")):
        card = page.locator(".card").nth(n)
        card.hover()
        card.get_by_label(label, exact=True).click()
    assert page.inner_text("#marked") == "1 wanted, 1 unwanted"
    assert page.locator(".card").nth(0).get_by_label("Wanted", exact=True).get_attribute("aria-pressed") == "true"
    asked = searching(page, lambda: page.click("#refine"))
    assert (asked["text"], asked["positive"], asked["negative"]) == ("farmer", [first], [second])
    page.wait_for_selector("#marks", state="hidden")
    assert second not in ids(page)
    page.locator(".card").nth(1).hover()
    page.locator(".card").nth(1).get_by_label("Wanted", exact=True).click()
    page.click("#unmark")
    assert page.locator("#marks").is_hidden()
    assert page.locator("#pictures .chip").count() == 1, "what was searched with stays"


def test_more_like_this_starts_anew_from_a_hit(page: Any) -> None:
    page.goto("/?collection=emoji&text=cat")
    page.wait_for_selector(".card")
    page.locator(".card").nth(2).hover()
    chosen = ids(page)[2]
    asked = searching(page, lambda: page.locator(".card").nth(2).get_by_label("More like this").click())
    assert (asked["text"], asked["positive"]) == (None, [chosen])
    page.wait_for_function("(id) => document.querySelector('.card').dataset.id === id", arg=chosen)
    second = ids(page)[1]
    page.locator(".card .open").nth(1).click()
    page.click("#viewer :text('More like this')")
    page.wait_for_function("(id) => document.querySelector('.card').dataset.id === id", arg=second)
    assert "open=" not in page.url
    page.go_back()
    page.wait_for_selector("#viewer[open]")


# ---------------------------------------------------------------- what the reranker did


def test_before_and_after_shows_what_moved(page: Any) -> None:
    page.goto("/?collection=emoji&text=firefighter&rerank=reversed&depth=6&k=6")
    assert page.locator(".card .move").first.get_attribute("aria-label") == "moved up 5, was 6"
    page.check("input[value=moves]", force=True)
    before, after = page.locator(".moves ol").all()
    order = "rows => rows.map((row) => row.dataset.id)"
    assert before.locator("li").evaluate_all(order) == after.locator("li").evaluate_all(order)[::-1]
    assert page.locator(".lines .up").count() == page.locator(".lines .down").count() == 3
    assert "view=moves" in page.url
    after.locator("button").first.hover()
    assert page.locator(".lines .strong").count() == 1
    after.locator("button").first.click()
    assert page.inner_text("#viewer dd >> nth=0").startswith("1")


def test_a_hit_from_beyond_the_shown_ones_and_one_that_fell_out(page: Any) -> None:
    page.goto("/?collection=emoji&text=firefighter&rerank=reversed&depth=5&k=3&view=moves")
    page.wait_for_selector(".moves")
    out = page.locator(".moves ol").first.locator("li:has(.move:has-text('out'))")
    assert out.count() == 2
    out.first.locator("button").click()
    page.wait_for_selector(f"#viewer dd:has-text('{out.first.get_attribute('data-id')}')")
    page.keyboard.press("Escape")
    assert page.locator(".lines path").count() == 5
    assert page.locator(".moves ol").last.locator(".move").first.get_attribute("aria-label") == "moved up 4, was 5"


def test_the_grid_that_the_model_saw(page: Any) -> None:
    page.goto("/?collection=emoji&text=firefighter&rerank=square&depth=9&k=9")
    page.wait_for_selector(".card")
    page.check("input[value=seen]", force=True)
    page.wait_for_function("() => document.querySelector('.seen img').naturalWidth > 1000")
    page.check("input[value=grid]", force=True)
    assert ids(page)[0] != FIREFIGHTER
    assert "completed" in page.inner_text("#status"), "what the model left out is said"


# ---------------------------------------------------------------- documents


def test_an_answer_comes_with_its_page_and_passage(page: Any) -> None:
    page.goto(QUESTION + "&answerer=extractive")
    page.wait_for_selector(".sources .passage")
    assert "accepted a cake" in page.inner_text(".said")
    assert "Page 14" in page.inner_text(".sources")
    picture, passage = (page.locator(f".sources {part}").first.bounding_box() for part in ("img", ".passage"))
    assert picture["y"] < passage["y"] < picture["y"] + picture["height"] / 3, "the passage stands in the upper third of that page"
    page.click(".sources .open")
    page.wait_for_selector("#viewer .passage")
    small = page.locator("#viewer img").bounding_box()["width"]
    page.click("#viewer .zoom")
    assert page.locator("#viewer img").bounding_box()["width"] > 1.5 * small
    assert page.locator("#viewer .passage").is_visible()
    page.keyboard.press("Escape")
    page.fill("#text", "zebra quantum helicopter licence")
    page.click("#go")
    page.wait_for_selector(".said.none")
    assert page.inner_text("#status").startswith("No answer")


def test_an_answer_streams_in(browser: Any, site: SimpleNamespace) -> None:
    speaker = Speaker("The skipper accepted a cake [1].")
    with serving(collections=(site.report,), backend=speaker) as address, watched(browser, base_url=address) as page:
        page.goto(QUESTION)
        page.wait_for_selector(".coming:has-text('The skipper accepted a cake')")
        assert page.locator(".sources").count() == 0
        page.wait_for_selector("#progress:visible")
        speaker.may_end.set()
        page.wait_for_selector(".sources .card")
        assert page.inner_text(".said p") == "The skipper accepted a cake."


def test_pages_can_be_found_without_a_question(page: Any) -> None:
    page.goto("/?collection=report&mode=find&text=buoy")
    page.wait_for_selector(".cards.pages .card")
    assert page.inner_text(".card .name >> nth=0").startswith("Page ")
    assert page.locator("#choose").is_hidden(), "no picture can be searched with here"


# ---------------------------------------------------------------- links and history


def test_a_link_carries_the_whole_search(page: Any) -> None:
    link = f"/?collection=emoji&text=a+man&retriever=composed&rerank=reversed&depth=5&k=7&wanted={FIREFIGHTER}&without=helmet&view=moves"
    link += "&filter=item_id+%21%3D+%27nothing%27"
    asked = searching(page, lambda: page.goto(link))
    assert asked == {
        "collection": "emoji",
        "text": "a man",
        "images": [],
        "exclude_text": ["helmet"],
        "exclude_images": [],
        "positive": [FIREFIGHTER],
        "negative": [],
        "filter": "item_id != 'nothing'",
        "k": 7,
        "retriever": "composed",
        "rerank": ["reversed"],
        "depth": 5,
    }
    page.wait_for_selector(".moves")
    assert searching(page, page.reload) == asked


def test_back_and_forward_restore_searches_without_asking_again(page: Any) -> None:
    page.goto("/?collection=emoji")
    for text in ("pilot", "farmer"):
        page.fill("#text", text)
        page.click("#go")
        page.wait_for_selector(f".card:first-child .name:has-text('{text}')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/search" in request.url else None)
    page.go_back()
    page.wait_for_selector(".card:first-child .name:has-text('pilot')")
    assert page.input_value("#text") == "pilot"
    page.go_back()
    page.wait_for_selector("#empty h2")
    page.go_forward()
    page.go_forward()
    page.wait_for_selector(".card:first-child .name:has-text('farmer')")
    assert asked == []


def test_an_open_result_is_in_the_link_and_back_closes_it(page: Any) -> None:
    page.goto("/?collection=emoji&text=pilot")
    third = ids(page)[2]
    page.locator(".card .open").nth(2).click()
    assert "open=" in page.url
    page.go_back()
    page.wait_for_function("() => !document.querySelector('#viewer').open")
    page.go_forward()
    page.wait_for_selector(f"#viewer[open] dd:has-text('{third}')")
    page.reload()
    page.wait_for_selector(f"#viewer[open] dd:has-text('{third}')")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !location.search.includes('open=')")


def test_a_search_sent_while_the_history_still_closes_a_result_is_made(page: Any) -> None:
    page.goto("/?collection=emoji&text=pilot")
    page.locator(".card .open").first.click()
    page.wait_for_selector("#viewer[open]")
    asked = searching(page, lambda: page.evaluate(SEND_AS_IT_CLOSES, "farmer"))
    assert asked["text"] == "farmer"
    page.wait_for_selector(".card:first-child .name:has-text('farmer')")
    assert "text=farmer" in page.url
    assert "open=" not in page.url
    page.go_back()
    page.wait_for_selector(".card:first-child .name:has-text('pilot')")
    assert page.locator("#viewer").get_attribute("open") is None


def test_a_link_to_a_collection_that_is_not_here_says_so(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/search" in request.url else None)
    page.goto("/?collection=nope&text=gauge")
    page.wait_for_selector("#problem:has-text('no collection nope')")
    assert asked == []
    page.fill("#text", "pilot")
    page.select_option("#collection", "emoji")
    page.click("#go")
    page.wait_for_selector(".card")


def test_closing_a_result_keeps_what_was_written_and_marked_since(page: Any) -> None:
    page.goto("/?collection=emoji&text=pilot")
    ids(page)
    page.fill("#text", "pilot of a balloon")
    page.locator(".card .open").first.click()
    page.click("#viewer .wanted")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !location.search.includes('open=')")
    assert page.input_value("#text") == "pilot of a balloon"
    assert page.inner_text("#marked") == "1 wanted, 0 unwanted"


def test_going_back_ends_a_search_that_is_still_running(page: Any) -> None:
    page.goto("/?collection=emoji&text=pilot")
    found = ids(page)
    page.fill("#text", "farmer")
    unfold(page)
    page.select_option("#rerank", "slow")
    with page.expect_event("requestfailed") as failed:
        page.click("#go")
        page.wait_for_selector("#progress:visible")
        page.go_back()
    assert "/v1/search" in failed.value.url
    page.wait_for_function("() => document.querySelector('#text').value === 'pilot'")
    page.wait_for_selector("#progress", state="hidden")
    assert ids(page) == found


# ---------------------------------------------------------------- slow, broken, gone


def test_a_slow_search_shows_the_time_and_can_be_cancelled(page: Any, site: SimpleNamespace) -> None:
    page.goto("/?collection=emoji&text=pilot")
    found = ids(page)
    unfold(page)
    page.select_option("#rerank", "slow")
    for cancel in (lambda: page.click("#cancel"), lambda: page.keyboard.press("Escape")):
        with page.expect_event("requestfailed") as failed:
            page.click("#go")
            page.wait_for_selector("#progress:has-text('reranking with slow')")
            page.wait_for_function("() => parseFloat(document.querySelector('#elapsed').textContent) >= 0.5")
            cancel()
        assert "/v1/search" in failed.value.url
        page.wait_for_selector("#status:has-text('Cancelled')")
        assert page.locator("#progress").is_hidden()
        assert ids(page) == found, "what was there stays"
    page.click("#go")
    page.wait_for_selector("#progress:visible")
    site.gate.open.set()
    page.wait_for_selector(".card .move")


def test_an_error_of_the_service_is_shown_with_its_advice(browser: Any, site: SimpleNamespace) -> None:
    with watched(browser, base_url=site.address, complains="the server responded with a status of") as page:
        page.goto("/?collection=emoji&text=pilot&rerank=<b>square</b>")
        page.wait_for_selector("#problem h2:has-text('refused')")
        assert "'<b>square</b>'" in page.inner_text("#problem p")
        assert "reversed" in page.inner_text("#problem p"), "the real names"
        assert page.locator("#problem button").count() == 0, "trying again would not help"
        unfold(page)
        page.select_option("#rerank", "broken")
        page.click("#go")
        page.wait_for_selector("#problem h2:has-text('could not')")
        assert "Start it." in page.inner_text("#problem p")
        assert page.locator("#problem button").count() == 1
        unfold(page)
        page.select_option("#rerank", "")
        page.click("#go")
        page.wait_for_selector(".card")
        assert page.locator("#problem").is_hidden()


def test_a_service_that_is_gone_is_said_and_can_be_tried_again(browser: Any, site: SimpleNamespace) -> None:
    with serving(collections=(site.report,)) as address, watched(browser, base_url=address, complains="ERR_") as page:
        page.goto("/?mode=find&text=buoy")
        page.wait_for_selector(".card")
        page.context.set_offline(True)
        page.fill("#text", "mole")
        page.click("#go")
        page.wait_for_selector("#problem:has-text('does not answer')")
        page.context.set_offline(False)
        page.click("#problem button")
        page.wait_for_selector(".card")
        assert page.locator("#problem").is_hidden()


def test_nothing_found_and_nothing_to_search(browser: Any, page: Any) -> None:
    page.goto("/?collection=report&mode=find&text=xylophone")
    page.wait_for_selector("#empty:has-text('Nothing found')")
    assert page.locator(".card").count() == 0
    with serving() as address, watched(browser, base_url=address) as other:
        other.goto("/")
        other.wait_for_selector("#empty:has-text('mmrerank serve COLLECTION')")


def test_a_service_with_a_token_asks_for_it_once(browser: Any, site: SimpleNamespace) -> None:
    with (
        serving(collections=(site.emoji,), token="open sesame") as address,
        watched(browser, base_url=address, complains="status of 401") as page,
    ):
        page.goto("/?text=pilot")
        page.fill("#token", "guessed")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem:has-text('wrong')")
        page.fill("#token", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector(".card")
        page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
        page.reload()
        page.wait_for_selector(".card")
        assert not page.locator("#token").is_visible()
