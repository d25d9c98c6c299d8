"""What the web page shows of how a hit was judged: folded away until wanted, and open for the next hit once it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from browsing import faint, some_emoji, watched
from served import serving

from mmrerank.testing import FakeBackend

GRADES = json.dumps({f"{n}": {"relevance": 11 - n, "depth": 2} for n in range(1, 4)})
ANSWER = f"<think>Document 1 shows <b>what</b> is asked for.</think><answer>{GRADES}</answer>"


def test_grades_and_reasoning_are_folded_away_and_stay_open_once_wanted(browser: Any, tmp_path: Path) -> None:
    backend = FakeBackend(answer=lambda prompt: ANSWER)
    with (
        serving(collections=(some_emoji(tmp_path),), rerankers={"graded": "rebel"}, backend=backend) as address,
        watched(browser, base_url=address) as page,
    ):
        page.goto("/?text=woman+firefighter&rerank=graded&depth=3")
        page.wait_for_selector("#results .card")
        page.click(".card:nth-child(1) .open")
        fold = page.locator("#viewer .explained")
        assert fold.locator("summary").inner_text() == "How it was judged"
        assert not fold.locator(".reasoning").is_visible()
        fold.locator("summary").press("Enter")
        assert fold.locator(".reasoning").inner_text() == "Document 1 shows <b>what</b> is asked for."  # never as markup
        assert faint(page) == []
        assert fold.locator("dl div").all_inner_texts() == ["relevance\n10", "depth\n2"]
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#viewer .explained[open] dd:has-text('9')")
