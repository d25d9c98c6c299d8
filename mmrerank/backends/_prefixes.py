"""One choice pass of a local model over many prompts, in which nothing is run over twice that is at hand.

    prompts --symbols--> what is at hand of each --> batches of tails behind known beginnings, batches of whole prompts --> scores

A prompt's beginning is at hand where an earlier one, of this call or of one before, began alike: keys and values of what both share are
taken from the store (`_prefix_store.py`), and the model runs over the rest, pictures that come behind included. Where several prompts of
a call begin alike, one goes first.
What all prompts of a call end with is the query's and not the candidate's, and is not kept. A choice of several tokens goes on from the
keys and values of its prompt.

Scores are those of whole prompts up to the rounding of padded batches. That holds where each layer's cache is transformers' plain
`DynamicLayer`: a trial of a dozen tokens says so before the first use, and a model that fails it runs over whole prompts, with a warning.

Memory: three quarters of the budget are the store's, a quarter is for the keys and values of the batch at work. A prompt that is too long
for that is not kept.

Source: ours, after measurements on eight architectures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mmrerank.backends._budget import TokenBudget
from mmrerank.backends._forward import Network
from mmrerank.backends._inputs import Prepared, Preparer
from mmrerank.backends._packing import packed
from mmrerank.backends._prefix_families import LEAST_REUSED, Leaders, shared_ending
from mmrerank.backends._prefix_store import Beginning, Call, PrefixStore, Reuse, Source, Symbols
from mmrerank.backends._prefix_tensors import (
    HALF_TOLERANCE,
    TOLERANCE,
    CountsPictures,
    PlacesPictures,
    cache_of,
    continued,
    counts,
    lag,
    logprobs_of,
    obstacle,
    picture_tail_inputs,
    places,
    positions,
    states_of,
    tail_inputs,
    token_bytes,
)
from mmrerank.types import Array, Cost, Prompt, opened

logger = logging.getLogger(__name__)
LOGIT_BYTES = 256 << 20  # of a pass in which every token of a choice has a row of the vocabulary
TRIAL = 12  # tokens
ALIKE = 16  # tokens by which beginnings of a batch may differ for the sake of like tails: they cost attention only
LEAST_NEW, LEAST_SHARE = 16, 0.25  # symbols beyond what is at hand that are worth being kept, and their share of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What one prompt came to."""

    logprobs: Array  # (n_choices,)
    cost: Cost


@dataclass(slots=True, kw_only=True)
class Row:
    """One prompt of a call."""

    place: int  # in the call
    prompt: Prompt
    symbols: Symbols = ()  # none where they do not tell the prompt
    head: int = 0  # symbols before the first picture
    floor: int = 0  # symbols up to and with the last one
    extent: int = 0  # tokens; an estimate where there are pictures
    keep: int = 0  # symbols to be kept
    leads: bool = False  # others of the call follow it
    reuse: Reuse | None = None

    @property
    def at_hand(self) -> int:
        """Tokens that are."""
        return self.reuse.length if self.reuse is not None else 0

    @property
    def shows_more(self) -> bool:
        """Whether pictures stand behind what is at hand."""
        return self.reuse is not None and self.reuse.symbols < self.floor

    @property
    def left(self) -> int:
        """Tokens that are not at hand; an estimate where pictures are among them."""
        return max(1, self.extent - self.at_hand) if self.shows_more else len(self.tail)

    @property
    def tail(self) -> Symbols:
        """The tokens behind what is at hand."""
        return self.symbols[self.reuse.symbols :] if self.reuse is not None else self.symbols


@dataclass(slots=True, kw_only=True)
class Work:
    """A batch before the model: whole prompts, or tails behind known beginnings."""

    rows: Sequence[Row]
    inputs: dict[str, Any]  # ids (batch, width), a mask over beginnings and width, and what else belongs to them
    lengths: list[int]  # tokens of each prompt
    image_lengths: list[int]
    tokens: list[list[int]] = field(default_factory=list)  # of each prompt, where it is run over whole
    cache: Any = None
    prefix: int = 0  # columns of the known beginnings
    keeps: bool = False  # whether its keys and values are wanted afterwards

    @property
    def width(self) -> int:
        return int(self.inputs["input_ids"].shape[1])


