"""An interview shows by the options of its method, cuts to the budget, asks as the options say, and tells what it did."""

from __future__ import annotations

from collections.abc import Sequence

from mmrerank.prompting.items import Exhibit
from mmrerank.rerankers._interview import Interview
from mmrerank.rerankers.dear_listwise import Options
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Decoding, Generated, Item, Message, Prompt, Query

QUERY = Query(query_id="q", text="which table")
OPTIONS = Options(modality="text", page_words=4, max_tokens=7, temperature=0.5, seed=3)


class Counting(FakeBackend):
    """Counts words as tokens, and keeps how it was asked to write."""

    def __init__(self) -> None:
        super().__init__(answer=lambda prompt: "[1]")
        self.decodings: list[Decoding | None] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.decodings.append(decoding)
        return super().generate(prompts, decoding)

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        return [sum(len(str(part).split()) for message in prompt for part in message.parts) for prompt in prompts]

    def cut(self, text: str, tokens: int) -> str:
        return " ".join(text.split()[:tokens])


def prompt_for(query: Query, pages: Sequence[Exhibit]) -> Prompt:
    return (Message(role="user", parts=(query.text or "", *(page.text for page in pages))),)


def test_the_options_say_what_is_shown_and_how_is_asked() -> None:
    backend = Counting()
    interview = Interview(QUERY, OPTIONS, backend)
    page = interview.show(Item(item_id="a", text="one two three four five six"))
    assert (page.way, page.text) == ("text", "one two three four")
    assert interview.answer([page], prompt_for).text == "[1]"
    assert backend.decodings == [Decoding(max_tokens=7, temperature=0.5, seed=3)]
    assert interview.notes == ()


def test_texts_are_cut_to_the_budget_and_the_notes_say_so() -> None:
    backend = Counting()
    interview = Interview(QUERY, OPTIONS, backend, tokens=6)
    pages = [interview.show(Item(item_id=name, text="one two three four")) for name in "ab"]
    interview.answer(pages, prompt_for)
    assert backend.prompts[-1][0].parts == ("which table", "one two", "one two")
    assert interview.notes == ("1 prompts had more than 6 tokens: texts were cut to 2 words or more",)


def test_prompts_of_its_own_go_as_they_are_in_one_call() -> None:
    backend = Counting()
    answers = Interview(QUERY, OPTIONS, backend, tokens=2).answers([prompt_for(QUERY, [Exhibit(way="text", text=text)]) for text in "ab"])
    assert [answer.text for answer in answers] == ["[1]", "[1]"]
    assert backend.calls == [2]
    assert [prompt[0].parts for prompt in backend.prompts] == [("which table", "a"), ("which table", "b")]
