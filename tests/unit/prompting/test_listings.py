"""What prompts that list candidates share: the query with all its parts, marks that texts cannot forge, a budget of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import InMemory, coloured
from PIL import Image

from mmrerank.errors import InputError
from mmrerank.prompting.files import PromptText, read_prompt
from mmrerank.prompting.items import Exhibit
from mmrerank.prompting.listings import TokenBudget, asking, content, listing, marks
from mmrerank.prompting.queries import QUERY_PIECES, query_lines, query_parts
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Message, Prompt, Query

PIECES = {"system": set[str](), "page": {"mark"}, **QUERY_PIECES}
FILE = """version = "1"
[pieces]
system = "S"
page = "[{mark}] "
reference = "R{number}:"
wanted = "W {query};"
changed = "C {query};"
alike = "A;"
excluded = "X {text};"
excluded_picture = "P:"
"""


@pytest.fixture
def text(tmp_path: Path) -> PromptText:
    (tmp_path / "own.toml").write_text(FILE, encoding="utf-8")
    return read_prompt(str(tmp_path / "own.toml"), PIECES)


def parts_of(text: PromptText, query: Query) -> list[object]:
    parts = query_parts(text, query, 10_000)
    return [part if isinstance(part, str) else part.getpixel((0, 0))[0] // 25 for part in parts]  # type: ignore[index,operator]


def test_every_part_of_a_query_is_there_in_its_order(text: PromptText) -> None:
    one, two, three = (InMemory(coloured(n)) for n in (1, 2, 3))
    assert parts_of(text, Query(text="boat")) == ["W boat;"]
    assert parts_of(text, Query(images=(one,))) == ["R:", 1, "\n", "A;"]
    assert parts_of(text, Query(text="in green", images=(one, two))) == ["R 1:", 1, "\n", "R 2:", 2, "\n", "C in green;"]
    excluding = Query(text="boat", exclude_text=("red", "blue"), exclude_images=(three,))
    assert parts_of(text, excluding) == ["W boat;X red;X blue;", "P:", 3, "\n"]
    assert query_lines(text, excluding) == "W boat;X red;X blue;"


def test_braces_in_what_a_user_writes_are_letters(text: PromptText) -> None:
    assert query_lines(text, Query(text="{query} {0}", exclude_text=("{text}",))) == "W {query} {0};X {text};"


def test_candidates_stand_behind_their_marks_and_texts_are_one_part(text: PromptText) -> None:
    picture = Image.new("RGB", (4, 4))
    pages = [
        Exhibit(way="text", text="see [2]"),
        Exhibit(way="both", picture=picture, text="[b] boat"),
        Exhibit(way="image", picture=picture),
    ]
    parts = listing(text, marks(3, "numbers"), pages)
    assert parts == ["[1] ", "see (2)", "[2] ", picture, "(b) boat", "[3] ", picture]
    system, user = asking(text, "T ", *parts)
    assert system == Message(role="system", parts=("S",))
    assert user.parts == ("T [1] see (2)[2] ", picture, "(b) boat[3] ", picture)


def test_only_what_looks_like_a_mark_is_changed() -> None:
    assert content(Exhibit(way="text", text="[12] [ a ] [sic] [12345] [1, 2] (3)")) == ["(12) (a) [sic] [12345] [1, 2] (3)"]


def test_there_are_26_letters() -> None:
    assert marks(26, "letters")[-1] == "Z"
    assert marks(30, "numbers")[-1] == "30"
    with pytest.raises(InputError, match="26 letters do not mark 27"):
        marks(27, "letters")


def test_a_budget_cuts_all_texts_to_the_same_number_of_words() -> None:
    def prompt_for(pages: object) -> Prompt:
        return (Message(role="user", parts=tuple(page.text for page in pages)),)  # type: ignore[attr-defined]

    pages = [Exhibit(way="text", text="word " * count) for count in (2, 10, 30)]
    budget = TokenBudget(FakeBackend(), 20)
    assert [len(str(part).split()) for part in budget.fit(pages, prompt_for)[0].parts] == [2, 9, 9]
    assert budget.notes == ("1 prompts had more than 20 tokens: texts were cut to 9 words or more",)
    assert [len(page.text.split()) for page in pages] == [2, 10, 30], "what came in stays"
    for tokens in (None, 42):
        whole = TokenBudget(FakeBackend(), tokens)
        assert [len(str(part).split()) for part in whole.fit(pages, prompt_for)[0].parts] == [2, 10, 30]
        assert whole.notes == ()
