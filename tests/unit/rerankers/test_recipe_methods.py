"""qwen3_reranker, lychee and prorank: the vectors of their notes, their whole prompts byte for byte, their heads on tiny random models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from judged_models import checkpoint, direct_logits, loaded, whole
from makers import InMemory, picture

from mmrerank.errors import InputError
from mmrerank.rerankers import lychee, prorank, qwen3_reranker
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Item, Query

QUERY = Query(query_id="q", text="what is red")
TEXTS = ["a red door", "the boat " * 20, "green", "red"]
SYSTEM = "Decide whether the Document is what the Query is after, in the sense of the Instruct. Reply with one word: yes or no."
VISION = "<|vision_start|><|image_pad|><|vision_end|>"


def items(texts: Sequence[str] = TEXTS) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", text=text)) for n, text in enumerate(texts)]


def pictured(*numbers: int) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture(n, (60 + 9 * n, 70))), text=f"door {n}")) for n in numbers]


def one(module: Any, options: Any, yes: float, no: float) -> Candidate:
    backend = FakeBackend(choose=lambda prompt, choices: [yes, no])
    return module.build(options, backend).rerank(QUERY, items(["a door"])).candidates[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("module", [qwen3_reranker, lychee])
def test_the_score_is_the_sigmoid_of_the_log_odds_and_not_that_of_probabilities(module: Any) -> None:
    assert one(module, module.Options(), 2.0, 0.0).score == pytest.approx(0.8807971, abs=1e-7)
    assert one(module, module.Options(), -98.0, -100.0).score == pytest.approx(0.8807971, abs=1e-7)
    assert one(module, module.Options(), 0.0, 2.0).score == pytest.approx(1 - 0.8807971, abs=1e-7)
    literal = one(module, module.Options(), math.log(0.99), math.log(0.01)).score
    assert literal == pytest.approx(0.99, abs=1e-6)  # not 0.7271, as the formula of the report read to the letter


def test_proranks_shown_score_is_shifted_and_its_order_is_not() -> None:
    large, base = prorank.Options(), prorank.Options(spread=9.0)
    assert one(prorank, base, 3.5, -1.0).raw_score == 4.5
    assert one(prorank, base, 3.5, -1.0).score == 0.5
    assert one(prorank, base, 9.0, 0.0).score == pytest.approx(0.98901, abs=1e-5)
    assert one(prorank, large, 6.0, 0.0).score == 0.5
    assert one(prorank, base, 103.5, 99.0).raw_score == 4.5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_qwen3_rerankers_prompt_byte_for_byte(models: Path) -> None:
    backend = loaded(checkpoint(models, "qwen3"))
    judge = qwen3_reranker.build(qwen3_reranker.Options(instruction="Find it"), backend)
    head, tail = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert whole(backend, judge.prompt_for(QUERY, items()[0])) == (
        f"{head}<Instruct>: Find it\n<Query>: what is red\n<Document>: a red door{tail}"
    )
    wide = qwen3_reranker.build(qwen3_reranker.Options(instruction="Find it", blank_lines=True), backend)
    assert whole(backend, wide.prompt_for(QUERY, items()[0])) == (
        f"{head}<Instruct>: Find it\n\n<Query>: what is red\n\n<Document>: a red door{tail}"
    )


def test_qwen3_vl_rerankers_prompt_byte_for_byte(models: Path) -> None:
    backend = loaded(checkpoint(models, "qwen3_vl"))
    judge = qwen3_reranker.build(qwen3_reranker.Options(layout="pictures", instruction="Find it"), backend)
    head, tail = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: Find it", "<|im_end|>\n<|im_start|>assistant\n"
    (candidate,) = pictured(1)
    assert whole(backend, judge.prompt_for(QUERY, candidate)) == f"{head}<Query>:what is red\n<Document>:{VISION}door 1{tail}"
    alone = Query(images=(InMemory(picture(5, (80, 80))), InMemory(picture(6, (80, 80)))))
    bare = Candidate(item=Item(item_id="bare", image=InMemory(picture(2, (80, 80)))))
    assert whole(backend, judge.prompt_for(alone, bare)) == f"{head}<Query>:{VISION}{VISION}\n<Document>:{VISION}{tail}"


def test_lychees_prompt_byte_for_byte(models: Path) -> None:
    backend = loaded(checkpoint(models, "qwen2_5_vl"))
    judge = lychee.build(lychee.Options(task="page"), backend)
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: Find the page of a document, as a picture, that answers"
    (candidate,) = pictured(1)
    text = whole(backend, judge.prompt_for(QUERY, candidate))
    assert text == f"{head} the question<Query>:what is red\n<Document>:{VISION}door 1<|im_end|>\n<|im_start|>assistant\n"


def test_proranks_prompt_byte_for_byte_with_and_without_an_instruction(models: Path) -> None:
    backend = loaded(checkpoint(models, "qwen2"))
    request = "You judge how a search went. Say 1 where the document is what the query is after, and 0 where it is not.\nRelevance:"
    tail = f"query: what is red\ndocument: a red door\n{request}<|im_end|>\n<|im_start|>assistant\n"
    plain, told = (prorank.build(prorank.Options(instruction=text), backend) for text in ("", "Find it"))
    assert whole(backend, plain.prompt_for(QUERY, items()[0])) == f"<|im_start|>user\n{tail}"
    assert whole(backend, told.prompt_for(QUERY, items()[0])) == f"<|im_start|>user\ninstruction: Find it\n{tail}"


@pytest.mark.parametrize(("module", "architecture", "answers"), [(qwen3_reranker, "qwen3", ("yes", "no")), (prorank, "qwen2", ("1", "0"))])
def test_a_text_head_is_that_of_transformers_alone(module: Any, architecture: str, answers: tuple[str, str], models: Path) -> None:
    folder = checkpoint(models, architecture)
    backend = loaded(folder, batch_size=3)
    assert all(backend.single_token(answer) for answer in answers)
    judge = module.build(module.Options(), backend)
    ranking = judge.rerank(QUERY, items())
    for candidate in ranking.candidates:
        first, second = direct_logits(folder, whole(backend, judge.prompt_for(QUERY, candidate)), answers)
        assert candidate.raw_score == pytest.approx(first - second, abs=2e-4)


@pytest.mark.parametrize(
    ("module", "options", "architecture"),
    [(qwen3_reranker, {"layout": "pictures"}, "qwen3_vl"), (lychee, {}, "qwen2_5_vl"), (lychee, {"score": "cl"}, "qwen2_5_vl")],
)
def test_a_picture_head_is_the_last_state_times_the_rows_of_yes_and_no(
    module: Any, options: dict[str, str], architecture: str, models: Path
) -> None:
    """The released code makes a linear map of the difference of two rows of the head; the same but for rounding."""
    backend = loaded(checkpoint(models, architecture), batch_size=2)
    judge = module.build(module.Options(**options), backend)
    ranking = judge.rerank(QUERY, pictured(0, 1, 2, 3))
    ids = backend._prepare.tokenizer.convert_tokens_to_ids(["yes", "no"])
    rows = backend._model.get_output_embeddings().weight[ids].detach()
    for candidate in ranking.candidates:
        state = torch.from_numpy(backend.embed([judge.prompt_for(QUERY, candidate)])[0])
        yes, no = (float(value) for value in rows @ state)
        assert candidate.raw_score == pytest.approx(yes if options.get("score") == "cl" else yes - no, abs=2e-4)


def test_lychees_contrastive_score_wants_a_backend_that_shows_logits() -> None:
    with pytest.raises(InputError, match="reads the logit of 'yes'"):
        lychee.build(lychee.Options(score="cl"), FakeBackend())


def test_lychee_takes_one_picture_a_side() -> None:
    two = Query(images=(InMemory(picture(1)), InMemory(picture(2))))
    with pytest.raises(InputError, match="takes 1 picture a side"):
        lychee.build(lychee.Options(), FakeBackend()).rerank(two, pictured(1))


def test_prorank_cuts_the_query_to_three_quarters_and_then_the_document_alone(models: Path) -> None:
    backend = loaded(checkpoint(models, "qwen2"))
    judge = prorank.build(prorank.Options(prompt_tokens=80, instruction="Find it"), backend)

    def sides(query: str, document: str) -> tuple[str, str, str]:
        text = whole(backend, judge.prompt_for(Query(text=query), items([document])[0]))
        head, _, rest = text.partition("query: ")
        asked, _, rest = rest.partition("\ndocument: ")
        shown, _, tail = rest.partition("\nYou judge")
        assert head == "<|im_start|>user\ninstruction: Find it\n"
        assert tail.endswith("Relevance:<|im_end|>\n<|im_start|>assistant\n")
        return asked, shown, text

    long, short = "z" * 300, "z" * 20
    asked, shown, _ = sides(long, long)
    assert (len(asked), len(shown)) == (60, 20)  # a letter that the tokenizer never joins is a token each
    asked, shown, _ = sides(short, long)
    assert (len(asked), len(shown)) == (20, 60)
    asked, shown, _ = sides(long, short)
    assert (len(asked), len(shown)) == (60, 20)
    assert sides(short, short)[:2] == (short, short)


@pytest.mark.parametrize("module", [qwen3_reranker, lychee, prorank])
def test_that_sentences_are_ours_is_said_on_every_ranking(module: Any) -> None:
    messages = module.tiny().rerank(QUERY, items()).notes.messages
    assert sum("in our words" in message for message in messages) == 1
    assert module.tiny().rerank(QUERY, []).notes.messages == ()


@pytest.mark.parametrize("module", [qwen3_reranker, lychee, prorank])
def test_an_oracle_reaches_the_top_and_equals_keep_their_order(module: Any) -> None:
    backend = FakeBackend(choose=lambda prompt, choices: [float(any("green" in str(part) for part in prompt[-1].parts)), 0.5])
    ranking = module.build(module.Options(), backend).rerank(QUERY, items())
    assert ranking.item_ids == ("item-2", "item-0", "item-1", "item-3")
