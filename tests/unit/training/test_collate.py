"""Training sends what inference sends: the prompts of every reranker that asks a model, and the scores that ranking is by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trained import group, model, worded

from mmrerank.errors import InputError
from mmrerank.parts import WrappingPart, make, module, names, requires
from mmrerank.testing.fakes import FakeBackend
from mmrerank.testing.samples import candidates, queries
from mmrerank.training.answers import DESCRIBED, FORMS, answers_for
from mmrerank.training.collate import Collator, Listener, Sample, request_of
from mmrerank.training.network import Student
from mmrerank.training.recipe import Model
from mmrerank.training.supervised import sample_of
from mmrerank.types import Candidate, Item, Message, Prompt, Query, opened

WITHIN = [name for name in names("rerankers") if isinstance(module(name, station="rerankers"), WrappingPart)]  # these ask as another does
ASKING = [name for name in names("rerankers") if name not in WITHIN and requires(name, station="rerankers").needed == {"backend"}]
ONCE = {"rank_r1": "rank_r1(shuffle=False, top=1)", "grouprank": "grouprank(shuffle=False)"}
SCORING = ("query_likelihood", "qwen3_reranker", "prorank", "lychee", "lychee(score=cl)", "first", "e2rank(no_thought=False, end='')")


def content(prompts: list[Prompt]) -> list[object]:
    """Everything in prompts, pictures as their bytes."""
    return [[(m.role, [part if isinstance(part, str) else part.tobytes() for part in m.parts]) for m in opened(p)] for p in prompts]


@pytest.mark.parametrize("name", ASKING)
def test_what_is_caught_is_what_the_model_is_asked(name: str) -> None:
    fake, listener = FakeBackend(answer=lambda prompt: ""), Listener(FakeBackend())
    for backend in (fake, listener):
        make(name, station="rerankers", backend=backend).rerank(queries()["text and picture"], candidates(5))
    caught = [prompt for heard in listener.heard for prompt in heard.prompts]
    assert caught
    assert content(caught) == content(fake.prompts)


@pytest.mark.parametrize("name", [ONCE.get(name, name) for name in ASKING if name != "square"])
def test_a_group_is_asked_about_in_one_prompt_or_in_one_each(name: str) -> None:
    heard = request_of(name, queries()["text and picture"], candidates(5), FakeBackend())
    assert len(heard.prompts) in (1, 5, 6)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worded(tmp_path_factory.mktemp("collate"), "llama")


@pytest.mark.parametrize("name", SCORING)
def test_what_is_trained_is_what_ranks(name: str, llama: Path) -> None:
    backend, groups = model(llama), [group(0), group(1)]
    student = Student(backend, Model(), seed=0)
    samples = [sample_of(one, one.candidates[: 5 - n]) for n, one in enumerate(groups)]
    scores = student(Collator(name, backend)(samples))["scores"].detach().numpy()
    for sample, row in zip(samples, scores, strict=True):
        ranking = make(name, station="rerankers", backend=backend).rerank(sample.query, sample.candidates)
        own = dict(zip((one.item.item_id for one in sample.candidates), row.tolist(), strict=False))
        np.testing.assert_allclose([own[one] for one in ranking.item_ids], sorted(own.values(), reverse=True), rtol=0, atol=1e-3)
        raw = [one.raw_score for one in ranking.candidates]
        if None not in raw:
            prompt = (Message(role="user", parts=("",)),)
            length = len(backend.answer_tokens(sample.query.text, prompt)) if name == "query_likelihood" else 1
            np.testing.assert_allclose([own[one] / length for one in ranking.item_ids], raw, rtol=1e-4, atol=1e-4)


TAUGHT = {
    "order": "dear_listwise",
    "final_order": "dear_listwise",
    "letters_begun": "first(read=generation)",
    "best": "rank_r1(shuffle=False, top=1)",
    "ids": "mm_r5",
    "grades_by_mark": "grouprank(shuffle=False)",
    "grade": "erank",
    "judged_ids": "mm_r5",
}


@pytest.mark.parametrize("form", [form for form in (*FORMS, *DESCRIBED) if form != "symbol"])  # which is read as logits
def test_what_is_taught_is_read_as_it_was_meant(form: str) -> None:
    one = group(3)
    grades = tuple(map(float, (0, 1, 0, 3, 2)))
    said = answers_for(form)(Sample(query=one.query, candidates=one.candidates, grades=grades), 5 if form == "grade" else 1)
    answers = iter(f"[{text}" if form == "letters_begun" else text for text in said)
    part = make(TAUGHT[form], station="rerankers", backend=FakeBackend(answer=lambda prompt: next(answers)))
    ids = part.rerank(one.query, one.candidates).item_ids
    wanted = ["q3-3"] if form == "best" else ["q3-3", "q3-4", "q3-1"]
    assert list(ids)[: len(wanted)] == wanted


def test_a_model_that_is_not_here_cannot_be_trained() -> None:
    with pytest.raises(InputError, match="no model in this process"):
        Collator("query_likelihood", FakeBackend())


def test_a_candidate_that_is_not_shown_is_an_error() -> None:
    empty = Candidate(item=Item(item_id="empty"))
    with pytest.raises(InputError, match="sends 5 prompts about 6 candidates"):
        request_of("query_likelihood", Query(text="what"), (*group().candidates, empty), FakeBackend())


def test_a_reranker_without_a_model_cannot_be_trained() -> None:
    with pytest.raises(InputError, match="asks its model nothing"):
        request_of("bm25", group().query, group().candidates, FakeBackend())
