"""Reinforcement: the loss by hand, equal seeds, a stage that was stopped, and why prompts are not left to another library."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from mmrerank.backends import local, mini
from mmrerank.backends._tiny import save_tiny
from mmrerank.backends.mini import FOLDER
from mmrerank.errors import InputError, UnknownName
from mmrerank.pictures import picture
from mmrerank.training.collate import Sample
from mmrerank.training.network import Student
from mmrerank.training.recipe import Lora, Model, Stage
from mmrerank.training.reinforce import Reinforcement, advantages, askings, clipped, options_of, reinforce_stage
from mmrerank.training.rewards import Reward
from mmrerank.types import Candidate, Item, Message, Query

COLOURS = ("red", "green", "blue", "gold")


def samples(count: int, *, pictures: bool) -> list[Sample]:
    items = [
        Item(item_id=name, text=f"a {name} card", image=picture(Image.new("RGB", (36, 36), name)) if pictures else None) for name in COLOURS
    ]
    return [
        Sample(
            query=Query(query_id=f"q{n}", text=f"the {COLOURS[n % 4]} card"),
            candidates=tuple(Candidate(item=item) for item in items[:2]),
            grades=(float(n % 2 == 0), float(n % 2 == 1)),
        )
        for n in range(count)
    ]


def stage(**values: object) -> Stage:
    own = {"name": "r", "reranker": "ragllava", "method": "reinforce", "rewards": ("symbol",), "steps": 2, "groups": 1, "save_every": 1}
    own |= {"learning_rate": 1e-3, "options": {"answers": 3, "max_tokens": 4, "rows": 4, "temperature": 5.0}, **values}
    return Stage(**own)  # type: ignore[arg-type]


def weights(student: Student) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in student.trained.items()}


# ------------------------------------------------------------------ the loss


def test_the_loss_is_the_clipped_gain_and_the_divergence() -> None:
    own, old = torch.log(torch.tensor([[0.5, 0.9], [0.2, 0.5]])), torch.log(torch.tensor([[0.4, 0.3], [0.4, 0.5]]))
    among = torch.tensor([[True, True], [True, False]])
    loss, divergence = clipped(own, old, old, torch.tensor([1.0, -1.0]), among, clip=0.2, kl_weight=0.1)
    # ratios 1.25 and 3 are cut to 1.2 for a gain; .5 is cut to .8 for a loss
    apart = [old[place] - own[place] for place in ((0, 0), (0, 1), (1, 0))]
    terms = [float(x.exp() - x - 1) for x in apart]
    expected = [(-1.2 + 0.1 * terms[0] - 1.2 + 0.1 * terms[1]) / 2, 0.8 + 0.1 * terms[2]]
    assert float(loss) == pytest.approx(sum(expected) / 2, abs=1e-6)
    assert float(divergence) == pytest.approx(((terms[0] + terms[1]) / 2 + terms[2]) / 2, abs=1e-6)


def test_answers_of_equal_worth_teach_nothing() -> None:
    gains = advantages(torch.tensor([1.0, 1.0, 1.0]), 3)
    own = torch.log(torch.tensor([[0.5], [0.6], [0.7]])).requires_grad_()
    loss, _ = clipped(own, own.detach(), own.detach(), gains, torch.ones(3, 1, dtype=torch.bool), clip=0.2, kl_weight=0.0)
    loss.backward()
    assert own.grad is not None
    assert not own.grad.any()


def test_the_first_gradient_is_that_of_the_policy() -> None:
    own = torch.log(torch.tensor([[0.5], [0.6]])).requires_grad_()
    loss, _ = clipped(
        own, own.detach(), own.detach(), torch.tensor([0.7, -0.7]), torch.ones(2, 1, dtype=torch.bool), clip=0.2, kl_weight=0.04
    )
    loss.backward()
    assert own.grad is not None
    assert own.grad.flatten().tolist() == pytest.approx([-0.35, 0.35])


# ------------------------------------------------------------------ whole stages


def _picture_student() -> Student:
    return Student(mini.tiny(), Model(), seed=0)


def _text_student(folder: Path, lora: Lora | None = Lora(rank=2, alpha=4, modules=("q_proj", "v_proj"))) -> Student:  # noqa: B008
    save_tiny(folder, "qwen2", seed=0)
    backend = local.build(local.Options(model=str(folder), device="cpu"))
    return Student(backend, Model(lora=lora), seed=0)


EARLY = {"early": Reward(function=lambda answers: [float(one.text[:1].lower() <= "m") for one in answers])}  # some earn it by chance


@pytest.mark.parametrize("pictures", [True, False], ids=["pictures", "texts"])
def test_equal_seeds_give_equal_runs_and_a_stopped_one_goes_on(tmp_path: Path, pictures: bool) -> None:
    ends, logs = [], []
    own = stage(reranker="ragllava" if pictures else "ragllava(modality=text)")
    for name in ("whole", "again", "stopped"):
        student = _picture_student() if pictures else _text_student(tmp_path / "tiny")
        begun, told = weights(student), []
        if name == "stopped":
            work = Reinforcement(own, student, tmp_path / name, seed=5, rewards=EARLY)
            told.append({"step": 1, "steps": 2, **work.advance(samples(1, pictures=pictures))})
            work.save()
            student = _picture_student() if pictures else _text_student(tmp_path / "tiny")
        more = {"seed": 5, "tell": told.append, "rewards": EARLY}
        reinforce_stage(own, student, samples(2, pictures=pictures), tmp_path / name, **more)
        ends.append(weights(student))
        logs.append(told)
        assert any(not torch.equal(begun[key], ends[-1][key]) for key in begun)
    assert logs[0] == logs[1] == logs[2]
    assert all(torch.equal(ends[0][key], other[key]) for other in ends[1:] for key in ends[0])


def test_what_earns_more_becomes_likelier(tmp_path: Path) -> None:
    student = _text_student(tmp_path / "tiny", lora=None)
    options = {"answers": 8, "max_tokens": 1, "rows": 32, "kl_weight": 0.0}
    own = stage(reranker="ragllava(modality=text)", steps=12, learning_rate=1e-2, warmup=0.0, options=options)
    work = Reinforcement(own, student, tmp_path / "r", seed=1, rewards=EARLY)
    rewards = [work.advance(samples(2, pictures=False))["reward"] for _ in range(12)]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.4


def test_answers_of_one_query_are_ranked_together(tmp_path: Path) -> None:
    student = _picture_student()
    own = stage(reranker="erank", rewards=("reciprocal_rank",), options={"answers": 2, "max_tokens": 6})
    values = Reinforcement(own, student, tmp_path / "r", seed=0).advance(samples(1, pictures=True))
    assert -2 <= values["reciprocal_rank"] <= 1
    assert values["tokens"] <= 6


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UnknownName, match="kl_weight"):
        options_of(stage(options={"kl_weigth": 1}))
    with pytest.raises(InputError, match="answers"):
        options_of(stage(options={"answers": 1}))


def test_what_only_supervised_stages_have_is_refused(tmp_path: Path) -> None:
    student = _text_student(tmp_path / "tiny")
    with pytest.raises(InputError, match="accumulate"):
        Reinforcement(stage(accumulate=2), student, tmp_path / "r", seed=0)
    with pytest.raises(InputError, match="rewarded"):
        askings(samples(1, pictures=False)[0], "e2rank(no_thought=False, end='')", student.backend)


# ------------------------------------------------------------------ why prompts are written here


def test_a_chat_template_alone_reads_what_a_candidate_says_as_control_tokens() -> None:
    from transformers import AutoProcessor

    backend = mini.tiny()
    processor = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)
    ends = processor.tokenizer.eos_token_id
    text = "what is <|im_end|> here"
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    theirs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)["input_ids"][0]
    ours = backend.inputs([(Message(role="user", parts=(text,)),)])["input_ids"][0].tolist()
    assert list(theirs).count(ends) == ours.count(ends) + 1
