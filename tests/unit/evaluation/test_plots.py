"""What the plots of a report must show whatever the figures are."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mmrerank.evaluation._plots import LABEL, WIDTH, cost_plot, gain_plot, ticks


def system(seconds: float, value: float) -> dict[str, Any]:
    return {"cost": {"seconds": seconds}, "measures": {"R@1": {"value": value}}}


@given(st.lists(st.floats(1e-4, 99.0), min_size=1, max_size=6))
def test_every_figure_of_the_cost_plot_lies_within_the_picture(seconds: list[float]) -> None:
    svg = cost_plot([system(each, 0.5) for each in seconds], "R@1")
    labels = re.findall(r'<text x="([\d.-]+)" y="[\d.-]+" text-anchor="(\w+)">\d: 0\.500', svg)
    assert len(labels) == len(seconds)
    assert all(float(x) >= LABEL - 10 if anchor == "end" else float(x) <= WIDTH - LABEL + 10 for x, anchor in labels)


def gain(low: float, value: float, high: float) -> dict[str, float]:
    return {"low": low, "value": value, "high": high}


def test_a_gain_that_may_be_none_is_not_green() -> None:
    svg = gain_plot({"up": gain(0.01, 0.1, 0.2), "maybe": gain(-0.01, 0.1, 0.2), "zero": gain(0, 0, 0), "down": gain(-0.2, -0.1, -0.05)})
    assert re.findall(r'circle class="(\w+)"', svg) == ["better", "nothing", "nothing", "worse"]


@given(st.floats(-1, 1), st.floats(1e-6, 2))
def test_ticks_lie_within_and_are_few_and_at_least_two_where_there_is_room(low: float, length: float) -> None:
    values = ticks(low, low + length)
    assert 1 <= len(values) <= 7
    assert all(low - 1e-9 <= value <= low + length + 1e-9 for value in values)
