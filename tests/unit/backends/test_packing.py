"""Prompts in batches: everyone once, within the limits, and never dearer than batches that are filled to the brim."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmrerank.backends._packing import packed

PASS_TOKENS = 20


def cost(runs: list[range], widths: list[int]) -> int:
    return sum(PASS_TOKENS + len(run) * max(widths[n] for n in run) for run in runs)


def filled(widths: list[int], size: int, tokens: int) -> list[range]:
    """Batches that take whatever still fits."""
    runs, start = [], 0
    for stop in range(1, len(widths) + 1):
        if stop == len(widths) or stop - start == size or (stop + 1 - start) * max(widths[start : stop + 1]) > tokens:
            runs.append(range(start, stop))
            start = stop
    return runs


@given(st.lists(st.integers(1, 90), max_size=40).map(sorted), st.integers(1, 12), st.integers(50, 400))
def test_batches_take_everyone_once_within_the_limits_and_cost_no_more_than_filled_ones(widths: list[int], size: int, tokens: int) -> None:
    def fits(count: int, width: int, beginning: int) -> bool:
        return count <= size and count * width <= tokens

    runs = packed(widths, fits, pass_tokens=PASS_TOKENS)
    assert [n for run in runs for n in run] == list(range(len(widths)))
    assert all(len(run) == 1 or fits(len(run), max(widths[n] for n in run), 0) for run in runs)
    assert cost(runs, widths) <= cost(filled(widths, size, tokens), widths)


def test_one_long_prompt_does_not_widen_the_others() -> None:
    assert packed([30] * 9 + [400], lambda count, width, beginning: True, pass_tokens=64) == [range(9), range(9, 10)]


def test_a_pass_that_costs_much_is_worth_some_padding() -> None:
    assert packed([30] * 9 + [400], lambda count, width, beginning: True, pass_tokens=10_000) == [range(10)]


def test_beginnings_at_hand_count_for_the_memory_of_a_batch() -> None:
    runs = packed([5] * 4, lambda count, width, beginning: count * (width + beginning) <= 40, pass_tokens=64, beginnings=[10, 10, 20, 30])
    assert [len(run) for run in runs] == [2, 1, 1]
