"""The rewards: MM-R5's on the behaviour table of its description (five pages, the third is the right one), the others on their notes'."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmrerank.training.rewards import (
    divergence,
    format_reward,
    group_reward,
    group_utility,
    label_reward,
    places,
    rank_reward,
    reciprocal_rank_rewards,
    symbol_reward,
)

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


def test_two_positives() -> None:
    assert rank_reward("<answer>[2, 3, 1, 4, 5]</answer>", {3, 2}) == 1
    assert rank_reward("<answer>[2, 1, 3, 4, 5]</answer>", {3, 2}) == pytest.approx(0.921811, abs=1e-6)


def test_a_list_more_than_twice_too_long_costs() -> None:
    assert format_reward(f"{THOUGHT}<answer>[1, 2, 3, 1, 2]</answer>", 2) == pytest.approx(-0.5 * 4 / 5)


# ------------------------------------------------------------------ Rank-R1 and ProRank


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{THOUGHT}<answer>[7]</answer>", 1),
        (f"{THOUGHT}\n<answer> [7] </answer>", 1),
        (f"{THOUGHT}<answer>[6]</answer>", 0),
        (f"{THOUGHT}<answer>[7].</answer>", 0),
        (f"{THOUGHT}<answer>7</answer>", 0),
        ("<answer>[7]</answer>", 0),
        (f"{THOUGHT}<answer>[7]", 0),
    ],
)
def test_a_label_is_right_exactly_or_not_at_all(text: str, value: float) -> None:
    assert label_reward(text, {"[7]"}) == value


@pytest.mark.parametrize(("text", "value"), [("1", 2), (" 1\n", 2), ("0", 1), ("01", 0), ("", 0), ("yes", 0)])
def test_a_symbol_earns_for_its_form_and_for_being_right(text: str, value: float) -> None:
    assert symbol_reward(text, "1") == value
    assert symbol_reward(text, "1", form=0, meaning=3) == 3 * (value == 2)


# ------------------------------------------------------------------ ERank

POOL = [[9, 6], [7, 3], [2, 6]]


def test_the_worked_example_of_erank() -> None:
    assert places(POOL) == [[1, 3], [2, 5], [6, 3]]
    rewards = reciprocal_rank_rewards(POOL, {0}, [8, 4, 4])
    assert rewards[0] == [1, pytest.approx(1 / 3)]
    assert rewards[1] == [-1, pytest.approx(0.99)]  # before the last of the positive, and behind it
    assert rewards[2] == [pytest.approx(0.96), pytest.approx(0.96)]  # the second stands beside it, not before


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_rewards_move_with_their_candidates(order: tuple[int, ...]) -> None:
    turned = reciprocal_rank_rewards([POOL[n] for n in order], {order.index(0)}, [[8, 4, 4][n] for n in order])
    assert turned == [reciprocal_rank_rewards(POOL, {0}, [8, 4, 4])[n] for n in order]


def test_an_answer_without_a_grade_stands_outside_the_pool() -> None:
    assert places([[9, None], [7, 3]]) == [[1, None], [2, 3]]
    assert reciprocal_rank_rewards([[9, None], [7, 3]], {0}, [8, 4])[0] == [1, -2]
    nobody = reciprocal_rank_rewards([[None, None], [7, 3]], {0}, [8, 4])
    assert nobody == [[-2, -2], [pytest.approx(0.91), pytest.approx(0.99)]]  # no positive to stand before


# ------------------------------------------------------------------ GroupRank


def test_a_perfect_order_is_worth_what_the_note_says() -> None:
    answer = '<reason>compared</reason><answer>```json\n{"[1]": 8, "[2]": 2, "[3]": 5}\n```</answer>'
    assert group_reward(answer, [10, 1, 4]) == pytest.approx(1.2983798, abs=1e-7)
    assert divergence([8, 2, 5], [10, 1, 4]) == pytest.approx(0.016202, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"[1]": 8}', -0.5),
        ('<answer>{"[1]": 8}</answer>', -0.5),
        ("<reason>a</reason><answer>[1] is best</answer>", -0.1),
        ('<reason>a</reason><answer>{"[1]": 8</answer>', -0.1),
        ("<reason>a</reason><answer>[1, 2]</answer>", -0.1),
    ],
)
def test_answers_without_the_form_cost(text: str, value: float) -> None:
    assert group_reward(text, [10, 1]) == value


def test_a_candidate_without_a_grade_counts_as_one_of_0() -> None:
    left_out, zero = '{"[1]": 8}', '{"[1]": 8, "[2]": 0}'
    rewards = [group_reward(f"<reason>a</reason><answer>{grades}</answer>", [10, 1]) for grades in (left_out, zero)]
    assert rewards[0] == rewards[1]


def test_equal_grades_are_worth_the_mean_of_their_orders() -> None:
    gold = [10, 0, 3, 7]
    constant = group_utility([5] * 4, gold, distribution_weight=0)
    orders = [
        group_utility([4.0 - order.index(n) for n in range(4)], gold, distribution_weight=0) for order in itertools.permutations(range(4))
    ]
    assert constant == pytest.approx(np.mean(orders))


def test_the_divergence_is_symmetric_and_within_one_bit() -> None:
    assert divergence([1, 2, 3], [3, 1, 1]) == pytest.approx(divergence([3, 1, 1], [1, 2, 3]))
    assert divergence([5, 5], [1, 1]) == 0
    assert divergence([0, 0], [1, 1]) == 0  # no grade at all is an even share
    assert divergence([1, 0], [0, 1]) == 1
