"""Query likelihood: a mean over tokens, the requests, exclusions, and what a likelihood cannot carry."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from makers import InMemory, coloured

from mmrerank.backends import chat_http
from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.rerankers.query_likelihood import NO_PICTURES_EXCLUDED, Options, build
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, ChoiceScores, Item, Prompt, Query

QUERY = Query(query_id="q", text="how old is the mill")


def passages(*texts: str) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", text=text), score=0.5) for n, text in enumerate(texts)]


def pictures(count: int, *, text: str | None = None) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", image=InMemory(coloured(n)), text=text)) for n in range(count)]


def text_of(prompt: Prompt) -> str:
    return "".join(part for part in prompt[-1].parts if isinstance(part, str))


class Likelihoods(FakeBackend):
    """Log-probabilities of each text by a word that the prompt holds; "" is what the bare request has."""

    def __init__(self, sums: dict[str, Sequence[float]], lengths: Sequence[int]) -> None:
        super().__init__(choose=lambda prompt, choices: next(row for word, row in sums.items() if word in text_of(prompt)))
        self._lengths, self.choices = tuple(lengths), []

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        self.choices.append(list(choices))
        scores = super().choice_logprobs(prompts, choices)
        return ChoiceScores(logprobs=scores.logprobs, cost=scores.cost, lengths=self._lengths)


def test_the_score_is_the_mean_over_the_tokens_and_its_exponential() -> None:
    backend = Likelihoods({"stone": [-10.0], "mill": [-5.0], "": [-30.0]}, [5])
    ranking = build(Options(), backend).rerank(QUERY, passages("a stone", "a mill"))
    assert ranking.item_ids == ("item-1", "item-0")
    assert [c.raw_score for c in ranking.candidates] == pytest.approx([-1.0, -2.0])
    assert [c.score for c in ranking.candidates] == pytest.approx([math.exp(-1), math.exp(-2)])
    assert ranking.notes.reasons["item-1"] == "mean p(token) 0.368"
    assert backend.choices == [["how old is the mill"]]
    assert ranking.notes.cost.calls == 2


def test_nothing_of_the_query_stands_before_it_so_that_a_prompt_serves_every_query() -> None:
    backend = FakeBackend()
    reranker = build(Options(), backend)
    for text in ("how old is the mill", "who built it"):
        reranker.rerank(Query(text=text), passages("The mill was built in 1870."))
    assert backend.prompts[0] == backend.prompts[1]
    assert text_of(backend.prompts[0]) == "The mill was built in 1870.\n\nWrite a question that this text answers."


def test_a_picture_stands_before_its_caption_and_the_request_says_what_is_shown() -> None:
    backend = FakeBackend()
    build(Options(), backend).rerank(QUERY, [*pictures(1), *pictures(2, text="a mill")[1:], *passages("a text")[:1]][:2])
    alone, both = backend.prompts
    assert [isinstance(part, str) for part in alone[0].parts] == [False, True]
    assert text_of(alone) == "\nWrite a question that this picture answers."
    assert text_of(both) == "\nCaption: a mill\nWrite a question that this picture and its caption answer."


def test_the_request_in_front_is_shared_by_all_candidates() -> None:
    backend = FakeBackend()
    reranker = build(Options(layout="question_first"), backend)
    reranker.rerank(QUERY, passages("The mill was built in 1870.", "It burnt."))
    reranker.rerank(QUERY, [*pictures(1), *pictures(2, text="a mill")[1:]])
    assert [text_of(prompt) for prompt in backend.prompts[:2]] == [
        "Write a question that this text answers.\n\nThe mill was built in 1870.",
        "Write a question that this text answers.\n\nIt burnt.",
    ]
    assert [isinstance(part, str) for part in backend.prompts[2][0].parts] == [True, False, True]
    assert text_of(backend.prompts[3]) == "Write a question that this picture and its caption answer.\n\n\nCaption: a mill"
    assert "layout='question_first'" in reranker.name
    assert reranker.prompt.digest != build(Options(), backend).prompt.digest


def test_a_caption_and_a_change_are_asked_for_as_what_they_are() -> None:
    backend = FakeBackend()
    build(Options(task="caption"), backend).rerank(QUERY, [*pictures(1), *passages("a", "a text")[1:]])
    assert text_of(backend.prompts[0]).endswith("Write a short caption for this picture.")
    assert text_of(backend.prompts[1]).endswith("Write a short caption for what this text describes.")
    composed = Query(text="in green", images=(InMemory(coloured(7)),))
    build(Options(), backend).rerank(composed, pictures(1))
    reference, candidate, words = backend.prompts[-1][0].parts
    assert (reference.getpixel((0, 0)), candidate.getpixel((0, 0))) == (coloured(7).getpixel((0, 0)), coloured(0).getpixel((0, 0)))
    assert words == "\nWrite what was changed in the first picture to make the last one of it."


def test_an_excluded_text_takes_away_what_the_candidate_adds_to_its_likelihood() -> None:
    # 2 tokens each: the query is equally likely; "blue" is likelier than alone after the lamp, less likely after the door
    sums = {"lamp": [-4.0, -2.0], "door": [-4.0, -8.0], "": [-9.0, -6.0]}
    backend = Likelihoods(sums, [2, 2])
    query = Query(text="a thing", exclude_text=("blue",))
    ranking = build(Options(), backend).rerank(query, passages("a lamp", "a door"))
    assert ranking.item_ids == ("item-1", "item-0")
    assert [c.raw_score for c in ranking.candidates] == pytest.approx([-2.0, -2.0 - 2.0])
    assert [len(choices) for choices in backend.choices] == [2, 2]
    assert backend.calls == [2, 1]  # the candidates, and the bare request once
    assert text_of(backend.prompts[-1]) == "Write a question that this text answers."


def test_an_exclusion_costs_one_prompt_more_however_many_candidates_there_are() -> None:
    backend = FakeBackend()
    ranking = build(Options(), backend).rerank(Query(text="a", exclude_text=("b",)), passages(*map(str, range(100))))
    assert backend.calls == [64, 1, 36]
    assert ranking.notes.cost.calls == 101


def test_what_a_likelihood_cannot_carry_is_said() -> None:
    reranker = build(Options(), FakeBackend())
    excluding = Query(text="a lamp", exclude_images=(InMemory(coloured(1)),))
    assert NO_PICTURES_EXCLUDED in reranker.rerank(excluding, passages("a", "b")).notes.messages
    with pytest.raises(InputError, match="has no text"):
        reranker.rerank(Query(images=(InMemory(coloured(1)),)), passages("a"))


def test_a_backend_that_does_not_count_tokens_is_refused_and_not_trusted() -> None:
    """A server reports first tokens only: their likelihood would look like that of the whole query."""

    class FirstTokens(FakeBackend):
        def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
            return ChoiceScores(logprobs=np.zeros((len(prompts), len(choices)), dtype=np.float32))

    with pytest.raises(InputError, match="several tokens") as caught:
        build(Options(), FirstTokens()).rerank(QUERY, passages("a"))
    assert "local/PATH" in (caught.value.hint or "")


def test_a_server_is_refused_as_one_that_tells_first_tokens_only() -> None:
    with pytest.raises(InputError, match="several tokens"):
        build(Options(), chat_http.tiny()).rerank(QUERY, passages("a"))


def test_a_server_that_is_down_is_told_as_that() -> None:
    class Down(FakeBackend):
        def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
            raise BackendError("no answer", retryable=True)

    with pytest.raises(BackendError, match="no answer"):
        build(Options(), Down()).rerank(QUERY, passages("a"))


def test_long_texts_are_cut_pages_later_than_others() -> None:
    backend, words = FakeBackend(), " ".join(map(str, range(500)))
    page = Candidate(item=Item(item_id="page", text=words, document_id="d", page_number=1))
    build(Options(), backend).rerank(QUERY, [*passages(words), page])
    assert [len(text_of(prompt).partition("\n")[0].split()) for prompt in backend.prompts] == [100, 400]


def test_a_prompt_file_of_another_form_is_refused() -> None:
    with pytest.raises(FormatError, match="expected the pieces"):
        build(Options(prompt="ragllava"), FakeBackend())
