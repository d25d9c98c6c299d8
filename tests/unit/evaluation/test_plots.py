"""What the plots of a report must show whatever the figures are."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mmrerank.evaluation._plots import LABEL, WIDTH, cost_plot


def system(seconds: float, value: float) -> dict[str, Any]:
    return {"cost": {"seconds": seconds}, "measures": {"R@1": {"value": value}}}


@given(st.lists(st.floats(1e-4, 99.0), min_size=1, max_size=6))
def test_every_figure_of_the_cost_plot_lies_within_the_picture(seconds: list[float]) -> None:
    svg = cost_plot([system(each, 0.5) for each in seconds], "R@1")
    labels = re.findall(r'<text x="([\d.-]+)" y="[\d.-]+" text-anchor="(\w+)">\d: 0\.500', svg)
    assert len(labels) == len(seconds)
    assert all(float(x) >= LABEL - 10 if anchor == "end" else float(x) <= WIDTH - LABEL + 10 for x, anchor in labels)
