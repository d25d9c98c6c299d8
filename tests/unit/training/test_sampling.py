"""Answers that share the keys and values of their prompt are those that would be drawn without, and as likely as a whole pass says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmrerank.backends import local, mini
from mmrerank.backends._tiny import save_tiny
from mmrerank.training.collate import Rows
from mmrerank.training.network import Student
from mmrerank.training.recipe import Lora, Model
from mmrerank.training.sampling import Draws, draw_answers
from mmrerank.types import Message, Prompt

NO_END = -1


def prompts(pictures: bool) -> list[Prompt]:
    """Two of different lengths, so that one is padded."""
    shown = [(Image.new("RGB", (36, 36), "red"),), (Image.new("RGB", (72, 36), "blue"), Image.new("RGB", (36, 36), "gold"))]
    texts = ("Name the picture.", "Name what you see in the second picture, and say why.")
    return [(Message(role="user", parts=(*(images if pictures else ()), text)),) for images, text in zip(shown, texts, strict=True)]


@pytest.fixture(params=["pictures", "texts", "adapter"])
def student(request: pytest.FixtureRequest, tmp_path: Path) -> Student:
    if request.param == "pictures":
        return Student(mini.tiny(), Model(), seed=0)
    save_tiny(tmp_path / "tiny", "qwen2", seed=0)
    backend = local.build(local.Options(model=str(tmp_path / "tiny"), device="cpu"))
    if request.param == "texts":
        return Student(backend, Model(), seed=0)
    own = Student(backend, Model(lora=Lora(rank=2, alpha=4, modules=("q_proj", "v_proj"))), seed=0)
    with torch.no_grad():
        for weight in own.trained.values():
            weight.normal_(std=0.1)
    return own


def drawn(student: Student, asked: list[Prompt], count: int, **options: Any) -> Draws:
    student.eval()
    torch.manual_seed(3)
    values = {"temperature": 1.5, "max_tokens": 6, "end": NO_END, **options}
    return draw_answers(student.backend.network, student.backend.inputs(asked), count=count, **values)


def asked_of(student: Student) -> list[Prompt]:
    return prompts("image" in student.backend.takes)


def test_the_answers_are_those_of_prompts_that_are_passed_once_an_answer(student: Student) -> None:
    asked = asked_of(student)
    shared = drawn(student, asked, 3)
    alone = drawn(student, [prompt for prompt in asked for _ in range(3)], 1)
    assert shared.tokens == alone.tokens
    assert len(set(shared.tokens)) > 2
    for one, other in zip(shared.logprobs, alone.logprobs, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_their_tokens_are_as_likely_as_a_whole_pass_says(student: Student) -> None:
    asked = asked_of(student)
    shared = drawn(student, asked, 2)
    each = tuple(prompt for prompt in asked for _ in range(2))
    rows = Rows(prompts=each, following=shared.tokens, choices=((),) * 4, groups=(), kind="answers", samples=(_Ungraded(),))  # type: ignore[arg-type]
    with torch.no_grad():
        tensors = student(rows)
    whole = (tensors["token_logits"] / 1.5).log_softmax(-1).gather(-1, tensors["labels"][..., None])[..., 0]
    assert torch.allclose(torch.stack(shared.logprobs), whole, atol=1e-4)


def test_a_prompt_goes_through_once(student: Student) -> None:
    shapes: list[tuple[int, ...]] = []
    embeddings = student.backend.network.get_input_embeddings()
    handle = embeddings.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    drawn(student, asked_of(student), 5, max_tokens=3)
    handle.remove()
    assert shapes[0][0] == 2
    assert shapes[1:] == [(10, 1), (10, 1)]


def test_the_likeliest_answer_is_that_of_generate(student: Student) -> None:
    inputs = student.backend.inputs(asked_of(student))
    student.eval()
    theirs = student.network.generate(**inputs, do_sample=False, max_new_tokens=6, eos_token_id=None, pad_token_id=0)
    assert list(drawn(student, asked_of(student), 1, temperature=0.0).tokens) == [
        tuple(row) for row in theirs[:, inputs["input_ids"].shape[1] :].tolist()
    ]


def test_an_answer_stops_with_its_end(student: Student) -> None:
    whole = drawn(student, asked_of(student), 2)
    end = whole.tokens[0][2]
    cut = drawn(student, asked_of(student), 2, end=end)
    assert cut.tokens[0] == whole.tokens[0][: whole.tokens[0].index(end) + 1]
    assert [len(one) for one in cut.tokens] == [len(one) for one in cut.logprobs]


class _Ungraded:
    """A sample of which nothing but the prompt counts."""

    grades = (0.0,)
    teacher: tuple[float, ...] = ()
