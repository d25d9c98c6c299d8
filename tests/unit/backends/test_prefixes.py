"""Scores with beginnings at hand are those without, on every architecture: single, batched, shuffled, from memory, with little room."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import picture
from PIL import Image
from prefix_prompts import CHOICES, EQUAL, PASSAGES, PICTURES, QUERIES, about, gap, opened_backend, prompts_for, single, store_of, user
from tiny_models import NAMES, TEXT_NAMES, saved

from mmrerank.backends import mini
from mmrerank.backends._prefixes import ChoicePass
from mmrerank.backends.local import Local
from mmrerank.errors import FormatError
from mmrerank.handles import LazyPicture
from mmrerank.types import ChoiceScores, Message, Prompt


def prefilled(prompts: Sequence[Prompt]) -> list[Prompt]:
    return [(*prompt, Message(role="assistant", parts=("the answer is",))) for prompt in prompts]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=[*NAMES, *TEXT_NAMES, "mini"])
def folder(request: pytest.FixtureRequest, models: Path) -> Path:
    return mini.FOLDER if request.param == "mini" else saved(models, request.param)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Local:
    return opened_backend(folder, prefix_bytes=0)


@pytest.fixture
def backend(folder: Path) -> Local:
    return opened_backend(folder)


def test_scores_from_memory_are_those_without(backend: Local, plain: Local) -> None:
    backend.choice_logprobs(prompts_for(backend, QUERIES[0]), CHOICES)
    for query in QUERIES[1:]:
        prompts = prompts_for(backend, query)
        expected = single(plain, prompts)
        assert np.ptp(expected[:, 0]) > EQUAL, "the prompts differ, so the comparison can fail"
        batched, order = backend.choice_logprobs(prompts, CHOICES), np.random.default_rng(0).permutation(len(prompts))
        shuffled = backend.choice_logprobs([prompts[n] for n in order], CHOICES)
        assert batched.cost.reused_tokens > 0.4 * batched.cost.prompt_tokens
        assert gap(batched.logprobs, expected) < EQUAL
        assert gap(shuffled.logprobs, expected[order]) < EQUAL
        assert gap(single(backend, prompts), expected) < EQUAL


def test_costs_count_reused_tokens_apart_and_leave_the_others_as_they_are(backend: Local, plain: Local) -> None:
    prompts = prompts_for(backend, QUERIES[0])
    before = plain.choice_logprobs(prompts, CHOICES)
    cold, warm = (backend.choice_logprobs(prompts, CHOICES) for _ in range(2))
    for scores in (cold, warm):
        assert [cost.prompt_tokens for cost in scores.costs] == [cost.prompt_tokens for cost in before.costs]
        assert [cost.image_tokens for cost in scores.costs] == [cost.image_tokens for cost in before.costs]
    assert before.cost.reused_tokens == cold.cost.reused_tokens == 0
    assert all(0 < cost.reused_tokens < cost.prompt_tokens for cost in warm.costs)


def test_a_begun_answer_behind_a_beginning_scores_as_without(backend: Local, plain: Local) -> None:
    backend.choice_logprobs(prefilled(prompts_for(backend, QUERIES[0])), CHOICES)
    prompts = prefilled(prompts_for(backend, QUERIES[1]))
    scores = backend.choice_logprobs(prompts, CHOICES)
    assert scores.cost.reused_tokens
    assert gap(scores.logprobs, single(plain, prompts)) < EQUAL


def test_prompts_of_one_call_that_begin_alike_share_a_pass(backend: Local, plain: Local) -> None:
    beginning = " ".join(PASSAGES[:3])
    families = [[user(f"{name} {beginning}", f"\nquestion {n}: {query}") for n, query in enumerate(QUERIES * 2)] for name in "ab"]
    prompts = [one for pair in zip(*families, strict=True) for one in pair]
    scores = backend.choice_logprobs(prompts, CHOICES)
    assert sum(cost.reused_tokens > 0 for cost in scores.costs) == len(prompts) - 2, "one of each family goes first"
    assert gap(scores.logprobs, single(plain, prompts)) < EQUAL


def test_pictures_behind_a_question_are_looked_at_behind_what_is_at_hand_of_it(backend: Local, plain: Local) -> None:
    if not backend._prepare.sees:
        pytest.skip("it takes no pictures")
    task = "the task is to say which of these is what was asked for and what it says of it at some length, or not " * 2
    shows = [(PICTURES[n % 3], " ".join(PASSAGES[: n % 4])) for n in range(9)]
    for query in QUERIES[:2]:
        prompts = [user(f"{task} {query}", one, f"\nthe image is relevant: {text}") for one, text in shows]
        prompts += [user(f"{task} {query}", PICTURES[1], "and", PICTURES[2], "\nwhich?"), user(f"{task} {query}", PASSAGES[0])]
        for asked in (prompts, prefilled(prompts)):
            expected = single(plain, asked)
            scores = backend.choice_logprobs(asked, CHOICES)
            shuffled = backend.choice_logprobs(asked[::-1], CHOICES)
            assert np.ptp(expected[:9, 0]) > EQUAL, "the pictures differ, so the comparison can fail"
            assert sum(cost.reused_tokens > 0 for cost in scores.costs) >= len(asked) - 1, "one goes first"
            assert [cost.prompt_tokens for cost in scores.costs] == [
                cost.prompt_tokens for cost in plain.choice_logprobs(asked, CHOICES).costs
            ]
            assert [cost.image_tokens > 0 for cost in scores.costs] == [True] * 10 + [False]
            assert gap(scores.logprobs, expected) < EQUAL
            assert gap(shuffled.logprobs[::-1], expected) < EQUAL


def test_few_words_before_a_picture_are_run_over_with_it(backend: Local, plain: Local) -> None:
    if not backend._prepare.sees:
        pytest.skip("it takes no pictures")
    prompts = [user("which is it?", picture(n, size=(30, 30)), " ".join(PASSAGES[:3])) for n in range(40)]
    scores = backend.choice_logprobs(prompts, CHOICES)
    assert scores.cost.reused_tokens == 0
    assert gap(scores.logprobs, single(plain, prompts)) < EQUAL


def test_short_candidates_behind_a_long_question_all_wait_for_the_one_that_goes_first(backend: Local, plain: Local) -> None:
    """Of two questions over the same candidates, what is at hand of the first must not keep the second from going first by itself."""
    task = "the task is to say which of these is what was asked for and what it says of it at some length, or not " * 2
    asked = [f"{task} {query}" for query in ("is the first image relevant? ", "what is the second image for? ")]
    first, second = ([user(question, f"{n}") for n in range(40)] for question in asked)
    backend.choice_logprobs(first, CHOICES)
    scores = backend.choice_logprobs(second, CHOICES)
    symbols = sorted(backend._prepare.symbols(second))
    common = next(n for n, (one, other) in enumerate(zip(symbols[0], symbols[-1], strict=False)) if one != other)
    assert sum(cost.reused_tokens >= common for cost in scores.costs) >= len(second) - 1
    assert gap(scores.logprobs, plain.choice_logprobs(second, CHOICES).logprobs) < EQUAL


def test_memory_stays_within_the_budget_and_scores_stay_right_after_eviction(folder: Path, plain: Local) -> None:
    roomy = opened_backend(folder)
    roomy.choice_logprobs(prompts_for(roomy, QUERIES[0]), CHOICES)
    budget = int(1.25 * store_of(roomy).n_bytes)  # three quarters of it are for what is kept, so not all of that fits
    backend = opened_backend(folder, prefix_bytes=budget)
    for query in (*QUERIES, QUERIES[0]):
        for prompts in (prompts_for(backend, query), prefilled(prompts_for(backend, query)[::-1])):
            scores = backend.choice_logprobs(prompts, CHOICES)
            assert store_of(backend).n_bytes <= 0.75 * budget
            assert gap(scores.logprobs, single(plain, prompts)) < EQUAL
    assert 0 < len(store_of(backend)) < len(store_of(roomy))
    assert store_of(backend).n_bytes == sum(one.n_bytes for one in store_of(backend)._beginnings.values())


def test_a_batch_at_work_takes_a_quarter_of_the_budget_at_most(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def forward(original=ChoicePass._scores):  # type: ignore[no-untyped-def]
        def scores(self, work, choices, call):  # type: ignore[no-untyped-def]
            if work.keeps:
                sizes.append(len(work.rows) * (work.prefix + work.width) * self._token_bytes)
            return original(self, work, choices, call)

        return scores

    monkeypatch.setattr(ChoicePass, "_scores", forward())
    backend = opened_backend(folder)
    prompts = [prompt for query in QUERIES for prompt in prompts_for(backend, query)]
    backend.choice_logprobs(prompts[:1], CHOICES)
    budget = 40 * sizes[0]
    small = opened_backend(folder, prefix_bytes=budget)
    for _ in range(2):
        small.choice_logprobs(prompts, ["Yes"])
    assert max(sizes[1:]) <= budget // 4


def test_nothing_is_kept_where_nothing_may_be(folder: Path, plain: Local) -> None:
    prompts = prompts_for(plain, QUERIES[0])
    for _ in range(2):
        assert plain.choice_logprobs(prompts, CHOICES).cost.reused_tokens == 0
    tiny = opened_backend(folder, prefix_bytes=64)
    for _ in range(2):
        scores = tiny.choice_logprobs(prompts, CHOICES)
        assert scores.cost.reused_tokens == 0
        assert gap(scores.logprobs, single(plain, prompts)) < EQUAL


def test_choices_of_several_tokens_go_on_from_their_prompt(backend: Local, plain: Local) -> None:
    prompts = prompts_for(backend, QUERIES[0])
    step, tokens = backend._network.step, 0

    def counting(inputs, **how):  # type: ignore[no-untyped-def]
        nonlocal tokens
        tokens += inputs["input_ids"].shape[1]
        return step(inputs, **how)

    backend.choice_logprobs(prompts[:1], ["Yes"])  # the trial is behind it
    backend._network.step = counting  # type: ignore[method-assign]
    (prompt,) = prompts_for(backend, "another one that nobody put before")[-1:]
    length = backend.count_tokens([prompt])[0]
    scores = backend.choice_logprobs([prompt], CHOICES)
    assert tokens < length + sum(len(backend._prepare.ids_of(choice)) for choice in CHOICES)
    assert gap(scores.logprobs, single(plain, [prompt])) < EQUAL


# ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen(models: Path) -> Path:
    return saved(models, "qwen2_5_vl")


class Opening:
    """A picture that counts how often it was opened."""

    def __init__(self, image: Image.Image) -> None:
        self.image, self.times = image, 0

    def __call__(self) -> Image.Image:
        self.times += 1
        return self.image


def test_pictures_are_opened_on_a_miss_only(qwen: Path) -> None:
    backend, openings = opened_backend(qwen), [Opening(one) for one in PICTURES]

    def scores_of(query: str) -> ChoiceScores:
        return backend.choice_logprobs([user(LazyPicture(f"{n}", one), query) for n, one in enumerate(openings)], CHOICES)

    scores_of(QUERIES[0])
    assert [one.times for one in openings] == [1, 1, 1]
    scores = scores_of(QUERIES[1])
    assert [one.times for one in openings] == [1, 1, 1]
    expected = opened_backend(qwen, prefix_bytes=0).choice_logprobs([user(one, QUERIES[1]) for one in PICTURES], CHOICES)
    assert gap(scores.logprobs, expected.logprobs) < EQUAL
    assert scores.cost.image_tokens == expected.cost.image_tokens > 0


def test_a_picture_that_does_not_open_costs_its_call_only(qwen: Path) -> None:
    backend = opened_backend(qwen)

    def broken() -> Image.Image:
        raise FormatError("no picture", path="broken.png")

    with pytest.raises(FormatError, match="no picture"):
        backend.choice_logprobs([user(LazyPicture("b", broken), "x")], CHOICES)
    assert backend.choice_logprobs([user(PICTURES[0], QUERIES[0])], CHOICES).cost.calls == 1


def test_another_picture_or_another_caption_is_another_beginning(qwen: Path) -> None:
    backend = opened_backend(qwen)
    backend.choice_logprobs([user(PICTURES[0], PASSAGES[0])], CHOICES)
    for other in (user(PICTURES[1], PASSAGES[0]), user("is", PICTURES[0], PASSAGES[0])):
        scores = backend.choice_logprobs([other], CHOICES)
        assert scores.cost.reused_tokens == 0
        assert gap(scores.logprobs, opened_backend(qwen, prefix_bytes=0).choice_logprobs([other], CHOICES).logprobs) < EQUAL


def test_a_cache_of_another_kind_is_left_alone_and_said_once(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mmrerank.backends._prefix_tensors import obstacle

    class Sliding:
        """What a model with a sliding window keeps."""

    cache = type("Cache", (), {"layers": [Sliding()]})()
    assert "Sliding" in obstacle(cache)
    backend = opened_backend(saved(models, "llava"))
    backend._network.takes_positions = False
    prompts = about(QUERIES[0], pictures=True)
    for _ in range(2):
        scores = backend.choice_logprobs(prompts, CHOICES)
        assert scores.cost.reused_tokens == 0
        assert (
            gap(scores.logprobs, opened_backend(saved(models, "llava"), prefix_bytes=0).choice_logprobs(prompts, CHOICES).logprobs) < EQUAL
        )
    assert sum("takes no positions" in record.message for record in caplog.records) == 1


def test_threads_share_a_store(qwen: Path) -> None:
    backend = opened_backend(qwen, prefix_bytes=200_000)
    plain = opened_backend(qwen, prefix_bytes=0)
    expected = {query: plain.choice_logprobs(about(query, pictures=True), CHOICES).logprobs for query in QUERIES}
    gaps: list[float] = []

    def ask(query: str) -> None:
        for _ in range(3):
            gaps.append(gap(backend.choice_logprobs(about(query, pictures=True), CHOICES).logprobs, expected[query]))

    threads = [threading.Thread(target=ask, args=(query,)) for query in QUERIES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gaps) == 9
    assert max(gaps) < EQUAL
    assert store_of(backend).n_bytes <= 150_000
    assert not +store_of(backend)._pins, "every call has let go of what it used"
    assert torch.is_inference_mode_enabled() is False
