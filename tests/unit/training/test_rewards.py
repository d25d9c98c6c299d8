"""The rewards of MM-R5 on the behaviour table of the method's description: five pages, the third is the right one."""

from __future__ import annotations

import pytest

from mmrerank.training.rewards import format_reward, rank_reward, total_reward

THOUGHT = "<think>page 3 shows it</think>"
TABLE = [
    (f"{THOUGHT}<answer>[3, 1, 2, 5, 4]</answer>", 1, 1),
    (f"{THOUGHT}<answer>[1, 3, 2, 5, 4]</answer>", 0.125, 1),
    (f"{THOUGHT}<answer>[1, 2, 4, 3, 5]</answer>", 0.015625, 1),
    (f"{THOUGHT}<answer>[3, 1]</answer>", 1, 0.4),
    (f"{THOUGHT}<answer>[3]</answer>", 1, 0),
    (f"{THOUGHT}<answer>[3, 3, 1, 2, 4, 5]</answer>", 1, 0.8),
    (f"{THOUGHT}<answer>[7, 3, 0, 2]</answer>", 0.125, 0.4),
    ("<answer>[3, 1, 2, 5, 4]</answer>", 1, 0),
    (f"{THOUGHT}<answer> [3, 1, 2, 5, 4] </answer>", 0, 0),
    (f"{THOUGHT}<answer>[3, 1, 2,\n5, 4]</answer>", 0, 0),
    (f"{THOUGHT}<answer>[Image 3, 1]</answer>", 0, 0),
    (f"{THOUGHT}<answer>[]</answer>", 0, 0),
    (f"{THOUGHT}<answer>3, 1, 2, 5, 4</answer>", 0, 0),
    ("<think>maybe <answer>[1, 2]</answer></think><answer>[3, 1, 2, 5, 4]</answer>", 0, 1),
    (f"{THOUGHT}<answer>[3, 1, 2, 5, 4]", 0, 0),
]


@pytest.mark.parametrize(("text", "rank", "form"), TABLE)
def test_the_table(text: str, rank: float, form: float) -> None:
    assert rank_reward(text, {3}) == pytest.approx(rank)
    assert format_reward(text, 5) == pytest.approx(form)
    assert total_reward(text, {3}, 5) == pytest.approx(rank + form)


def test_two_positives() -> None:
    assert rank_reward("<answer>[2, 3, 1, 4, 5]</answer>", {3, 2}) == 1
    assert rank_reward("<answer>[2, 1, 3, 4, 5]</answer>", {3, 2}) == pytest.approx(0.921811, abs=1e-6)


def test_a_list_more_than_twice_too_long_costs() -> None:
    assert format_reward(f"{THOUGHT}<answer>[1, 2, 3, 1, 2]</answer>", 2) == pytest.approx(-0.5 * 4 / 5)
