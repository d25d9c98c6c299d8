"""E2Rank: three prompts, one vector a candidate and one for the list, both remembered; plain retrieval where there is no list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listed import text_of
from makers import InMemory, coloured

from mmrerank.backends._cache import CachedBackend
from mmrerank.errors import InputError
from mmrerank.rerankers._vectors import Vectors, unit_rows
from mmrerank.rerankers.e2rank import Options, build
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Array, Candidate, ChoiceScores, Decoding, Generated, Item, Markup, Prompt, Query, Ranking

WORDS = ("red", "green", "blue", "door", "boat", "bird", "lamp", "house")
QUERY = Query(query_id="q", text="red door")


class Bag:
    """A model whose state is how often each of eight words stands in the prompt, and a little of how far from its end."""

    name = "bag"

    def __init__(self, spoil: Callable[[str], bool] = lambda text: False) -> None:
        self.prompts: list[Prompt] = []
        self._spoil = spoil

    def embed(self, prompts: Sequence[Prompt]) -> Array:
        self.prompts += prompts
        return np.array([self._state(text_of(prompt).lower()) for prompt in prompts], dtype=np.float32)

    def _state(self, text: str) -> list[float]:
        if self._spoil(text):
            return [float("nan")] * len(WORDS)
        words = re.findall(r"\w+", text)
        return [sum(1 + n / len(words) for n, word in enumerate(words) if word == name) for name in WORDS]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        raise AssertionError("nothing is generated")

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise AssertionError("nothing is chosen")


def texts(*lines: str) -> list[Candidate]:
    return [Candidate(item=Item(item_id=line, text=line)) for line in lines]


CANDIDATES = texts("blue boat", "red lamp", "a red door", "green bird", "door", "red red door house", "boat house")


def reranked(candidates: Sequence[Candidate] = CANDIDATES, query: Query = QUERY, **options: Any) -> tuple[Ranking, Bag]:
    bag = Bag()
    return build(Options(**options), bag).rerank(query, candidates), bag


def scores(ranking: Ranking) -> dict[str, float]:
    return {c.item.item_id: c.score or 0.0 for c in ranking.candidates}


def cosine(one: Array, other: Array) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("feedback", [0, 1, 3, 20])
def test_scores_are_the_cosines_of_separate_vectors(feedback: int) -> None:
    ranking, bag = reranked(feedback=feedback)
    part = build(Options(feedback=feedback), bag)
    shown = [part._display(QUERY).show(candidate.item) for candidate in CANDIDATES]
    prompt = part.list_prompt(QUERY, shown[:feedback]) if feedback else part.plain_prompt(QUERY)
    row = bag.embed([prompt])[0]
    rows = bag.embed([part.document_prompt(page) for page in shown])
    expected = {c.item.item_id: cosine(row, other) for c, other in zip(CANDIDATES, rows, strict=True)}
    assert scores(ranking) == pytest.approx(expected, abs=1e-6)
    assert list(scores(ranking)) == sorted(expected, key=lambda name: -expected[name])
    assert all(abs(score) <= 1 + 1e-6 for score in expected.values())
    assert ranking.notes.status == "ok"
    assert ranking.notes.reasons["door"] == f"cosine {expected['door']:.3f}"


def test_the_prompts_of_the_note() -> None:
    part = build(Options(), Bag())
    pages = [part._display(QUERY).show(candidate.item) for candidate in CANDIDATES[:2]]
    (document,) = part.document_prompt(pages[0])
    assert (document.role, document.parts) == ("raw", ("blue boat", "<|endoftext|>"))
    assert isinstance(document.parts[1], Markup)
    assert not isinstance(document.parts[0], Markup)
    (plain,) = part.plain_prompt(QUERY)
    assert (plain.role, plain.parts[1]) == ("raw", "<|endoftext|>")
    assert re.fullmatch(r"Instruct: .+\nQuery:red door", str(plain.parts[0]))
    user, answer = part.list_prompt(QUERY, pages)
    assert re.fullmatch(r".+:\nDocuments:\n\[1\] blue boat\n\[2\] red lamp\nSearch Query: red door", str(user.parts[0]))
    assert (answer.role, answer.parts) == ("assistant", ("<think>\n\n</think>\n\n",))
    assert isinstance(answer.parts[0], Markup)
    assert "endoftext" not in text_of((user, answer)), "the end token belongs to documents and plain queries"
    assert len(build(Options(no_thought=False), Bag()).list_prompt(QUERY, pages)) == 1


@pytest.mark.parametrize(("count", "feedback", "lines"), [(7, 20, 7), (7, 3, 3), (7, 7, 7), (1, 20, 1)])
def test_the_list_has_the_first_k_and_the_query_behind_them(count: int, feedback: int, lines: int) -> None:
    _, bag = reranked(CANDIDATES[:count], feedback=feedback)
    (list_prompt,) = (text_of(prompt) for prompt in bag.prompts if "Documents:" in text_of(prompt))
    assert re.findall(r"^\[(\d+)\]", list_prompt, re.M) == [str(n) for n in range(1, lines + 1)]
    assert list_prompt.index("Search Query") > list_prompt.rindex("[")


def test_the_order_within_the_list_counts_and_the_order_behind_it_does_not() -> None:
    one, _ = reranked(feedback=3)
    tail, _ = reranked([*CANDIDATES[:3], *CANDIDATES[:2:-1]], feedback=3)
    head, _ = reranked([*CANDIDATES[2::-1], *CANDIDATES[3:]], feedback=3)
    assert scores(one) == scores(tail) != scores(head)


def test_one_pass_a_query_once_the_candidates_are_known() -> None:
    bag = Bag()
    part = build(Options(), bag)
    first = part.rerank(QUERY, CANDIDATES)
    again = part.rerank(Query(query_id="other", text="blue boat"), CANDIDATES)
    assert (first.notes.cost.calls, first.notes.cost.cached) == (len(CANDIDATES) + 1, 0)
    assert (again.notes.cost.calls, again.notes.cost.cached) == (1, len(CANDIDATES))
    assert len(bag.prompts) == len(CANDIDATES) + 2
    plain = build(Options(feedback=0), bag).rerank(QUERY, CANDIDATES)
    assert set(scores(plain)) == set(scores(first))


def test_vectors_in_a_folder_are_shared_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    first = build(Options(vectors=str(tmp_path)), Bag()).rerank(QUERY, CANDIDATES)
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == len(CANDIDATES) + 1
    assert not list(tmp_path.rglob("*.part"))
    files[0].write_bytes(b"\x93NUMPY broken")
    files[1].write_bytes(b"")
    other = Bag()
    again = build(Options(vectors=str(tmp_path)), other).rerank(QUERY, CANDIDATES)
    assert scores(again) == scores(first)
    assert len(other.prompts) == 2
    elsewhere = Bag()
    elsewhere.name = "another"
    build(Options(vectors=str(tmp_path)), elsewhere).rerank(QUERY, CANDIDATES)
    assert len(elsewhere.prompts) == len(CANDIDATES) + 1, "another model's vectors are not taken for its own"


def test_memory_has_a_bound() -> None:
    bag = Bag()
    vectors = Vectors(bag, memory_mib=0)
    part = build(Options(), bag)
    prompts = [part.document_prompt(part._display(QUERY).show(candidate.item)) for candidate in CANDIDATES]
    rows, _ = vectors.of(prompts)
    assert rows.shape == (len(CANDIDATES), len(WORDS))
    assert vectors.of(prompts[:1])[1].calls == 1, "nothing was kept"


def test_a_text_and_the_markup_of_the_same_letters_are_two_prompts() -> None:
    bag = Bag()
    vectors = Vectors(bag, memory_mib=1)
    part = build(Options(end=""), bag)
    page = part._display(QUERY).show(CANDIDATES[0].item)
    (message,) = part.document_prompt(page)
    vectors.of([(message,)])
    marked = type(message)(role="raw", parts=(Markup(message.parts[0]), *message.parts[1:]))
    assert vectors.of([(marked,)])[1].calls == 1


def test_a_list_without_direction_falls_back_to_the_query() -> None:
    spoilt = build(Options(), Bag(spoil=lambda text: "documents:" in text)).rerank(QUERY, CANDIDATES)
    plain, _ = reranked(feedback=0)
    assert scores(spoilt) == scores(plain)
    assert spoilt.notes.messages[0] == "the list's vector has no direction, so the query's own was taken"


def test_a_candidate_without_direction_has_no_score_and_stays_behind() -> None:
    ranking = build(Options(feedback=0), Bag(spoil=lambda text: "green" in text)).rerank(QUERY, CANDIDATES)
    assert ranking.candidates[-1].item.item_id == "green bird"
    assert ranking.candidates[-1].score is None
    assert ranking.notes.status == "completed"


def test_no_candidates_no_pass() -> None:
    ranking, bag = reranked([])
    assert (ranking.candidates, bag.prompts, ranking.notes.status) == ((), [], "ok")


def test_equal_vectors_keep_their_order() -> None:
    ranking, _ = reranked([Candidate(item=Item(item_id=f"{n}", text="red door")) for n in range(9)])
    assert ranking.item_ids == tuple(f"{n}" for n in range(9))


def test_pictures_and_exclusions_reach_both_prompts() -> None:
    query = Query(text="in green", images=(InMemory(coloured(3)),), exclude_text=("a boat",), exclude_images=(InMemory(coloured(5)),))
    part = build(Options(), FakeBackend())
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n + 10)))) for n in range(2)]
    pages = [part._display(query).show(candidate.item) for candidate in candidates]
    for prompt, pictures in ((part.plain_prompt(query), 2), (part.list_prompt(query, pages), 4)):
        assert prompt[0].role == "user"
        assert sum(not isinstance(item, str) for message in prompt for item in message.parts) == pictures
        assert "Not wanted: a boat" in text_of(prompt)
    assert part.document_prompt(pages[0])[0].role == "user"
    assert part.rerank(query, candidates).notes.cost.calls == 3


def test_a_backend_without_vectors_is_refused_and_one_behind_a_cache_is_not(tmp_path: Path) -> None:
    class Server:
        name = "server"
        generate = Bag.generate
        choice_logprobs = Bag.choice_logprobs

    with pytest.raises(InputError, match="'server' gives no vector") as refusal:
        build(Options(), Server())  # type: ignore[arg-type]
    assert "local/PATH" in refusal.value.hint
    cached = CachedBackend(Bag(), tmp_path / "cache")
    assert scores(build(Options(), cached).rerank(QUERY, CANDIDATES)) == scores(reranked()[0])


def test_unit_rows() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [np.inf, 1.0]], dtype=np.float32))
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, 0]]))
    assert rows.dtype == np.float32


def test_counts_below_zero_are_refused() -> None:
    with pytest.raises(InputError, match="count from 0"):
        Options(feedback=-1)
