"""The contracts can fail: a small part that is broken in one way fails the tests that are there for it, and no others."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from mmrerank.answering import extractive
from mmrerank.errors import FormatError, InputError
from mmrerank.index import bm25_index, flat
from mmrerank.ordering import best_first
from mmrerank.parts import printed
from mmrerank.readers import images
from mmrerank.retrievers import lexical
from mmrerank.testing import (
    AnswererContract,
    BackendContract,
    EncoderContract,
    FakeBackend,
    ReaderContract,
    RerankerContract,
    RetrieverContract,
    RowIndexContract,
    TextIndexContract,
    fake_corpus,
)
from mmrerank.testing.contracts import NamedOptionsContract, content_of, untouched
from mmrerank.testing.samples import InMemory, coloured, noisy
from mmrerank.types import (
    Answer,
    Array,
    Candidate,
    ChoiceScores,
    Cost,
    Decoding,
    Generated,
    ImageHandle,
    Item,
    Neighbours,
    Notes,
    Prompt,
    Query,
    Ranking,
    ReadItem,
)


def failures(contract: type[Any], part: Any, **attributes: Any) -> set[str]:
    """The tests of the contract that the part fails, without `test_`."""
    case = type("Case", (contract,), {"part": part, **attributes})()
    names = set()
    for name in (name for name in dir(case) if name.startswith("test_")):
        try:
            getattr(case, name)()
        except Exception:
            names.add(name.removeprefix("test_"))
    return names


# ---------------------------------------------------------------------- rerankers


@dataclass(frozen=True, kw_only=True)
class Options:
    weight: float = 1.0
    lowercase: bool = True


class Words:
    """Reranks by the share of a candidate's words that the query has."""

    pointwise = True

    def __init__(self, options: Options) -> None:
        self.name, self.options = printed("words", options), options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        scores = self.scores(query, candidates)
        order = self.order(scores)
        return self.ranking(query, [self.scored(candidates[n], scores[n]) for n in order])

    def scores(self, query: Query, candidates: Sequence[Candidate]) -> list[float]:
        return [self.score(query, candidate) for candidate in candidates]

    def score(self, query: Query, candidate: Candidate) -> float:
        words = (candidate.item.text or "nothing").split()
        return self.options.weight * sum(word in (query.text or "").split() for word in words) / len(words)

    def order(self, scores: list[float]) -> list[int]:
        return best_first(scores)

    def scored(self, candidate: Candidate, score: float) -> Candidate:
        return Candidate(item=candidate.item, score=score, raw_score=score)

    def ranking(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=tuple(candidates))


