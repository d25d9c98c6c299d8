"""Files of criteria, and criteria that a model writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrerank.errors import FormatError
from mmrerank.prompting.criteria import MOST_WEIGHT, SHIPPED, best_sum, read_criteria, read_criteria_answer

GOOD = '{"name": "depth", "weight": 0.5, "low": "thin", "high": "full"}'


@pytest.mark.parametrize("name", [file.stem for file in SHIPPED.glob("*.toml")])
def test_what_ships_can_be_read(name: str) -> None:
    criteria = read_criteria(name).criteria
    assert 3 < len(criteria) < 7
    assert {criterion.weight for criterion in criteria} == {0.5}


def test_the_general_ones_are_those_of_the_paper() -> None:
    criteria = read_criteria("general").criteria
    assert [criterion.name for criterion in criteria] == ["depth", "perspectives", "clarity", "authority", "recency"]
    assert best_sum(criteria) == 22.5
    assert read_criteria("").criteria == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[criteria]]\nname = 'depth'\nweight = 0.5\nlow = 'a'\n", "a criterion has high, low, name, weight; got low, name, weight"),
        ("[[criteria]]\nname = 'depth'\nweight = -1\nlow = 'a'\nhigh = 'b'\n", "a number from 0; got -1"),
        ("[[criteria]]\nname = 'depth'\nweight = true\nlow = 'a'\nhigh = 'b'\n", "a number from 0; got True"),
        ("[[criteria]]\nname = 'depth'\nweight = inf\nlow = 'a'\nhigh = 'b'\n", "a number from 0; got inf"),
        ("[[criteria]]\nname = 'Relevance'\nweight = 1\nlow = 'a'\nhigh = 'b'\n", "not relevance; got 'Relevance'"),
        ("[[criteria]]\nname = '3'\nweight = 1\nlow = 'a'\nhigh = 'b'\n", "is a word"),
        ("[[criteria]]\nname = 'depth'\nweight = 1\nlow = ' '\nhigh = 'b'\n", "low and high of 'depth' are texts"),
        ("[[criteria]]\nname = 'depth'\nweight = 1\nlow = 'a'\nhigh = 'b'\n" * 2, "'depth' stands twice"),
        ("criteria = 3", "expected at most 12 tables"),
        ("criteria = [3]", "got int"),
    ],
)
def test_a_file_of_another_form_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(FormatError, match=message):
        read_criteria(str(file))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"<think>[x]</think><answer>[{GOOD}]</answer>", ["depth"]),
        (f"```json\n[{GOOD}, {GOOD.replace('depth', 'clarity')}]\n```", ["depth", "clarity"]),
        (f'{{"criteria": [{GOOD}, {GOOD.replace("depth", "Depth")}]}}', ["depth"]),
        (f"[{GOOD}, {GOOD.replace('depth', 'relevance')}, 3]", ["depth"]),
        (f"[{GOOD.replace('0.5', 'high')}]", []),
        (f"[{GOOD.replace('0.5', '-1')}]", []),
        (f"[{GOOD.replace('full', '')}]", []),
        (f"[{', '.join(GOOD.replace('depth', 'c' + letter) for letter in 'abcdefghijkl')}]", [f"c{letter}" for letter in "abcdefgh"]),
        ("Depth and clarity.", []),
        ("", []),
    ],
)
def test_what_a_model_wrote(text: str, names: list[str]) -> None:
    assert [criterion.name for criterion in read_criteria_answer(text)] == names


def test_no_weight_that_a_model_writes_drowns_the_rest() -> None:
    assert read_criteria_answer(f"[{GOOD.replace('0.5', '100')}]")[0].weight == MOST_WEIGHT
