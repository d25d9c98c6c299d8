"""Reinforcement by GRPO: several answers to each prompt, and those that earned more than their neighbours become likelier.

    prompts --draw_answers--> answers --rewards--> advantages within a prompt --> clipped ratio, divergence from the start --> weights

Prompts are what the reranker sends, as the backend reads them (`collate.request_of`, `inputs`); rewards stand in `rewards`, by name, and
their plain sum counts. Step n sees the same queries and draws the same answers whatever happened before it: chance is made anew from seed
and step, so that a run that was killed goes on from its last checkpoint as if it had not been.

Why no trainer of a library: trl's GRPOTrainer (1.16) was tried on the shipped prompts and writes them with the chat template itself. A
candidate that says `<|im_end|>` ends the user's turn there, one that says `<|image_pad|>` stops the training, and pictures that
`qwen_vl_utils` brings to size differ by a level or two, where all three are read here as at inference; a test shows the first.

Source: DeepSeekMath (arXiv 2402.03300); MM-R5, whose values are the defaults: 4 answers, 2 updates, clip .2, KL .04, temperature 1,
advantages over the group's deviation + 1e-4, the mean over an answer's tokens and then over answers.
Cost per step: a pass over each prompt, whose keys and values its answers share, groups x prompts x answers generations behind it, and
`updates` (with a divergence + 1) passes over prompts and answers. What an answer's tokens were likely when it was drawn is known from then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, get_scheduler

from mmrerank.errors import InputError, UnknownName
from mmrerank.protocols import Backend
from mmrerank.training.collate import Rows, Sample, request_of
from mmrerank.training.losses import IGNORED
from mmrerank.training.network import Student
from mmrerank.training.recipe import Stage
from mmrerank.training.rewards import Answered, Reward, named_reward
from mmrerank.training.sampling import Draws, draw_answers
from mmrerank.training.trainee import Trainee
from mmrerank.types import Prompt

START, STATE = "start.safetensors", "state.pt"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe sets in a stage's `options`."""

    answers: Annotated[int, Field(ge=2)] = 4  # to each prompt
    updates: Annotated[int, Field(ge=1)] = 2  # of the weights by one batch of answers
    clip: Annotated[float, Field(gt=0)] = 0.2
    kl_weight: Annotated[float, Field(ge=0)] = 0.04  # of the divergence from the weights at the stage's start
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 192  # of an answer
    rows: Annotated[int, Field(ge=1)] = 16  # answers in one pass


def options_of(stage: Stage) -> Options:
    """The options of a stage, checked before a model is loaded.

    Raises:
        UnknownName: an option that there is none of.
        InputError: a value of another kind, or what only supervised stages have.
    """
    for name in stage.options:
        if name not in Options.__dataclass_fields__:
            raise UnknownName.among("option of reinforcement", name, Options.__dataclass_fields__)
    if stage.accumulate > 1 or stage.checkpointing:
        hint = "Set rows in options: so many answers go through in one pass, and the weights move after all of them."
        raise InputError("reinforcement has neither accumulate nor checkpointing", hint=hint)
    try:
        return TypeAdapter(Options).validate_python(dict(stage.options))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"options of reinforcement, {first['loc'][0]}: {first['msg']}; got {first['input']!r:.60}") from error


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One prompt of a query, with the grades of the candidates that it shows."""

    query_id: str
    number: int  # among the query's prompts
    prompt: Prompt
    grades: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The answers of one step, as many to each prompt one after the other."""

    rows: tuple[Rows, ...]  # so many as go through in one pass
    logprobs: tuple[Tensor, ...]  # of each answer (n_tokens,), when it was drawn
    advantages: Tensor  # (n_answers,)
    values: dict[str, float]  # what is logged