class DropsTheLast(Words):
    def ranking(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return super().ranking(query, candidates[:16])


class InventsACandidate(Words):
    def ranking(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        last = [self.scored(replace(c, item=replace(c.item, item_id="another")), -1.0) for c in candidates[-1:]]
        return super().ranking(query, [*candidates, *last] if len(candidates) == 2 else candidates)


class MakesItemsAnew(Words):
    def scored(self, candidate: Candidate, score: float) -> Candidate:
        return Candidate(item=replace(candidate.item, metadata={}), score=score, raw_score=score)


class AnswersAnotherQuery(Words):
    def ranking(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id="query", candidates=tuple(candidates))


class ReturnsSomethingElse(Words):
    """All that a ranking has, and no ranking."""

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Any:
        ranking = super().rerank(query, candidates)
        return SimpleNamespace(query_id=query.query_id, candidates=ranking.candidates, item_ids=ranking.item_ids, notes=ranking.notes)


class WritesIntoMetadata(Words):
    def score(self, query: Query, candidate: Candidate) -> float:
        if candidate.item.metadata:
            candidate.item.metadata["size"]["height"] = 0
        return super().score(query, candidate)


class WritesIntoRows(Words):
    def score(self, query: Query, candidate: Candidate) -> float:
        if "row" in candidate.item.metadata:
            candidate.item.metadata["row"][:] *= 2.0
            candidate.item.metadata["row"][:] += 1.0
        return super().score(query, candidate)


class ShrinksPicturesInPlace(Words):
    def score(self, query: Query, candidate: Candidate) -> float:
        if candidate.item.image is not None and candidate.item.text:
            candidate.item.image.open().thumbnail((8, 8))
        return super().score(query, candidate)


class SortsTheCallersList(Words):
    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        ranking = super().rerank(query, candidates)
        if isinstance(candidates, list):
            candidates[:] = ranking.candidates
        return ranking


class TakesListsOnly(Words):
    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return super().rerank(query, candidates.copy())  # type: ignore[attr-defined]


class NeedsAText(Words):
    def score(self, query: Query, candidate: Candidate) -> float:
        _ = candidate.item.text.split()  # type: ignore[union-attr]
        return super().score(query, candidate)


class NeedsTextInTheQuery(Words):
    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        _ = query.text.split()  # type: ignore[union-attr]
        return super().rerank(query, candidates)


class RefusesPictures(Words):
    """Not broken: it says what it does not take."""

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        if query.images:
            raise InputError("a query of text only")
        return super().rerank(query, candidates)


class IsRandom(Words):
    pointwise = False
    draws = random.Random(7)

    def scores(self, query: Query, candidates: Sequence[Candidate]) -> list[float]:
        return [self.draws.random() for _ in candidates]


class RemembersWhatItSaw(Words):
    pointwise = False

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.calls = 0

    def scores(self, query: Query, candidates: Sequence[Candidate]) -> list[float]:
        self.calls += 1
        return [score / self.calls for score in super().scores(query, candidates)]


class DiffersByInstance(Words):
    pointwise = False
    instances = itertools.count()

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.number = next(self.instances)

    def scores(self, query: Query, candidates: Sequence[Candidate]) -> list[float]:
        return [float(n) if self.number % 2 else -float(n) for n in range(len(candidates))]


class MovesNothing(Words):
    def score(self, query: Query, candidate: Candidate) -> float:
        return 0.5


class ScoresRise(Words):
    def order(self, scores: list[float]) -> list[int]:
        return best_first([-score for score in scores])


class UnscoredInFront(Words):
    def scored(self, candidate: Candidate, score: float) -> Candidate:
        known = candidate.item.text is not None
        return Candidate(item=candidate.item, score=score if known else None, raw_score=score if known else None)

    def score(self, query: Query, candidate: Candidate) -> float:
        return super().score(query, candidate) if candidate.item.text is not None else 9.0


class ScoresNothingAsNan(Words):
    def scored(self, candidate: Candidate, score: float) -> Candidate:
        return super().scored(candidate, score if candidate.item.text is not None else float("nan"))

    def score(self, query: Query, candidate: Candidate) -> float:
        return super().score(query, candidate) if candidate.item.text is not None else -1.0


class TurnsEqualScoresAround(Words):
    def order(self, scores: list[float]) -> list[int]:
        return sorted(range(len(scores)), key=lambda n: (-scores[n], -n))


class SettlesTiesByRounding(Words):
    def score(self, query: Query, candidate: Candidate) -> float:
        return super().score(query, candidate) + int(hashlib.sha256(candidate.item.item_id.encode()).hexdigest()[:4], 16) * 1e-12

    def order(self, scores: list[float]) -> list[int]:
        return sorted(range(len(scores)), key=lambda n: -scores[n])


class ScoresByTheBest(Words):
    def scores(self, query: Query, candidates: Sequence[Candidate]) -> list[float]:
        scores = super().scores(query, candidates)
        return [score / (max(scores) or 1.0) for score in scores]


class ScoresByPlace(Words):
    def scores(self, query: Query, candidates: Sequence[Candidate]) -> list[float]:
        return [score + 0.01 / (n + 1) for n, score in enumerate(super().scores(query, candidates))]


class SaysItScoresAndDoesNot(Words):
    def scored(self, candidate: Candidate, score: float) -> Candidate:
        return Candidate(item=candidate.item)


class LeavesAnOptionOut(Words):
    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.name = f"words(weight={options.weight})"


class NamesAnotherValue(Words):
    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.name = printed("words", Options())


class HasNoName(Words):
    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.name = "by words!"


class Asks:
    """Reranks by one question to a model, whose answer is marks such as 3, 1, 2; says so where there are none."""

    pointwise = False

    def __init__(self, options: Options, backend: Any) -> None:
        self.name, self.backend = printed("asks", options), backend

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        (answer,) = self.backend.generate([()])
        marks = [int(word) - 1 for word in answer.text.split() if word.isdecimal() and int(word) <= len(candidates)]
        order = [*marks, *(n for n in range(len(candidates)) if n not in marks)]
        return self.ranking(query, [Candidate(item=candidates[n].item) for n in order], bool(marks))

    def ranking(self, query: Query, candidates: Sequence[Candidate], was_read: bool) -> Ranking:
        notes = Notes() if was_read else Notes(status="fallback", messages=("no marks in the answer",))
        return Ranking(query_id=query.query_id, candidates=tuple(candidates), notes=notes)


class SilentWhenItCannotRead(Asks):
    def ranking(self, query: Query, candidates: Sequence[Candidate], was_read: bool) -> Ranking:
        return super().ranking(query, candidates, True)


class ShufflesWhenItCannotRead(Asks):
    def ranking(self, query: Query, candidates: Sequence[Candidate], was_read: bool) -> Ranking:
        return super().ranking(query, candidates if was_read else candidates[::-1], was_read)


class RaisesWhenItCannotRead(Asks):
    def ranking(self, query: Query, candidates: Sequence[Candidate], was_read: bool) -> Ranking:
        if not was_read:
            raise ValueError("no marks in the answer")
        return super().ranking(query, candidates, was_read)


class WithLooseOptions(Words):
    @dataclass
    class Options:
        weight: float = 1.0
        lowercase: bool = True


def reranker(kind: type[Any]) -> SimpleNamespace:
    options = getattr(kind, "Options", Options)
    if issubclass(kind, Asks):
        fake = FakeBackend(answer=lambda prompt: "2 1")
        return SimpleNamespace(Options=options, build=lambda options, backend: kind(options, backend), tiny=lambda: kind(options(), fake))
    return SimpleNamespace(Options=options, build=lambda options: kind(options), tiny=lambda: kind(options()))


PERMUTED, QUERIES, BARE = (
    "a_permutation_comes_back_and_the_input_stays",
    "every_kind_of_query_is_answered_or_refused",
    "a_candidate_with_nothing_to_show_breaks_nothing",
)
AGAIN, INSTANCE, SEQUENCE = "the_same_again_gives_the_same", "the_same_from_a_new_instance", "inputs_may_be_a_list_or_a_tuple"
MOVED, FALLING, EQUAL = (
    "it_sees_more_than_the_order_that_came",
    "scores_fall_and_what_has_none_stands_behind",
    "equal_scores_keep_the_order_that_came",
)
POINTWISE, UNREADABLE = "pointwise_scores_ignore_neighbours_and_their_order", "an_unreadable_answer_leaves_a_note_and_the_order"
NAME, OPTIONS = "its_printed_name_parses_back", "every_option_that_moves_a_number_is_in_its_name"
BROKEN_RERANKERS: list[tuple[type[Any], set[str]]] = [
    (Words, set()),
    (RefusesPictures, set()),
    (DropsTheLast, {PERMUTED}),
    (InventsACandidate, {PERMUTED, BARE}),
    (MakesItemsAnew, {PERMUTED, QUERIES, BARE}),
    (AnswersAnotherQuery, {PERMUTED, QUERIES, BARE}),
    (ReturnsSomethingElse, {PERMUTED, QUERIES, BARE}),
    (WritesIntoMetadata, {PERMUTED, QUERIES}),
    (WritesIntoRows, {PERMUTED, QUERIES}),
    (ShrinksPicturesInPlace, {PERMUTED, QUERIES}),
    (SortsTheCallersList, {PERMUTED, QUERIES}),
    (TakesListsOnly, {SEQUENCE}),
    (NeedsAText, {BARE, FALLING, EQUAL, POINTWISE}),  # each of these shows a bare candidate
    (NeedsTextInTheQuery, {QUERIES}),
    (IsRandom, {SEQUENCE, AGAIN, INSTANCE}),
    (RemembersWhatItSaw, {AGAIN}),
    (DiffersByInstance, {SEQUENCE, INSTANCE}),
    (MovesNothing, {MOVED}),
    (ScoresRise, {FALLING}),
    (UnscoredInFront, {FALLING}),
    (ScoresNothingAsNan, {FALLING, POINTWISE}),
    (TurnsEqualScoresAround, {EQUAL}),
    (SettlesTiesByRounding, {EQUAL}),
    (ScoresByTheBest, {POINTWISE}),
    (ScoresByPlace, {POINTWISE}),
    (SaysItScoresAndDoesNot, {POINTWISE}),
    (LeavesAnOptionOut, {NAME, OPTIONS}),
    (NamesAnotherValue, {OPTIONS}),
    (HasNoName, {NAME, OPTIONS}),
    (WithLooseOptions, {"it_has_options_build_and_tiny"}),
    (Asks, set()),
    (SilentWhenItCannotRead, {UNREADABLE}),
    (ShufflesWhenItCannotRead, {UNREADABLE}),
    (RaisesWhenItCannotRead, {UNREADABLE, PERMUTED}),  # no mark fits an empty list
]


@pytest.mark.parametrize(("kind", "expected"), BROKEN_RERANKERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_reranker_is_noticed(kind: type[Any], expected: set[str]) -> None:
    assert failures(RerankerContract, reranker(kind)) == expected


def test_content_goes_all_the_way_down() -> None:
    item = {"picture": InMemory(coloured(1)), "rows": [np.arange(3.0)], "tags": {"a": ["b"]}, "set": {1, 2}}
    with untouched(item):
        pass
    for change in (
        lambda: item["picture"].picture.putpixel((0, 0), (1, 2, 3)),  # type: ignore[attr-defined]
        lambda: item["rows"][0].__setitem__(1, 9.0),  # type: ignore[index]
        lambda: item["tags"]["a"].append("c"),  # type: ignore[call-overload]
        lambda: item["set"].add(3),  # type: ignore[attr-defined]
        lambda: item.pop("tags"),
    ):
        with pytest.raises(AssertionError, match="an input was changed"), untouched(item):
            change()
    endless: list[Any] = []
    endless.append(endless)
    assert content_of(endless) == ("list", (("list", "itself"),))


# ---------------------------------------------------------------------- retrievers and answering


class LongerThanAsked(lexical.Lexical):
    def retrieve(self, query: Query, k: int) -> Ranking:
        return super().retrieve(query, k + 1)


class WorstFirst(lexical.Lexical):
    def retrieve(self, query: Query, k: int) -> Ranking:
        ranking = super().retrieve(query, k)
        return replace(ranking, candidates=ranking.candidates[::-1])


class NothingFound(lexical.Lexical):
    def retrieve(self, query: Query, k: int) -> Ranking:
        return replace(super().retrieve(query, k), candidates=())


class WithoutReasons(lexical.Lexical):
    def retrieve(self, query: Query, k: int) -> Ranking:
        return replace(super().retrieve(query, k), notes=Notes())


class ForgetsTheQuery(lexical.Lexical):
    def retrieve(self, query: Query, k: int) -> Ranking:
        return replace(super().retrieve(query, k), query_id="query")


class OtherHeadForOtherK(lexical.Lexical):
    def retrieve(self, query: Query, k: int) -> Ranking:
        ranking = super().retrieve(query, 50)
        ties = [replace(candidate, score=1.0) for candidate in ranking.candidates]
        return replace(ranking, candidates=tuple(sorted(ties, key=lambda c: hashlib.sha256(f"{k}{c.item.item_id}".encode()).digest())[:k]))


class LearnsFromQueries(lexical.Lexical):
    calls = 0

    def retrieve(self, query: Query, k: int) -> Ranking:
        self.calls += 1
        ranking = super().retrieve(query, k)
        return replace(ranking, candidates=tuple(replace(c, score=(c.score or 0.0) / self.calls) for c in ranking.candidates))


MANY = "it_returns_at_most_k_distinct_items_best_first"
BROKEN_RETRIEVERS: list[tuple[type[lexical.Lexical], set[str]]] = [
    (lexical.Lexical, set()),
    (LongerThanAsked, {MANY, "less_is_the_head_of_more"}),
    (WorstFirst, {MANY, "less_is_the_head_of_more"}),
    (NothingFound, {MANY}),
    (ForgetsTheQuery, {MANY}),
    (WithoutReasons, {"every_item_says_why_it_stands_there"}),
    (OtherHeadForOtherK, {"less_is_the_head_of_more"}),
    (LearnsFromQueries, {"the_same_again_and_from_a_new_instance"}),
]


@pytest.mark.parametrize(("kind", "expected"), BROKEN_RETRIEVERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_retriever_is_noticed(kind: type[lexical.Lexical], expected: set[str]) -> None:
    part = SimpleNamespace(
        Options=lexical.Options,
        build=lambda options, corpus: kind(options, corpus),
        tiny=lambda: kind(lexical.Options(), fake_corpus()),
    )
    assert failures(RetrieverContract, part) == expected


class Changed(extractive.Extractive):
    """The answer with something done to it."""

    def __init__(self, options: extractive.Options, change: Callable[[Answer, Sequence[Candidate]], Answer]) -> None:
        super().__init__(options)
        self.change, self.calls = change, itertools.count()

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer:
        return self.change(super().answer(query, candidates), candidates)


def _another_page(answer: Answer, candidates: Sequence[Candidate]) -> Answer:
    return replace(answer, citations=tuple(replace(c, item=replace(c.item, item_id="e.pdf#page=1")) for c in answer.citations))


def _another_score(answer: Answer, candidates: Sequence[Candidate]) -> Answer:
    return replace(answer, citations=tuple(replace(citation, score=0.123) for citation in answer.citations))


def _writes_into_pages(answer: Answer, candidates: Sequence[Candidate]) -> Answer:
    for candidate in candidates:
        if candidate.item.image is not None and candidate.item.text:
            candidate.item.image.open().paste((9, 9, 9))
    return answer


_DRAWS = itertools.count()
QUOTED, BARE_PAGE = "a_quote_stands_on_its_page", "a_page_with_nothing_to_show_breaks_nothing"
CITES = "it_cites_only_pages_it_got_each_once_with_their_scores"
BROKEN_ANSWERERS: dict[str, tuple[Callable[[Answer, Sequence[Candidate]], Answer], set[str]]] = {
    "sound": (lambda answer, pages: answer, set()),
    "another page": (_another_page, {CITES}),
    "another score": (_another_score, {CITES}),
    "a page twice": (lambda answer, pages: replace(answer, citations=answer.citations * 2), {CITES}),
    "empty": (
        lambda answer, pages: replace(answer, text=answer.text if len(pages) == 4 else ""),
        {CITES, BARE_PAGE},
    ),
    "found without a page": (lambda answer, pages: replace(answer, found=True), {CITES, "no_pages_give_no_answer"}),
    "never found": (lambda answer, pages: replace(answer, found=False, citations=()), {"it_answers_what_the_first_page_says"}),
    "a quote of its own": (
        lambda answer, pages: replace(answer, citations=tuple(replace(c, quote="Berlin.") for c in answer.citations)),
        {QUOTED},
    ),
    "another text each time": (lambda answer, pages: replace(answer, text=f"{next(_DRAWS)}"), {"the_same_again_gives_the_same"}),
    "paints the pages": (
        _writes_into_pages,
        {CITES, QUOTED, BARE_PAGE, "it_answers_what_the_first_page_says", "the_same_again_gives_the_same"},
    ),
}


@pytest.mark.parametrize("name", BROKEN_ANSWERERS)
def test_a_broken_answerer_is_noticed(name: str) -> None:
    change, expected = BROKEN_ANSWERERS[name]
    part = SimpleNamespace(
        Options=extractive.Options, build=lambda options: Changed(options, change), tiny=lambda: Changed(extractive.Options(), change)
    )
    assert failures(AnswererContract, part) == expected


# ---------------------------------------------------------------------- backends


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """None."""


class Model(FakeBackend):
    """The fake, with likelihoods that follow from the words of the choices."""

    def __init__(self) -> None:
        super().__init__(choose=lambda prompt, choices: [-1.0 - len(choice) - len(str(prompt[-1].parts[0])) / 99 for choice in choices])
        self.name = "model"


class AnswersByPlace(Model):
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [replace(answer, text=f"{n}") for n, answer in enumerate(super().generate(prompts, decoding))]


class CostsNothing(Model):
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [replace(answer, cost=Cost()) for answer in super().generate(prompts, decoding)]


class NeedsAPrompt(Model):
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        assert prompts
        return super().generate(prompts, decoding)


class PaintsPrompts(Model):
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        answers = super().generate(prompts, decoding)
        for part in (part for prompt in prompts for message in prompt for part in message.parts):
            if isinstance(part, Image.Image) and len(prompts) == 1:
                part.paste((0, 0, 0))
        return answers


class DoublePrecision(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        scores = super().choice_logprobs(prompts, choices)
        return replace(scores, logprobs=scores.logprobs.astype(np.float64))  # type: ignore[arg-type]


class Logits(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        scores = super().choice_logprobs(prompts, choices)
        return replace(scores, logprobs=scores.logprobs + np.float32(20))


class OverTheBatch(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        scores = super().choice_logprobs(prompts, choices)
        return replace(scores, logprobs=scores.logprobs - np.float32(len(prompts)) / np.float32(100))


class ByPlaceOfTheChoice(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        scores = super().choice_logprobs(prompts, choices)
        return replace(scores, logprobs=scores.logprobs - np.arange(len(choices), dtype=np.float32))


class OneCallForAll(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        return replace(super().choice_logprobs(prompts, choices), cost=Cost(calls=1))


class GoesOnWithTheFirst(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        scores = super().choice_logprobs(prompts, choices)
        late = [n > 0 and prompt[-1].role == "assistant" for n, prompt in enumerate(prompts)]
        return replace(scores, logprobs=scores.logprobs - np.array(late, dtype=np.float32)[:, None])


class TokensWithoutTheirPairs(Model):
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [replace(answer, tokens=("one", "more", "than")) for answer in super().generate(prompts, decoding)]


class LengthsOfNothing(Model):
    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        return replace(super().choice_logprobs(prompts, choices), lengths=(1,) * (len(choices) + 1))


class StatesOverTheBatch(Model):
    def embed(self, prompts: Sequence[Prompt]) -> Array:
        return super().embed(prompts) + np.float32(len(prompts))


class CutsFromTheEnd(Model):
    def cut(self, text: str, tokens: int) -> str:
        return " ".join(text.split()[-tokens:]) if tokens else ""


APART, LOGS = "choices_do_not_depend_on_who_stands_beside_them", "choices_are_log_probabilities"
BROKEN_BACKENDS: list[tuple[type[Model], set[str]]] = [
    (Model, set()),
    (AnswersByPlace, {"one_answer_a_prompt_in_order"}),
    (CostsNothing, {"one_answer_a_prompt_in_order"}),
    (NeedsAPrompt, {"no_prompts_no_answers"}),
    (PaintsPrompts, {"prompts_are_not_changed", "one_answer_a_prompt_in_order"}),  # which shows them twice
    (DoublePrecision, {LOGS}),
    (Logits, {LOGS}),
    (OneCallForAll, {LOGS}),
    (OverTheBatch, {APART}),
    (ByPlaceOfTheChoice, {APART}),
    (GoesOnWithTheFirst, {"an_answer_begun_is_taken_wherever_it_stands"}),
    (TokensWithoutTheirPairs, {"what_it_shows_of_its_tokens_fits_together"}),
    (LengthsOfNothing, {"what_it_shows_of_its_tokens_fits_together"}),
    (StatesOverTheBatch, {"states_do_not_depend_on_who_stands_beside_them"}),
    (CutsFromTheEnd, {"texts_are_cut_to_tokens"}),
]


@pytest.mark.parametrize(("kind", "expected"), BROKEN_BACKENDS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_backend_is_noticed(kind: type[Model], expected: set[str]) -> None:
    assert failures(BackendContract, SimpleNamespace(Options=NoOptions, build=lambda options: kind(), tiny=kind)) == expected


# ---------------------------------------------------------------------- encoders


@dataclass(frozen=True)
class Prepared:
    modality: str
    row: tuple[float, ...]


class Hashes:
    """Encodes a value by its hash."""

    name, dimension, takes, reads = "hashes", 6, frozenset({"image", "text"}), "text"
    weights_hash = "0123456789abcdef"

    def prepare(self, value: Any) -> Any:
        if isinstance(value, Prepared):
            return value
        if not isinstance(value, str | Image.Image):
            raise InputError(f"no picture and no text: {type(value).__name__}")
        content = value.encode() if isinstance(value, str) else value.tobytes()
        row = np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:4], "big")).standard_normal(self.dimension)
        return Prepared("text" if isinstance(value, str) else "image", tuple(row))

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        prepared = [self.prepare(value) for value in values]
        if len({one.modality for one in prepared}) > 1:
            raise InputError("one modality a call")
        rows = np.array([one.row for one in prepared], np.float32).reshape(-1, self.dimension)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalise else rows


class TextOnly(Hashes):
    """Not broken."""

    takes = frozenset({"text"})

    def prepare(self, value: Any) -> Any:
        if isinstance(value, Image.Image):
            raise InputError("texts only")
        return super().prepare(value)


class SaysTextOnly(Hashes):
    takes = frozenset({"text"})


class ReadsWhatItDoesNotTake(TextOnly):
    reads = "image"


class NotUnit(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        return super().encode(values, normalise=normalise) * np.float32(1.1)


class Doubles(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        return super().encode(values, normalise=normalise).astype(np.float64)


class AllAlike(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        rows = super().encode(values, normalise=normalise)
        return np.repeat([[1.0, 0, 0, 0, 0, 0]], len(rows), axis=0).astype(np.float32)


class Centred(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        rows = super().encode(values, normalise=False)
        rows = rows - rows.mean(axis=0) / 2 if len(rows) else rows
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalise else rows


class Drifts(Hashes):
    def __init__(self) -> None:
        self.calls = 0

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        rows = super().encode(values, normalise=normalise)
        self.calls += len(rows) == 5
        return np.roll(rows, self.calls % 2, axis=1)


class PreparesOtherwise(Hashes):
    def prepare(self, value: Any) -> Any:
        prepared = super().prepare(value)
        return prepared if isinstance(value, Prepared) else replace(prepared, row=tuple(n + (n > 0) for n in prepared.row))

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        return super().encode(
            [value if isinstance(value, Prepared) else Hashes.prepare(self, value) for value in values], normalise=normalise
        )


class PaintsPictures(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        rows = super().encode(values, normalise=normalise)
        for value in (value for value in values if isinstance(value, Image.Image)):
            value.putpixel((0, 0), (1, 2, 3))
        return rows


class MixesModalities(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        return np.concatenate([np.empty((0, 6), np.float32), *(Hashes.encode(self, [value], normalise=normalise) for value in values)])


class TakesAnything(Hashes):
    def prepare(self, value: Any) -> Any:
        return super().prepare(value if isinstance(value, str | Image.Image | Prepared) else repr(value))


class TurnsWithoutNormalising(Hashes):
    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Any:
        rows = super().encode(values, normalise=normalise)
        return rows if normalise else rows + np.float32(1)


class ShortHash(Hashes):
    weights_hash = "abc"


class Tokens(Hashes):
    """Not broken: two vectors a value, whose mean is its row."""

    def encode_tokens(self, values: Sequence[Any]) -> Any:
        return [np.repeat(row[None], 2, axis=0) for row in self.encode(values)]

    def pooled(self, tokens: Sequence[Any]) -> Any:
        return np.stack([rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)) for rows in tokens])


class LooseTokens(Tokens):
    def encode_tokens(self, values: Sequence[Any]) -> Any:
        return [rows * np.float32(2) for rows in super().encode_tokens(values)]


class PoolsTheFirst(Tokens):
    def pooled(self, tokens: Sequence[Any]) -> Any:
        return np.stack([np.roll(rows[0], 1) for rows in tokens])


class RenamesItself(Hashes):
    made = itertools.count()

    def __init__(self) -> None:
        self.name = f"hashes{next(self.made)}"


TOKENS = "many_vectors_of_a_value_are_unit_rows_and_their_mean_is_its_row"
ALONE = "a_row_depends_on_neither_neighbours_nor_order_nor_batch_size"
UNIT = "rows_as_the_model_leaves_them_differ_from_unit_rows_in_length_only"
TWICE = {ALONE, UNIT, "prepared_values_encode_alike", "the_same_call_gives_the_same_rows"}  # show a value more than once
BROKEN_ENCODERS: list[tuple[type[Hashes], set[str]]] = [
    (Hashes, set()),
    (TextOnly, set()),
    (Tokens, set()),
    (SaysTextOnly, {"a_modality_it_does_not_take_is_refused"}),
    (ReadsWhatItDoesNotTake, {"it_reads_one_of_the_modalities_it_takes"}),
    (NotUnit, {"rows_are_float32_of_unit_length", UNIT}),
    (Doubles, {"rows_are_float32_of_unit_length", "nothing_gives_no_rows"}),
    (AllAlike, {"different_values_have_different_rows"}),
    (Centred, {ALONE}),
    (PreparesOtherwise, {"prepared_values_encode_alike"}),
    (PaintsPictures, {"inputs_are_left_as_they_were", "its_name_makes_the_same_encoder_again", *TWICE}),
    (MixesModalities, {"modalities_are_not_mixed"}),
    (TakesAnything, {"what_is_neither_picture_nor_text_is_refused"}),
    (TurnsWithoutNormalising, {UNIT}),
    (ShortHash, {"its_weights_have_a_hash"}),
    (LooseTokens, {TOKENS}),
    (PoolsTheFirst, {TOKENS}),
    (RenamesItself, {"its_name_makes_the_same_encoder_again"}),
]


@pytest.mark.parametrize(("kind", "expected"), BROKEN_ENCODERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_encoder_is_noticed(kind: type[Hashes], expected: set[str]) -> None:
    part = SimpleNamespace(Options=NoOptions, build=lambda options: kind(), tiny=kind)
    values = {"image": [noisy(n, 4, 6) for n in range(5)], "text": ["a", "b", "c", "d", ""]}
    smaller = {"values": lambda self, modality: [value.copy() if modality == "image" else value for value in values[modality]]}
    assert failures(EncoderContract, part, **smaller) == expected


def test_an_encoder_that_drifts_is_noticed() -> None:
    part = SimpleNamespace(Options=NoOptions, build=lambda options: Drifts(), tiny=Drifts)
    assert "the_same_call_gives_the_same_rows" in failures(EncoderContract, part)


# ---------------------------------------------------------------------- indexes


class RowsWorstFirst(flat.Flat):
    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        return [replace(hits, ids=hits.ids[::-1]) for hits in super().search(rows, k, **filters)]


class Pads(flat.Flat):
    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        return [self._padded(hits, min(k, 61)) for hits in super().search(rows, k, **filters)]

    def _padded(self, hits: Neighbours, k: int) -> Neighbours:
        missing = max(k - len(hits.ids), 0)
        ids = np.concatenate([hits.ids, np.full(missing, -1, np.int64)])
        return Neighbours(ids=ids, scores=np.concatenate([hits.scores, np.full(missing, -9, np.float32)]))


class FiltersNothing(flat.Flat):
    def search(self, rows: Any, k: int, *, allowed: Any = None) -> list[Neighbours]:
        return super().search(rows, k)


class FiltersAfterwards(flat.Flat):
    def search(self, rows: Any, k: int, *, allowed: Any = None) -> list[Neighbours]:
        hits = super().search(rows, k)
        if allowed is None:
            return hits
        return [Neighbours(ids=one.ids[(mask := np.isin(one.ids, allowed))], scores=one.scores[mask]) for one in hits]


class TiesByPlace(flat.Flat):
    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        hits = super().search(rows, 10**6, **filters)
        orders = [np.lexsort((-one.ids, -one.scores))[: int(super(TiesByPlace, self).search(rows, k)[0].ids.size)] for one in hits]
        return [Neighbours(ids=one.ids[order], scores=one.scores[order]) for one, order in zip(hits, orders, strict=True)]


class NeverForgets(flat.Flat):
    def remove(self, ids: Any) -> None:
        super().remove(np.empty(0, np.int64))


class LosesOneOnLoading(flat.Flat):
    def load(self, path: Path) -> None:
        super().load(path)
        self.remove(self.ids[:1])


class LeavesAFileBehind(flat.Flat):
    def save(self, path: Path) -> None:
        super().save(path)
        path.with_suffix(".tmp").touch()


class TakesAnyK(flat.Flat):
    def search(self, rows: Any, k: Any, **filters: Any) -> list[Neighbours]:
        return super().search(rows, int(k or 1) if isinstance(k, float | bool | None) else max(k, 1), **filters)


class TakesAnyRows(flat.Flat):
    def add(self, ids: Any, rows: Any) -> None:
        with np.errstate(over="ignore"):
            rows = np.asarray(rows, np.float32)
        super().add(ids, rows / np.linalg.norm(rows, axis=-1, keepdims=True) if np.isfinite(rows).all() and rows.any() else rows)


class TakesRepeatedIds(flat.Flat):
    def add(self, ids: Any, rows: Any) -> None:
        _, first = np.unique(ids, return_index=True)
        super().add(np.asarray(ids)[first], np.asarray(rows)[first])


class ShowsItsOwnIds(flat.Flat):
    @property
    def ids(self) -> Any:
        current = super().ids
        if not hasattr(self, "shared") or self.shared.shape != current.shape:
            self.shared = current
        return self.shared


class AlwaysStale(flat.Flat):
    @property
    def needs_rebuild(self) -> bool:
        return True


class LeansOnNeighbours(flat.Flat):
    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        hits = super().search(rows, k, **filters)
        return [replace(one, scores=one.scores - np.float32(1e-3)) for one in hits] if len(hits) > 5 else hits


class NeedsContiguousRows(flat.Flat):
    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        if len(rows) and not np.asarray(rows).flags.c_contiguous:
            raise ValueError("rows are not contiguous")
        return super().search(rows, k, **filters)


class KeepsTheCallersRows(flat.Flat):
    def add(self, ids: Any, rows: Any) -> None:
        super().add(ids, rows)
        self.rows = rows

    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        hits = super().search(rows, k, **filters)
        return hits if not hasattr(self, "rows") or np.any(self.rows) else hits[:0]


class NeedsAQuery(flat.Flat):
    def search(self, rows: Any, k: int, **filters: Any) -> list[Neighbours]:
        if not len(rows):
            raise ValueError("no query")
        return super().search(rows, k, **filters)


class SaysText(flat.Flat):
    SEARCHES = "text"


NEAREST, FILTER = "the_neighbours_are_the_nearest_rows", "a_filter_shows_the_nearest_of_what_it_allows"
REMOVED, LOADED = "what_was_removed_is_gone_until_it_is_added_again", "saved_and_loaded_is_the_same"
TIES, ROUNDED = "ties_go_by_id", "what_differs_by_rounding_only_is_a_tie"
USABLE_ROWS = "rows_that_cannot_be_used_are_refused_and_nothing_is_added"
USABLE_IDS = "ids_that_cannot_be_used_are_refused_and_nothing_is_added"
BROKEN_INDEXES: list[tuple[type[flat.Flat], set[str]]] = [
    (flat.Flat, set()),
    (RowsWorstFirst, {NEAREST, FILTER, TIES, ROUNDED}),
    (Pads, {NEAREST, FILTER, REMOVED, USABLE_IDS, "an_empty_index_finds_nothing", "everything_removed_is_an_empty_index"}),
    (FiltersNothing, {FILTER, REMOVED}),
    (FiltersAfterwards, {FILTER}),
    (TiesByPlace, {TIES, ROUNDED}),
    (NeverForgets, {REMOVED, LOADED, "everything_removed_is_an_empty_index"}),
    (LosesOneOnLoading, {LOADED}),
    (LeavesAFileBehind, {LOADED, "an_empty_index_is_saved_and_loaded"}),
    (TakesAnyK, {"k_is_at_least_one"}),
    (TakesAnyRows, {USABLE_ROWS}),
    (TakesRepeatedIds, {USABLE_IDS, USABLE_ROWS}),
    (AlwaysStale, {"an_empty_index_finds_nothing"}),
    (LeansOnNeighbours, {"one_query_is_answered_as_many_are"}),
    (NeedsContiguousRows, {"awkward_layouts_are_taken"}),
    (KeepsTheCallersRows, {"inputs_are_copied_and_never_changed"}),
    (ShowsItsOwnIds, {"inputs_are_copied_and_never_changed"}),
    (NeedsAQuery, {"no_rows_and_no_queries_are_fine"}),
    (SaysText, {"it_says_what_it_searches"}),
]


@pytest.mark.parametrize(("kind", "expected"), BROKEN_INDEXES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_index_over_rows_is_noticed(kind: type[flat.Flat], expected: set[str]) -> None:
    part = SimpleNamespace(
        Options=flat.Options, build=kind, tiny=lambda: kind(flat.Options(), 8), SEARCHES=getattr(kind, "SEARCHES", "rows")
    )
    assert failures(RowIndexContract, part) == expected


class Sentences(bm25_index.Bm25Index):
    """Words, with something done to what is found."""

    def altered(self, hits: Neighbours) -> Neighbours:
        return hits

    def search(self, text: str, k: int, **filters: Any) -> Neighbours:
        return self.altered(super().search(text, k, **filters))


class FindsWorstFirst(Sentences):
    def altered(self, hits: Neighbours) -> Neighbours:
        return Neighbours(ids=hits.ids[::-1], scores=hits.scores[::-1])


class FindsEverything(Sentences):
    def search(self, text: str, k: int, **filters: Any) -> Neighbours:
        hits = super().search(text, k, **filters)
        others = np.setdiff1d(self.ids, hits.ids)[: k - len(hits.ids)] if len(self) and not filters else hits.ids[:0]
        return Neighbours(ids=np.concatenate([hits.ids, others]), scores=np.concatenate([hits.scores, np.zeros(len(others), np.float32)]))


class TextFiltersNothing(Sentences):
    def search(self, text: str, k: int, *, allowed: Any = None) -> Neighbours:
        return super().search(text, k)


class AddsToWhatWasThere(Sentences):
    def fit(self, ids: Any, texts: Sequence[str]) -> None:
        super().fit(ids if not len(self) else np.array([3, 9]), texts if not len(self) else [*texts, "another"])


class ForgetsOnLoading(Sentences):
    def load(self, path: Path) -> None:
        self.fit(np.array([3]), ["red door"])


class FindsSomethingInNothing(Sentences):
    def search(self, text: str, k: int, **filters: Any) -> Neighbours:
        nothing = Neighbours(ids=np.array([7]), scores=np.array([1.0], np.float32))
        return super().search(text, k, **filters) if len(self) else nothing


class TakesAnyTextK(Sentences):
    def search(self, text: str, k: int, **filters: Any) -> Neighbours:
        return super().search(text, max(k, 1), **filters)


class TakesRepeatedTexts(Sentences):
    def fit(self, ids: Any, texts: Sequence[str]) -> None:
        _, first = np.unique(ids, return_index=True)
        super().fit(ids[first], [texts[n] for n in first if n < len(texts)])


class ShowsItsOwnTextIds(Sentences):
    @property
    def ids(self) -> Any:
        return self._ids


class SaysRows(Sentences):
    SEARCHES = "rows"


BROKEN_TEXT_INDEXES: list[tuple[type[Sentences], set[str]]] = [
    (Sentences, set()),
    (
        FindsWorstFirst,
        {
            "more_words_in_common_come_first",
            "less_is_the_head_of_more_and_ties_go_by_id",
            "texts_that_share_a_word_are_neighbours_and_no_others",
        },
    ),
    (FindsEverything, {"texts_that_share_a_word_are_neighbours_and_no_others"}),
    (TextFiltersNothing, {"a_filter_shows_what_it_allows"}),
    (AddsToWhatWasThere, {"all_texts_are_there_and_what_is_fitted_anew_takes_their_place"}),
    (ForgetsOnLoading, {"saved_and_loaded_is_the_same"}),
    (FindsSomethingInNothing, {"an_empty_index_finds_nothing"}),
    (TakesAnyTextK, {"k_is_at_least_one"}),
    (TakesRepeatedTexts, {"ids_that_do_not_fit_are_refused"}),
    (ShowsItsOwnTextIds, {"inputs_are_left_as_they_were"}),
    (SaysRows, {"it_says_what_it_searches"}),
]


@pytest.mark.parametrize(("kind", "expected"), BROKEN_TEXT_INDEXES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_index_over_text_is_noticed(kind: type[Sentences], expected: set[str]) -> None:
    part = SimpleNamespace(
        Options=bm25_index.Options, build=kind, tiny=lambda: kind(bm25_index.Options()), SEARCHES=getattr(kind, "SEARCHES", "text")
    )
    assert failures(TextIndexContract, part) == expected


# ---------------------------------------------------------------------- readers


class Pngs(images.ImageReader):
    suffixes = frozenset({".png"})


class ShoutsItsSuffix(Pngs):
    suffixes = frozenset({".PNG"})


class CountsTwo(Pngs):
    def count(self, path: Path) -> int:
        return super().count(path) + 1


class CountsWhatIsNotThere(Pngs):
    def count(self, path: Path) -> int:
        return 1


class RaisesWhatComes(Pngs):
    def read(self, path: Path, item_id: str) -> Iterator[ReadItem]:
        try:
            yield from super().read(path, item_id)
        except FormatError as error:
            raise ValueError(str(error)) from error


class NamesAnotherFile(Pngs):
    def read(self, path: Path, item_id: str) -> Iterator[ReadItem]:
        try:
            yield from super().read(path, item_id)
        except FormatError as error:
            raise FormatError(error.reason, path="x.png") from error


class SwallowsWhatIsBroken(Pngs):
    def read(self, path: Path, item_id: str) -> Iterator[ReadItem]:
        try:
            yield from super().read(path, item_id)
        except FormatError:
            return


class Altered(Pngs):
    """Entries with something done to them."""

    def altered(self, entry: ReadItem) -> ReadItem:
        return entry

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem]:
        yield from map(self.altered, super().read(path, item_id))


class ItsOwnIds(Altered):
    def altered(self, entry: ReadItem) -> ReadItem:
        return replace(entry, item=replace(entry.item, item_id="picture"))


class AnotherHashEachTime(Altered):
    hashes = itertools.count()

    def altered(self, entry: ReadItem) -> ReadItem:
        return replace(entry, content_hash=f"{next(self.hashes):032x}")


class ShortContentHash(Altered):
    def altered(self, entry: ReadItem) -> ReadItem:
        return replace(entry, content_hash="abc")


class NestedMetadata(Altered):
    def altered(self, entry: ReadItem) -> ReadItem:
        return replace(entry, item=replace(entry.item, metadata={"size": (1, 2)}))


class PageWithoutDocument(Altered):
    def altered(self, entry: ReadItem) -> ReadItem:
        return replace(entry, item=replace(entry.item, page_number=1))


class WithoutPicture(Altered):
    def altered(self, entry: ReadItem) -> ReadItem:
        return replace(entry, item=replace(entry.item, image=None))


class AnotherPictureAgain(Pngs):
    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        return InMemory(coloured(7)) if path.exists() else super().handle(path, fragment)


class PicturesOutliveFiles(Pngs):
    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        return super().handle(path, fragment) if path.exists() else InMemory(coloured(7))


class NothingIsEverCut(Pngs):
    def read(self, path: Path, item_id: str) -> Iterator[ReadItem]:
        try:
            yield from super().read(path, item_id)
        except FormatError:
            if not path.is_file() or path.stat().st_size in (0, 700):
                raise
            yield ReadItem(item=Item(item_id=item_id, image=InMemory(coloured(7))), content_hash="0" * 32)


class ReadsAllAtOnce(Pngs):
    def read(self, path: Path, item_id: str) -> Any:
        return iter(list(super().read(path, item_id)))  # which cannot be closed


class RenamesItsReaders(Pngs):
    readers = itertools.count()

    def __init__(self, options: images.Options) -> None:
        super().__init__(options)
        self.name = printed(f"images{next(self.readers)}", options)


class HasNoSample(Pngs):
    samples: ClassVar[dict[str, Any]] = {}


SOUND, PLAIN = "a_sound_file_gives_as_many_items_as_it_counts_and_the_same_each_time", "items_are_plain_and_their_hash_is_blake2b_128"
NONE, SAME_PICTURE = "a_file_that_is_none_is_a_format_error_with_its_path", "the_picture_of_a_handle_is_the_picture_read"
GONE = "handles_of_a_file_that_is_gone_fail_when_they_are_opened"
BROKEN_READERS: list[tuple[type[Pngs], set[str]]] = [
    (Pngs, set()),
    (CountsTwo, {SOUND}),
    (CountsWhatIsNotThere, {NONE}),
    (RaisesWhatComes, {NONE, "a_file_cut_short_never_passes_unnoticed"}),
    (NamesAnotherFile, {NONE}),
    (SwallowsWhatIsBroken, {NONE}),
    (ItsOwnIds, {SOUND, SAME_PICTURE, GONE}),
    (AnotherHashEachTime, {SOUND}),
    (ShortContentHash, {PLAIN}),
    (NestedMetadata, {PLAIN}),
    (PageWithoutDocument, {PLAIN}),
    (WithoutPicture, {SOUND, PLAIN, SAME_PICTURE}),
    (AnotherPictureAgain, {SAME_PICTURE}),
    (PicturesOutliveFiles, {GONE}),
    (NothingIsEverCut, {"a_file_cut_short_never_passes_unnoticed"}),
    (ReadsAllAtOnce, {"reading_can_be_left_half_way"}),
    (RenamesItsReaders, {"the_reader_its_name_makes_is_called_the_same"}),
    (ShoutsItsSuffix, {"suffixes_are_lower_case_with_a_dot"}),
    (HasNoSample, {SOUND, PLAIN, SAME_PICTURE, GONE, "reading_can_be_left_half_way", "a_file_cut_short_never_passes_unnoticed"}),
]


def _png(path: Path) -> None:
    noisy(1, 20, 30).save(path, "PNG")


@pytest.mark.parametrize(("kind", "expected"), BROKEN_READERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_reader_is_noticed(kind: type[Pngs], expected: set[str]) -> None:
    part = SimpleNamespace(Options=images.Options, build=kind, tiny=lambda: kind(images.Options()))
    assert failures(ReaderContract, part, samples=getattr(kind, "samples", dict.fromkeys(kind.suffixes, _png))) == expected


# ---------------------------------------------------------------------- all of them

TABLES: dict[type[Any], list[set[str]]] = {
    RerankerContract: [expected for _, expected in BROKEN_RERANKERS],
    RetrieverContract: [expected for _, expected in BROKEN_RETRIEVERS],
    AnswererContract: [expected for _, expected in BROKEN_ANSWERERS.values()],
    BackendContract: [expected for _, expected in BROKEN_BACKENDS],
    EncoderContract: [expected for _, expected in BROKEN_ENCODERS],
    RowIndexContract: [expected for _, expected in BROKEN_INDEXES],
    TextIndexContract: [expected for _, expected in BROKEN_TEXT_INDEXES],
    ReaderContract: [expected for _, expected in BROKEN_READERS],
}


@pytest.mark.parametrize("contract", TABLES, ids=lambda contract: contract.__name__)
def test_every_test_of_every_contract_fails_on_some_part(contract: type[Any]) -> None:
    """What all stations share is shown by the rerankers."""
    shared = set() if contract is RerankerContract else set(dir(NamedOptionsContract))
    names = {name.removeprefix("test_") for name in set(dir(contract)) - shared if name.startswith("test_")}
    assert names - set().union(*TABLES[contract]) == set()
