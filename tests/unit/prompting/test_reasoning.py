"""What a model says before its answer, and of whom."""

from __future__ import annotations

import pytest

from mmrerank.prompting.queries import joined
from mmrerank.prompting.reasoning import PASSAGE_LETTERS, REASONING_LETTERS, passages, reasoning_of
from mmrerank.types import Markup


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>a boat</think><answer>3</answer>", "a boat"),
        ("<reason>\na boat\n</reason>\n<answer>3</answer>", "a boat"),
        ("a boat</think>3", "a boat"),
        ("<think>a boat", "a boat"),
        ("<think>a <think>b</think> c</think> 3", "a \nb\n c"),
        ("It is a boat. <answer>3</answer>", "It is a boat."),
        ("It is a boat, so \\boxed{3}", "It is a boat, so"),
        ("Both fit.\nOrder: by needs.\n\n### Final Reranking: [2] > [1]", "Both fit.\nOrder: by needs."),
        ("3", ""),
        ("", ""),
    ],
)
def test_the_whole_of_it(text: str, reasoning: str) -> None:
    assert reasoning_of(text) == reasoning


def test_it_is_cut() -> None:
    assert len(reasoning_of(f"<think>{'word ' * 5000}</think>")) <= REASONING_LETTERS
    assert len(passages(f"<think>Image 1 {'word ' * 500}</think>", 1)[0]) <= PASSAGE_LETTERS


def test_numbers_go_by_their_noun() -> None:
    text = "<think>Image 1 shows page 3. Documents 2, 3 and 4 do not; [1] neither.</think>"
    assert passages(text, 4) == {0: "Image 1 shows page 3."}
    assert set(passages(text, 4, noun="document")) == {1, 2, 3}
    assert set(passages(text, 3, noun="document", brackets=True)) == {0, 1, 2}


def test_control_tokens_stay_on_their_own() -> None:
    parts = joined(["a", Markup("<x>"), "b", "c"])
    assert parts == ["a", "<x>", "bc"]
    assert isinstance(parts[1], Markup)