class ChoicePass:
    """Scores choices behind prompts. Safe in threads: one forward pass at a time."""

    def __init__(
        self,
        network: Network,
        prepare: Preparer,
        *,
        budget: TokenBudget,
        lock: threading.Lock,
        most_bytes: int,
        in_pieces: bool = True,
        source: Callable[[], Source | None] = lambda: None,
    ) -> None:
        """
        Args:
            most_bytes: of memory for keys and values, those of the batch at work included; 0 keeps none.
            in_pieces: False where the model says other things of a prompt in two pieces; no trial is made then.
            source: opens the place where beginnings outlast the process.
        """
        self._network, self._prepare, self._budget, self._lock = network, prepare, budget, lock
        self._vocabulary = int(network.model.config.get_text_config().vocab_size)
        self._work_bytes = most_bytes // 4
        self._most_bytes, self._open_source = most_bytes, source
        # Of keys and values, once the trial has told; 0 where they cannot be used again.
        self._token_bytes: int | None = None if in_pieces else 0
        self.store: PrefixStore | None = None

    def __call__(self, prompts: Sequence[Prompt], choices: Sequence[Sequence[int]], size: int) -> list[Scored]:
        """What each prompt came to, in their order."""
        if self.store is None and self._token_bytes is not None:  # nothing is kept, so nothing is looked for
            rows = [Row(place=n, prompt=prompts[n], extent=extent) for n, extent in enumerate(self._prepare.extents(prompts))]
            whole = self._over_whole(rows, choices, size, None)
            return [whole[n] for n in range(len(prompts))]
        symbols = self._prepare.symbols(prompts)
        rows = [self._row(place, prompt, symbols[place]) for place, prompt in enumerate(prompts)]
        if self._token_bytes is None:
            self._open(rows)
        if self.store is None:
            scores = self._over_whole(rows, choices, size, None)
        else:
            with self.store.call() as call:
                scores = self._in_rounds(rows, choices, size, call)
        return [scores[n] for n in range(len(prompts))]

    # what is at hand --------------------------------------------------

    def _row(self, place: int, prompt: Prompt, symbols: Symbols) -> Row:
        pictures = [n for n, symbol in enumerate(symbols) if symbol < 0]
        head, floor = (pictures[0], pictures[-1] + 1) if pictures else (len(symbols), 0)
        return Row(
            place=place,
            prompt=prompt,
            symbols=symbols,
            head=head,
            floor=floor,
            extent=self._extent(prompt, symbols),
            keep=len(symbols),
        )

    def _extent(self, prompt: Prompt, symbols: Symbols) -> int:
        if not symbols:
            return self._prepare.extent(prompt)
        pictures = self._prepare.picture_extents(prompt)
        return len(symbols) - len(pictures) + sum(pictures)

    def _in_rounds(self, rows: Sequence[Row], choices: Sequence[Sequence[int]], size: int, call: Call) -> dict[int, Scored]:
        """First those that begin as nobody else or lead a family, then those that follow one."""
        ending = shared_ending([row.symbols for row in rows if row.symbols])
        for row in rows:
            row.reuse = self._at_hand(row, call)
        leaders = Leaders([row for row in rows if row.symbols])
        for row in rows:
            row.keep = max(row.keep - ending, row.floor, leaders.lengths.get(row.place, 0))
            row.leads = row.place in leaders.lengths
        followers = [row for row in rows if row.place in leaders.followers]
        scores = self._round([row for row in rows if row.place not in leaders.followers], choices, size, call)
        for row in followers:
            row.reuse = self._at_hand(row, call)
        return scores | self._round(followers, choices, size, call)

    def _at_hand(self, row: Row, call: Call) -> Reuse | None:
        reuse = call.find(row.symbols, row.head if self._places_pictures else 0, row.floor) if row.symbols else None
        if reuse is None:
            return None
        length = row.extent if reuse.symbols < row.floor else reuse.length + len(row.symbols) - reuse.symbols
        return reuse if reuse.length >= LEAST_REUSED * length else None

    def _round(self, rows: Sequence[Row], choices: Sequence[Sequence[int]], size: int, call: Call) -> dict[int, Scored]:
        scores = self._over_tails([row for row in rows if row.reuse is not None], choices, size, call)
        return scores | self._over_whole([row for row in rows if row.reuse is None], choices, size, call)

    # batches ----------------------------------------------------------

    def _over_whole(self, rows: Sequence[Row], choices: Sequence[Sequence[int]], size: int, call: Call | None) -> dict[int, Scored]:
        """Prompts that are run over from their first token."""
        scores: dict[int, Scored] = {}
        for row in rows:
            self._show(row)
        most = min(self._budget.tokens, self._work_tokens) if call is not None else self._budget.tokens

        def run(batch: Sequence[Row]) -> None:
            prepared = self._prepare([row.prompt for row in batch], longer=1 + _further(choices))
            scores.update(self._run(lambda: self._whole(batch, prepared, choices, call), choices, call))

        for batch in whole_batches(rows, self._most(size, choices), most, self._budget.pass_tokens):
            self._within_budget(batch, [row.extent for row in batch], run)
        return scores

    def _whole(self, batch: Sequence[Row], prepared: Prepared, choices: Sequence[Sequence[int]], call: Call | None) -> Work:
        inputs = prepared.on(self._network.device)
        if self._token_bytes and not counts(self._network.model, inputs):
            inputs["position_ids"] = positions(inputs["attention_mask"])
        columns = len(batch) * (inputs["input_ids"].shape[1] + _further(choices))
        return Work(
            rows=batch,
            inputs=inputs,
            lengths=prepared.lengths,
            image_lengths=prepared.image_lengths,
            tokens=_unpadded(prepared.inputs),
            keeps=call is not None and columns <= self._work_tokens,
        )

    def _show(self, row: Row) -> None:
        """Opens the pictures of a prompt, now that the model has to look at them."""
        prompt = opened(row.prompt)
        if prompt is not row.prompt:
            row.prompt, row.extent = prompt, self._extent(prompt, row.symbols)

    def _over_tails(self, rows: Sequence[Row], choices: Sequence[Sequence[int]], size: int, call: Call) -> dict[int, Scored]:
        """What is left of prompts whose beginnings are at hand."""
        scores: dict[int, Scored] = {}
        for row in rows:
            if row.shows_more:
                self._show(row)
            else:
                self._prepare.check_context(len(row.tail) + row.at_hand, 1 + _further(choices))

        def run(batch: Sequence[Row]) -> None:
            if batch[0].shows_more:
                prepared = self._prepare([row.prompt for row in batch], longer=1 + _further(choices))
                scores.update(self._run(lambda: self._picture_tails(batch, prepared), choices, call))
            else:
                scores.update(self._run(lambda: self._tails(batch), choices, call))

        limits = (self._most(size, choices), self._budget.tokens, self._work_tokens, _further(choices), self._budget.pass_tokens)
        for kind in ([row for row in rows if not row.shows_more], [row for row in rows if row.shows_more]):
            for batch in tail_batches(kind, *limits):
                self._within_budget(batch, [row.left for row in batch], run)
        return scores

    def _picture_tails(self, batch: Sequence[Row], prepared: Prepared) -> Work:
        inputs = prepared.on(self._network.device)
        reuses = [row.reuse for row in batch if row.reuse is not None]
        return Work(
            rows=batch,
            inputs=picture_tail_inputs(inputs, places(self._network.model, inputs), prepared.lengths, reuses),
            lengths=prepared.lengths,
            image_lengths=prepared.image_lengths,
            cache=cache_of(reuses, self._network.device),
            prefix=max(reuse.length for reuse in reuses),
            keeps=True,
        )

    def _tails(self, batch: Sequence[Row]) -> Work:
        reuses = [row.reuse for row in batch if row.reuse is not None]
        return Work(
            rows=batch,
            inputs=tail_inputs([row.tail for row in batch], reuses, self._network.device),
            lengths=[reuse.length + len(row.tail) for row, reuse in zip(batch, reuses, strict=True)],
            image_lengths=[reuse.image_tokens for reuse in reuses],
            cache=cache_of(reuses, self._network.device),
            prefix=max(reuse.length for reuse in reuses),
            keeps=True,
        )

    def _within_budget(self, batch: Sequence[Row], extents: Sequence[int], run: Callable[[Sequence[Row]], None]) -> None:
        """Runs a batch; in halves, where memory runs out."""
        self._budget.run(extents, len(batch), lambda members: run([batch[n] for n in members]))

    def _most(self, size: int, choices: Sequence[Sequence[int]]) -> int:
        """Prompts of a batch: fewer where a choice of many tokens has as many rows of a large vocabulary."""
        return max(1, min(size, LOGIT_BYTES // (4 * self._vocabulary * (1 + _further(choices)))))

    @cached_property
    def _places_pictures(self) -> bool:
        """Whether it can be told which positions pictures behind a beginning have."""
        base = self._network.model.base_model
        return isinstance(base, PlacesPictures) or not isinstance(base, CountsPictures)

    @property
    def _work_tokens(self) -> int:
        """Tokens whose keys and values fit into what a batch may take."""
        return self._work_bytes // max(self._token_bytes or 1, 1)

    # the model --------------------------------------------------------

    @torch.inference_mode()
    def _run(self, make: Callable[[], Work], choices: Sequence[Sequence[int]], call: Call | None) -> dict[int, Scored]:
        with self._lock:
            start = time.perf_counter()  # the wait for others is not this model's work
            work = make()
            values = self._scores(work, choices, call)
            seconds = (time.perf_counter() - start) / len(work.rows)
        scores = {}
        for n, row in enumerate(work.rows):
            cost = Cost(
                calls=1,
                prompt_tokens=work.lengths[n],
                image_tokens=work.image_lengths[n],
                reused_tokens=row.at_hand,
                seconds=seconds,
            )
            scores[row.place] = Scored(logprobs=values[n], cost=cost)
        return scores

    def _scores(self, work: Work, choices: Sequence[Sequence[int]], call: Call | None) -> Array:
        """(batch, n_choices): the longest choice runs with the prompts, each further one of several tokens behind them."""
        longest = max(range(len(choices)), key=lambda n: len(choices[n]))
        more = list(choices[longest][:-1])
        others = [n for n, tokens in enumerate(choices) if n != longest and len(tokens) > 1]
        goes_on = bool(self._token_bytes) and bool(others)
        grows = work.keeps or goes_on
        logits, cache = self._network.step(continued(work.inputs, more), last=1 + len(more), cache=work.cache, grows=grows)
        firsts = logits[:, 0] - logits[:, 0].logsumexp(-1, keepdim=True)  # (batch, vocabulary)
        rows = firsts[:, [tokens[0] for tokens in choices]].clone()
        if more:
            rows[:, longest] += logprobs_of(logits[:, 1:], choices[longest][1:]).sum(-1)
        after = self._after(work) if grows else None
        if work.keeps and call is not None and after is not None:
            self._keep(work, cache, after.tolist(), call)
        grown = len(more)
        for n in others:
            if goes_on and after is not None:
                cache.crop(-grown)
                logits, cache = self._network.step(_behind(work, choices[n][:-1], after), last=len(choices[n]) - 1, cache=cache, grows=True)
                grown = len(choices[n]) - 1
            else:
                logits, _ = self._network.step(continued(work.inputs, choices[n][:-1]), last=len(choices[n]) - 1, grows=False)
            rows[:, n] += logprobs_of(logits, choices[n][1:]).sum(-1)
        return np.asarray(rows.cpu().numpy(), dtype=np.float32)

    def _after(self, work: Work) -> torch.Tensor:
        """(batch,) the position that follows each prompt."""
        if "position_ids" in work.inputs:
            last = torch.as_tensor(work.inputs["position_ids"][..., -1] + 1)
            return last if last.ndim == 1 else last.amax(0)
        return torch.tensor(work.lengths, device=self._network.device) + lag(self._network.model).to(self._network.device)

    def _keep(self, work: Work, cache: Any, after: Sequence[int], call: Call) -> None:
        """Keeps the beginning of each prompt that is worth it."""
        for n, row in enumerate(work.rows):
            if not self._is_worth_it(row) or not (row.reuse is not None or _agrees(row, work.tokens[n])):
                continue
            cut = len(row.symbols) - row.keep
            length = work.lengths[n] - cut

            def make(n: int = n, row: Row = row, cut: int = cut, length: int = length) -> Beginning:
                return Beginning(
                    symbols=row.symbols[: row.keep],
                    head=min(row.head, row.keep),
                    floor=row.floor,
                    length=length,
                    image_tokens=work.image_lengths[n],
                    position=after[n] - cut,
                    states=states_of(cache, n, _columns(work, n, length)),
                )

            call.put(row.symbols[: row.keep], length * (self._token_bytes or 0), make)

    def _is_worth_it(self, row: Row) -> bool:
        new = row.keep - (row.reuse.symbols if row.reuse is not None else 0)
        return row.leads or (bool(row.symbols) and new >= min(LEAST_NEW, row.keep) and new >= LEAST_SHARE * row.keep)

    # the trial --------------------------------------------------------

    def _open(self, rows: Sequence[Row]) -> None:
        """Tries the model, and opens the store where it can be used; does nothing while no prompt is long enough."""
        tokens = next((tokens for row in rows if len(tokens := [s for s in row.symbols if s >= 0][:TRIAL]) == TRIAL), None)
        if tokens is None:
            return
        with self._lock:
            if self._token_bytes is not None:
                return
            size, why = self._trial(tokens)
            if not why and self._most_bytes:
                self.store = PrefixStore(self._most_bytes - self._work_bytes, self._open_source())
            self._token_bytes = size
        if why:
            logger.warning("keys and values are not used again, since %s: each prompt is run over whole", why)

    @torch.inference_mode()
    def _trial(self, tokens: Sequence[int]) -> tuple[int, str]:
        """What a token's keys and values take; and why they cannot be used again, "" where a prompt in two pieces scores as the whole."""
        if not self._network.takes_positions:
            return 0, "the model takes no positions"
        half = TRIAL // 2
        mask = torch.ones(1, TRIAL, dtype=torch.long, device=self._network.device)
        whole = {
            "input_ids": torch.tensor([list(tokens)], device=self._network.device),
            "attention_mask": mask,
            "position_ids": positions(mask),
        }
        try:
            logits, cache = self._network.step(whole, last=1, grows=True)
            if why := obstacle(cache):
                return 0, why
            size = token_bytes(cache)
            states = states_of(cache, 0, [slice(0, half)])
            beginning = Beginning(
                symbols=tuple(tokens[:half]), head=half, floor=0, length=half, image_tokens=0, position=half, states=states
            )
            reuse = Reuse(beginning=beginning, symbols=half)
            rest = tail_inputs([tokens[half:]], [reuse], self._network.device)
            again, _ = self._network.step(rest, last=1, cache=cache_of([reuse], self._network.device), grows=True)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:  # whatever another cache makes of it
            return 0, f"a trial failed: {' '.join(str(error).split())[:200]}"
        gap = float((logits.log_softmax(-1) - again.log_softmax(-1)).abs().max())
        tolerance = TOLERANCE if states.dtype == torch.float32 else HALF_TOLERANCE
        return (size, "") if gap <= tolerance else (0, f"a prompt in two pieces scores {gap:.2g} beside the whole one")


def whole_batches(rows: Sequence[Row], size: int, most: int, pass_tokens: int) -> list[list[Row]]:
    """Prompts in batches of like length: at most `size` of them and `most` tokens, or one that is longer."""
    order = sorted(rows, key=lambda row: row.extent)

    def fits(count: int, width: int, beginning: int) -> bool:
        return count <= size and count * width <= most

    return [[order[n] for n in run] for run in packed([row.extent for row in order], fits, pass_tokens=pass_tokens)]


def tail_batches(rows: Sequence[Row], size: int, most: int, most_cached: int, further: int, pass_tokens: int) -> list[list[Row]]:
    """Prompts whose beginnings are at hand, in batches of like beginnings, and of like tails where those are equal.

    Args:
        size: prompts of a batch.
        most: tokens of a batch that the model runs over, padding included.
        most_cached: tokens of a batch whose keys and values are in memory: beginnings, tails, and `further` ones of a choice.
    """
    order = sorted(rows, key=lambda row: (row.at_hand // ALIKE, row.left, row.at_hand, row.place))

    def fits(count: int, width: int, beginning: int) -> bool:
        return count <= size and count * width <= most and count * (beginning + width + further) <= most_cached

    widths, beginnings = [row.left for row in order], [row.at_hand for row in order]
    return [[order[n] for n in run] for run in packed(widths, fits, pass_tokens=pass_tokens, beginnings=beginnings)]


def _further(choices: Sequence[Sequence[int]]) -> int:
    """Tokens that the longest choice adds behind a prompt."""
    return max(map(len, choices), default=1) - 1


def _unpadded(inputs: dict[str, Any]) -> list[list[int]]:
    pairs = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
    return [[token for token, there in zip(ids, mask, strict=True) if there] for ids, mask in pairs]


def _agrees(row: Row, tokens: list[int]) -> bool:
    """Whether the symbols before and behind the pictures are the very tokens that the model sees there."""
    if not row.floor:
        return list(row.symbols) == tokens
    before, behind = list(row.symbols[: row.head]), list(row.symbols[row.floor :])
    return before == tokens[: len(before)] and behind == tokens[len(tokens) - len(behind) :]


def _columns(work: Work, n: int, length: int) -> list[slice]:
    """Where the first `length` tokens of a prompt stand in a batch's cache."""
    at_hand = work.rows[n].at_hand
    start = work.prefix + work.width - (work.lengths[n] - at_hand)
    beginning = [slice(work.prefix - at_hand, work.prefix)] if at_hand else []
    return [*beginning, slice(start, start + length - at_hand)]


def _behind(work: Work, tokens: Sequence[int], after: torch.Tensor) -> dict[str, Any]:
    """Tokens of a choice behind the batch's prompts, whose keys and values are in the cache."""
    ids = torch.tensor(list(tokens), device=after.device).expand(len(work.rows), -1)
    mask = work.inputs["attention_mask"]
    places = after[:, None] + torch.arange(len(tokens), device=after.device)
    return {"input_ids": ids, "attention_mask": torch.cat([mask, torch.ones_like(ids)], dim=1), "position_ids": places}
