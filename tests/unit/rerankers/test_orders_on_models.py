"""`first` and `e2rank` on tiny random models, against what transformers computes from the same prompt without any of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listed import numbered
from makers import InMemory, coloured
from tiny_models import saved

from mmrerank.backends.local import Local, Options, build
from mmrerank.prompting.listings import marks
from mmrerank.rerankers import e2rank, first
from mmrerank.types import Candidate, Item, Prompt, Query

QUERY = Query(query_id="q", text="the largest number")
KINDS = ("llama", "qwen2", "qwen3", "gpt2")
END = "<|im_end|>"  # a token that these models have


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, models: Path) -> Path:
    return saved(models, request.param)


@pytest.fixture(scope="module")
def backend(folder: Path) -> Local:
    return build(Options(model=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def bare(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def text_before_the_answer(tokenizer: Any, prompt: Prompt) -> str:
    turns = [{"role": message.role, "content": "".join(map(str, message.parts))} for message in prompt if message.role != "assistant"]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def test_the_order_is_that_of_the_logits_behind_the_bracket(backend: Local, bare: tuple[Any, Any]) -> None:
    model, tokenizer = bare
    reranker = first.build(first.Options(), backend)
    candidates = numbered(range(20))
    pages = [e2rank.build(e2rank.Options(), backend)._display(QUERY).show(candidate.item) for candidate in candidates]
    text = text_before_the_answer(tokenizer, reranker.prompt_for(QUERY, pages)) + "["
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids[-1:]) == "[", "what is read is the place behind the bracket"
    letters = [tokenizer(text + mark, add_special_tokens=False)["input_ids"] for mark in marks(20, "letters")]
    assert all(one[:-1] == ids for one in letters)
    assert len({one[-1] for one in letters}) == 20
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, -1].float().numpy()[[one[-1] for one in letters]]
    ranking = reranker.rerank(QUERY, candidates)
    assert [int(item_id) for item_id in ranking.item_ids] == sorted(range(20), key=lambda n: -logits[n])
    assert ranking.notes.status == "ok"
    assert (ranking.notes.cost.calls, ranking.notes.cost.prompt_tokens, ranking.notes.cost.generated_tokens) == (1, len(ids), 0)


def test_the_vectors_are_the_states_of_the_last_token(backend: Local, bare: tuple[Any, Any]) -> None:
    model, tokenizer = bare
    reranker = e2rank.build(e2rank.Options(feedback=3, end=END), backend)
    candidates = numbered([3, 1, 4, 1, 5, 9])
    pages = [reranker._display(QUERY).show(candidate.item) for candidate in candidates]
    plain, block = "Instruct: Find what answers the query.\nQuery:the largest number" + END, "<think>\n\n</think>\n\n"
    texts = {"list": text_before_the_answer(tokenizer, reranker.list_prompt(QUERY, pages[:3])) + block, "plain": plain}
    texts |= {f"{n}": f"worth {number}{END}" for n, number in enumerate([3, 1, 4, 1, 5, 9])}
    with torch.inference_mode():
        states = {name: _state(model, tokenizer(text, add_special_tokens=False)["input_ids"]) for name, text in texts.items()}
    for feedback, query in ((3, "list"), (0, "plain")):
        ranking = e2rank.build(e2rank.Options(feedback=feedback, end=END), backend).rerank(QUERY, candidates)
        expected = {f"{n}": float(states[query] @ states[f"{n}"]) for n in range(6)}
        assert {c.item.item_id: c.score for c in ranking.candidates} == pytest.approx(expected, abs=1e-4)


def _state(model: Any, ids: list[int]) -> Any:
    state = model.base_model(torch.tensor([ids])).last_hidden_state[0, -1].numpy()
    return state / np.linalg.norm(state)


def test_neighbours_and_padding_move_no_vector(backend: Local) -> None:
    candidates = [Candidate(item=Item(item_id=f"{n}", text="word " * (n * n + 1))) for n in range(9)]
    together = e2rank.build(e2rank.Options(feedback=0, end=END), backend).rerank(QUERY, candidates)
    alone = [e2rank.build(e2rank.Options(feedback=0, end=END), backend).rerank(QUERY, [one]).candidates[0] for one in candidates]
    assert {c.item.item_id: c.score for c in together.candidates} == pytest.approx({c.item.item_id: c.score for c in alone}, abs=1e-4)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "llava"])
def test_both_look_at_pictures(kind: str, models: Path) -> None:
    seeing = build(Options(model=str(saved(models, kind)), device="cpu"))
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n * 7, size=(56, 84))))) for n in range(4)]
    query = Query(text="in green", images=(InMemory(coloured(3, size=(60, 30))),), exclude_text=("a boat",))
    ordered = first.build(first.Options(), seeing).rerank(query, candidates)
    assert ordered.notes.status == "ok"
    assert ordered.notes.cost.image_tokens > 0
    scored = e2rank.build(e2rank.Options(), seeing).rerank(query, candidates)
    assert len({candidate.score for candidate in scored.candidates}) == 4, "the pictures reach the vectors"