class Reinforcement:
    """One stage: network, optimiser and what the network was at the start."""

    def __init__(
        self,
        stage: Stage,
        student: Student,
        folder: Path,
        *,
        seed: int,
        rewards: Mapping[str, Reward] | None = None,
    ) -> None:
        """Goes on from the checkpoint in the folder where there is one.

        Args:
            rewards: in place of those that the stage names.

        Raises:
            UnknownName: no reward or option has the name.
            InputError: an option is of another kind, or the stage has what only supervised ones have.
        """
        self.stage, self.student, self._folder, self._seed = stage, student, folder, seed
        processor = student.backend.processor
        self._tokenizer = processor if isinstance(processor, PreTrainedTokenizerBase) else processor.tokenizer
        self.options = options_of(stage)
        self.rewards = rewards or {name: named_reward(name) for name in stage.rewards}
        weights = list(student.trained.values())
        self.optimizer = torch.optim.AdamW(weights, lr=stage.learning_rate, weight_decay=stage.weight_decay)
        moves = stage.steps * self.options.updates
        self.schedule = get_scheduler(stage.schedule, self.optimizer, round(stage.warmup * moves), moves)
        self.step = 0
        self._start = self._resumed()

    def advance(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One step: answers to the prompts about these samples, and the updates that they give; returns what is logged."""
        batch = self._batch([one for sample in samples for one in askings(sample, self.stage.reranker, self.student.backend)], samples)
        old = self._then(batch)
        before = old
        if self.options.kl_weight:
            with torch.no_grad(), self._as_at_the_start():
                before = [self._logprobs(rows)[0] for rows in batch.rows]
        values = dict(batch.values)
        for _ in range(self.options.updates):
            values |= self._update(batch, old, before)
        self.step += 1
        return values

    def save(self) -> None:
        """Writes a checkpoint in the place of the last one; a kill at any point leaves one or the other whole."""
        state = {"step": self.step, "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        state["weights"] = {name: weight.detach() for name, weight in self.student.trained.items()}
        torch.save(state, self._folder / f"{STATE}.part")
        os.replace(self._folder / f"{STATE}.part", self._folder / STATE)

    # ------------------------------------------------------------------

    def _resumed(self) -> dict[str, Tensor]:
        """The weights that the stage began with; what was trained since is put in place."""
        self._folder.mkdir(parents=True, exist_ok=True)
        own = self.student.trained
        if not (self._folder / START).is_file():
            save_file({name: weight.detach().contiguous().cpu() for name, weight in own.items()}, self._folder / f"{START}.part")
            os.replace(self._folder / f"{START}.part", self._folder / START)
        if (self._folder / STATE).is_file():
            device = next(iter(own.values())).device
            state = torch.load(self._folder / STATE, map_location=device, weights_only=True)
            self.step = state["step"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            _put(own, state["weights"])
        return {name: value.to(own[name]) for name, value in load_file(self._folder / START).items()}

    @contextmanager
    def _as_at_the_start(self) -> Iterator[None]:
        """While this is open, the network is what it was when the stage began."""
        own = self.student.trained
        now = {name: weight.detach().clone() for name, weight in own.items()}
        _put(own, self._start)
        try:
            yield
        finally:
            _put(own, now)

    def _batch(self, prompts: Sequence[Asking], samples: Sequence[Sample]) -> Batch:
        count = self.options.answers
        draws = self._draws([one.prompt for one in prompts], count, self.options.temperature)
        answers = draws.tokens
        references = [""] * len(prompts)
        if any(reward.asks_reference for reward in self.rewards.values()):
            with self._as_at_the_start():
                references = [self._text(tokens) for tokens in self._draws([one.prompt for one in prompts], 1, 0.0).tokens]
        answered = [
            Answered(query_id=one.query_id, prompt=one.number, text=self._text(tokens), grades=one.grades, reference=reference)
            for n, (one, reference) in enumerate(zip(prompts, references, strict=True))
            for tokens in answers[n * count : (n + 1) * count]
        ]
        columns = {name: torch.tensor(reward.function(answered)) for name, reward in self.rewards.items()}
        total = torch.stack(list(columns.values())).sum(0)
        means = {name: float(column.mean()) for name, column in columns.items()}
        even = total.view(-1, count).std(1) == 0
        values = {"reward": float(total.mean()), **means, "even": float(even.float().mean())}
        values["tokens"] = sum(map(len, answers)) / len(answers)
        rows = self._rows(prompts, answers, tuple(samples))
        return Batch(rows=rows, logprobs=draws.logprobs, advantages=advantages(total, count), values=values)

    def _then(self, batch: Batch) -> list[Tensor]:
        """Of each pass (n_answers, length) the log-probabilities of the answers' tokens when they were drawn."""
        left = iter(batch.logprobs)
        return [pad_sequence([next(left) for _ in rows.following], batch_first=True) for rows in batch.rows]

    def _rows(self, prompts: Sequence[Asking], answers: Sequence[tuple[int, ...]], samples: tuple[Sample, ...]) -> tuple[Rows, ...]:
        """The answers behind their prompts, so many in one pass."""
        count, most = self.options.answers, self.options.rows
        each = [prompts[n // count].prompt for n in range(len(answers))]
        pieces = [slice(start, min(start + most, len(answers))) for start in range(0, len(answers), most)]
        return tuple(
            Rows(
                prompts=tuple(each[piece]),
                following=tuple(answers[piece]),
                choices=((),) * (piece.stop - piece.start),
                groups=(),
                kind="answers",
                samples=samples,
            )
            for piece in pieces
        )

    def _draws(self, prompts: Sequence[Prompt], count: int, temperature: float) -> Draws:
        """So many answers to each prompt, by the chance of this step."""
        network = self.student.backend.network
        inputs = self.student.backend.inputs(prompts)
        network.eval()
        with torch.random.fork_rng(devices=[network.device] if network.device.type == "cuda" else []), self._precision():
            torch.manual_seed((self._seed << 20) + self.step)
            end = self._tokenizer.eos_token_id
            return draw_answers(network, inputs, count=count, temperature=temperature, max_tokens=self.options.max_tokens, end=end)

    def _precision(self) -> Any:
        """While this is open, passes have the stage's precision."""
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        device = self.student.network.device.type
        return torch.autocast(device, kinds.get(self.stage.precision), enabled=self.stage.precision in kinds)

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _logprobs(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """(n_answers, length) log-probabilities of the answers' tokens, and which are any."""
        with self._precision():
            tensors = self.student(rows)
        labels = tensors["labels"]
        logprobs = (tensors["token_logits"] / self.options.temperature).log_softmax(-1)
        return logprobs.gather(-1, labels.clamp_min(0)[..., None])[..., 0], labels != IGNORED

    def _update(self, batch: Batch, old: Sequence[Tensor], before: Sequence[Tensor]) -> dict[str, float]:
        self.student.eval()  # no dropout: old and new probabilities are of the same network
        count, start, divergence = len(batch.advantages), 0, 0.0
        for rows, then, origin in zip(batch.rows, old, before, strict=True):
            own, among = self._logprobs(rows)
            part = batch.advantages[start : start + len(own)].to(own.device)
            loss, apart = clipped(own, then, origin, part, among, clip=self.options.clip, kl_weight=self.options.kl_weight)
            torch.autograd.backward(loss * len(own) / count)
            start, divergence = start + len(own), divergence + float(apart) * len(own) / count
        norm = torch.nn.utils.clip_grad_norm_(list(self.student.trained.values()), self.stage.gradient_norm)
        rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"kl": divergence, "grad_norm": float(norm), "learning_rate": rate}


def reinforce_stage(
    stage: Stage,
    student: Trainee,
    samples: Sequence[Sample],
    folder: Path,
    *,
    seed: int,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
    advance: Callable[[int, int], None] = lambda done, steps: None,
    rewards: Mapping[str, Reward] | None = None,
) -> None:
    """Trains the student in place, as `train_stage` does; goes on from the checkpoint in the folder where there is one.

    Raises:
        InputError: the student is no language model; or as of `Reinforcement`.
    """
    if not isinstance(student, Student):
        raise InputError(f"reinforcement needs a model that writes, and {student.origin} is a network of its own")
    work = Reinforcement(stage, student, folder, seed=seed, rewards=rewards)
    while work.step < stage.steps:
        start = work.step * stage.groups
        values = work.advance([samples[n] for n in range(start, start + stage.groups)])
        tell({"step": work.step, "steps": stage.steps, **values})
        if work.step % stage.save_every == 0 or work.step == stage.steps:
            work.save()
        advance(work.step, stage.steps)


def askings(sample: Sample, reranker: str, backend: Backend) -> list[Asking]:
    """The prompts that a reranker sends about a sample: one that shows all candidates, or one a candidate.

    Raises:
        InputError: it compares states, which are no answers; or as in `request_of`.
    """
    heard = request_of(reranker, sample.query, sample.candidates, backend)
    if heard.kind == "states":
        raise InputError(f"{reranker!r} has its model write nothing that could be rewarded")
    whole = len(heard.prompts) == 1 and len(sample.grades) > 1
    grades = [sample.grades] if whole else [(grade,) for grade in sample.grades]
    return [
        Asking(query_id=sample.query.query_id, number=n, prompt=prompt, grades=tuple(grades[n])) for n, prompt in enumerate(heard.prompts)
    ]


def advantages(rewards: Tensor, count: int) -> Tensor:
    """(n_answers,) how much better each is than the others to its prompt, in their deviation; 0 where all are equal.

    >>> advantages(torch.tensor([1.0, 0.0, 2.0, 2.0]), 2)
    tensor([ 0.7070, -0.7070,  0.0000,  0.0000])
    """
    groups = rewards.view(-1, count)
    return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()


def clipped(
    own: Tensor, old: Tensor, origin: Tensor, gains: Tensor, among: Tensor, *, clip: float, kl_weight: float
) -> tuple[Tensor, Tensor]:
    """The loss, and the divergence from the start in it, both the mean over each answer's tokens and then over answers.

    Args:
        own: (n_answers, length) log-probabilities now; old: when the answers were drawn; origin: at the start.
        gains: (n_answers,) advantages.
        among: (n_answers, length) which are tokens of the answer.
    """
    ratio, far = (own - old).exp(), origin - own
    gain = torch.minimum(ratio * gains[:, None], ratio.clamp(1 - clip, 1 + clip) * gains[:, None])
    divergence = far.exp() - far - 1
    lengths = among.sum(1).clamp_min(1)
    losses = ((kl_weight * divergence - gain) * among).sum(1) / lengths
    return losses.mean(), ((divergence.detach() * among).sum(1) / lengths).mean()


def _put(own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(values[name])
