"""The doctor's checks: a model that sees colours passes, one that does not is told apart, recorded values are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from mmrerank.doctor import COLOURS, compare, examine, golden_pairs, read_recorded
from mmrerank.errors import BackendError, FormatError
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Prompt

BY_PIXEL = {Image.new("RGB", (1, 1), value).getpixel((0, 0)): name for name, value in COLOURS.items()}


def colours_shown(prompt: Prompt) -> list[str]:
    pictures = [part for part in prompt[-1].parts if not isinstance(part, str)]
    return [BY_PIXEL[picture.getpixel((picture.width // 2, picture.height // 2))] for picture in pictures]


def sees(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    text = "".join(part for part in prompt[-1].parts if isinstance(part, str))
    return [-0.1, -2.3] if f"a {colours_shown(prompt)[-1]} square" in text else [-2.3, -0.1]


def orders(prompt: Prompt) -> str:
    if prompt[0].role == "system":
        return "<think>Image 2 is green.</think><answer>[2, 1, 3]</answer>"
    return 'The green one is second. {"ranking": [2, 1, 3]}'


def levels(backend: FakeBackend, **more: object) -> dict[str, str]:
    return {finding.name: finding.level for finding in examine(backend, **more)}  # type: ignore[arg-type]


def test_a_model_that_sees_colours_and_follows_instructions_passes() -> None:
    found = levels(FakeBackend(answer=orders, choose=sees))
    assert found == {"single tokens": "note", "yes or no": "ok", "neighbours": "ok", "mm_r5": "ok", "ragllava": "ok", "square": "ok"}


def test_a_model_that_always_says_yes_is_told_apart_and_the_rest_is_still_checked() -> None:
    findings = list(examine(FakeBackend(answer=lambda prompt: "no idea", choose=lambda prompt, choices: [-0.1, -2.3])))
    by_name = {finding.name: finding for finding in findings}
    assert {name for name, finding in by_name.items() if finding.level == "wrong"} == {"yes or no", "mm_r5", "square"}
    assert "0 of 4" in by_name["yes or no"].detail
    assert all(finding.mend for finding in findings if finding.level == "wrong")


def test_a_backend_that_fails_is_a_finding_and_not_the_end() -> None:
    def fails(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        raise BackendError("no logprobs here", hint="Start the server with them.")

    found = {finding.name: finding for finding in examine(FakeBackend(answer=orders, choose=fails))}
    assert (found["yes or no"].level, found["yes or no"].mend) == ("wrong", "Start the server with them.")
    assert found["mm_r5"].level == "ok"


def test_words_of_several_tokens_are_named() -> None:
    class Tokens(FakeBackend):
        def single_token(self, choice: str) -> bool:
            return choice != "No" and not choice.isdigit()

    finding = next(iter(examine(Tokens(answer=orders, choose=sees))))
    assert (finding.level, finding.detail.split(" (")[0]) == ("wrong", "more than one token: No")


def test_recorded_values_are_compared_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    golden = golden_pairs(FakeBackend(choose=sees))
    assert golden["red called red"] == pytest.approx(0.900250, abs=1e-5)
    assert compare(golden, golden).level == "ok"
    assert compare(golden, {name: value - 0.1 for name, value in golden.items()}).level == "wrong"
    assert compare(golden, {"other": 0.5}).level == "wrong"
    file = tmp_path / "golden.json"
    file.write_text(json.dumps({"golden": golden}))
    assert read_recorded(file) == golden
    file.write_text("{}")
    with pytest.raises(FormatError, match="no recorded values"):
        read_recorded(file)
