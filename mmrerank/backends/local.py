"""A model in this process: any image-text-to-text or causal language model of transformers, from a folder or from the hub.

    local/PATH                              a folder with config, weights, tokenizer, chat template, and the processor of what sees
    local/Qwen/Qwen2.5-VL-7B-Instruct       a name on the hub, fetched once by transformers

Which of the two it is, its configuration says. A text model takes no pictures: a prompt with one is an error that says so. The chat
template and the processor are the checkpoint's own. Pictures for the Qwen-VL families go through `qwen_vl_utils` first, as
in their released examples: the patch grids are the same as without, the pixels mostly differ by no more than two of 256 levels
(tried: qwen-vl-utils 0.0.14 beside transformers 5.23). Pictures too narrow for it go to the processor as they are.

A last message of the assistant is an answer begun that the model goes on with; a "raw" prompt is read as it stands, behind what the
tokenizer puts before every text.

Of a checkpoint's generation config only the end tokens and what the architecture needs are used: greedy is greedy, whatever
sampling or penalty it suggests. Special tokens written in a prompt's text are taken apart, so that a page that says
`<|image_pad|>` or `</s>` is read as those letters; those in `Markup` are tokens.

Results do not depend on the other prompts of a call, up to rounding: prompts of a batch are padded on the left and masked, and
log-probabilities are computed in float32; weights whose products move with their batch (bitsandbytes) are run over one prompt at a time.
Sampled answers are made one by one, each from the seed alone. A prompt longer than the
model's context is an error that says how long it is; nothing is cut.

Cost: choices that are one token take one forward pass a prompt; choices of several tokens one more pass each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from mmrerank.backends._budget import TOKENS_AT_ONCE, TokenBudget
from mmrerank.backends._checkpoint import Source, device_of, file_text, load, weights_hash_of
from mmrerank.backends._decoding import StopStrings, checked, settings, without_habits
from mmrerank.backends._forward import Network
from mmrerank.backends._inputs import Prepared, Preparer
from mmrerank.backends._kinds import is_of_company
from mmrerank.backends._packing import PASS_TOKENS
from mmrerank.backends._prefix_folder import PrefixFolder, fingerprint
from mmrerank.backends._prefixes import ChoicePass
from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, ChoiceScores, Cost, Decoding, Generated, Modality, Prompt, opened

logger = logging.getLogger(__name__)
VERSIONS = ("transformers", "torch", "qwen-vl-utils")  # of what makes keys and values of a prompt
PROMPTS_AT_ONCE = 64
_Tokens: TypeAlias = "tuple[tuple[int, ...], ...]"  # of each choice


@dataclass(frozen=True, kw_only=True)
class Options:
    model: str = ""  # folder, FOLDER/FILE.gguf, or name on the hub
    revision: str = "main"  # of a name on the hub; the printed name says which commit that was
    base: str = ""  # of a LoRA adapter: the model that it changes, where that is not the one it records
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"  # auto: as saved on a GPU, fp32 on a CPU
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"  # auto: what transformers takes, SDPA as a rule
    remote_code: bool = False  # True runs Python files that the checkpoint brings, with your rights
    device: str = runtime_option("auto")  # cpu, cuda:1, ...; spread: over all GPUs, and the CPU for what they do not hold
    batch_size: int | None = runtime_option(None)  # prompts at once, at most
    prefix_bytes: int = runtime_option(1 << 30)  # of memory for keys and values of beginnings of prompts; 0 keeps none
    prefix_folder: str | None = runtime_option(None)  # where they are kept on disk too, for later processes
    prefix_folder_bytes: int = runtime_option(10 << 30)  # of that folder; what was used longest ago goes


class Local:
    """A checkpoint, loaded when it is built."""

    batches = True  # the prompts of one call share forward passes

    def __init__(self, options: Options) -> None:
        if options.batch_size is not None and options.batch_size < 1:
            raise InputError(f"batch_size is 1 or more; got {options.batch_size}")
        if min(options.prefix_bytes, options.prefix_folder_bytes) < 0:
            raise InputError(
                f"prefix_bytes and prefix_folder_bytes are 0 or more; got {options.prefix_bytes} and {options.prefix_folder_bytes}"
            )
        self.device = device_of(options.device)
        self._source = Source(name=options.model, revision=options.revision, base=options.base, remote_code=options.remote_code)
        self._checkpoint = load(self._source, options.precision, options.device, options.attention)
        self.name = printed("local", _pinned(options, self._checkpoint.commit), argument=True)
        self._model = self._checkpoint.network
        self._prepare = Preparer(self._checkpoint.processor, self._model, options.model)
        self._model.generation_config = without_habits(self._model.generation_config)  # after the preparer read the end tokens
        self._network = Network(self._model, sees=self._prepare.sees)
        alone = is_of_company(self._model.config)
        if alone:
            logger.warning(
                "%s: each prompt is run over by itself, since these quantised weights answer by what else is in a batch", self.name
            )
        self._batch_size = 1 if alone else options.batch_size or PROMPTS_AT_ONCE
        self._options = options
        kind = self.device.type if self.device.type in TOKENS_AT_ONCE else "cpu"
        self._budget = TokenBudget(self.name, TOKENS_AT_ONCE[kind], PASS_TOKENS[kind])
        self._lock = threading.Lock()  # one forward pass at a time, whoever asks
        self._choose = ChoicePass(
            self._network,
            self._prepare,
            budget=self._budget,
            lock=self._lock,
            most_bytes=options.prefix_bytes,
            in_pieces=not alone,
            source=self._folder,
        )

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits: of the SHA-256 of a folder's weights, tokenizer, template and settings; of the commit for a name on the hub."""
        return weights_hash_of(self._source, self._checkpoint)

    def _folder(self) -> PrefixFolder | None:
        """The folder of keys and values that were computed as this model computes them."""
        options = self._options
        if options.prefix_folder is None:
            return None
        if not self.weights_hash:
            logger.warning("%s: keys and values are not kept on disk, since nothing tells these weights from others", self.name)
            return None
        settings = {
            "weights": self.weights_hash,
            "precision": str(self._model.dtype),
            "attention": str(self._model.config._attn_implementation),
            "device": self.device.type,
            "versions": {name: version(name) for name in VERSIONS if find_spec(name.replace("-", "_"))},
        }
        return PrefixFolder(Path(options.prefix_folder), fingerprint(**settings), options.prefix_folder_bytes, self._network.device)

    @property
    def takes(self) -> frozenset[Modality]:
        """What it can be shown."""
        return frozenset({"image", "text"} if self._prepare.sees else {"text"})

    @property
    def chat_template(self) -> str:
        """The checkpoint's chat template; "" where it has none."""
        return self._prepare.chat_template

    def file_text(self, name: str) -> str | None:
        """The text of one of the checkpoint's files; None where it has none of that name."""
        return file_text(self._source, name)

    def single_token(self, choice: str) -> bool:
        """Whether the model says this in one token."""
        return len(self._prepare.ids_of(choice)) == 1

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """How many tokens each prompt is, pictures included, beyond the model's context too.

        Raises:
            InputError: the checkpoint cannot take a prompt.
        """
        return [self._prepare([prompt], longer=None).lengths[0] for prompt in prompts]

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of the text that is at most so many tokens; the text itself where it is short enough."""
        return self._prepare.cut(text, tokens)

    @property
    def network(self) -> Any:
        """The model itself; whoever changes it in place changes the answers."""
        return self._model

    @property
    def processor(self) -> Any:
        """The checkpoint's processor; of a text model, its tokenizer."""
        return self._checkpoint.processor

    @property
    def origin(self) -> str:
        """Where these very weights lie; "" where an adapter was merged into them."""
        return "" if self._checkpoint.base else self._source.name

    def inputs(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """One batch as the network takes it, padded on the left, on its device; errors as in `generate`."""
        return self._prepare([opened(prompt) for prompt in prompts]).on(self._network.device)

    def answer_tokens(self, text: str, prompt: Prompt) -> tuple[int, ...]:
        """The tokens of a text as the model would write it behind a prompt."""
        return self._prepare.ids_of(text, self._prepare.begun(prompt))

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt.

        Raises:
            InputError: the checkpoint cannot take a prompt, such as pictures it has no place for; no token is allowed, or
                a stop string is empty.
        """
        decoding = checked(decoding or Decoding())
        self._check_answers()
        prompts = [opened(prompt) for prompt in prompts]
        answers: dict[int, Generated] = {}

        def batch(positions: list[int]) -> None:
            prepared = self._prepare([prompts[n] for n in positions], longer=1)
            answers.update(zip(positions, self._generated(prepared, decoding), strict=True))

        size = self._batch_size if decoding.temperature == 0 else 1
        self._budget.run(self._prepare.extents(prompts), size, batch, passes=decoding.max_tokens)
        return [answers[n] for n in range(len(prompts))]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_choices) log-probabilities at the first generated position; of several tokens, the sum of theirs.

        `lengths` says how many tokens each choice is; it is empty where that depends on how a prompt ends.

        Raises:
            InputError: a choice is empty, or as in `generate`.
        """
        self._check_answers()
        rows = np.empty((len(prompts), len(choices)), dtype=np.float32)
        costs: dict[int, Cost] = {}
        groups = self._by_tokens(prompts, choices)
        for ids, positions in groups.items():
            scores = self._choose([prompts[n] for n in positions], ids, self._batch_size)
            rows[positions] = np.array([score.logprobs for score in scores], dtype=np.float32).reshape(len(positions), len(choices))
            costs |= {n: score.cost for n, score in zip(positions, scores, strict=True)}
        each = tuple(costs[n] for n in range(len(prompts)))
        lengths = {tuple(map(len, ids)) for ids in groups}
        return ChoiceScores(logprobs=rows, cost=sum(each, Cost()), costs=each, lengths=lengths.pop() if len(lengths) == 1 else ())

    def choice_logits(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_choices) logits of choices of one token at the first generated position.

        Raises:
            InputError: a choice is other than one token, or as in `generate`.
        """
        self._check_answers()
        rows = np.empty((len(prompts), len(choices)), dtype=np.float32)
        costs: list[Cost] = []
        for ids, group in self._by_tokens(prompts, choices).items():
            if longer := [choice for choice, tokens in zip(choices, ids, strict=True) if len(tokens) > 1]:
                raise InputError(f"a logit is that of one token, and {longer[0]!r} is more to {self.name!r}")

            def batch(members: list[int], ids: _Tokens = ids, group: list[int] = group) -> None:
                positions = [group[n] for n in members]
                prepared = self._prepare([prompts[n] for n in positions], longer=1)
                with self._lock, torch.inference_mode():
                    start = time.perf_counter()
                    logits = self._network.logits(prepared.on(self._network.device))[:, -1]
                    rows[positions] = logits[:, [tokens[0] for tokens in ids]].cpu().numpy()
                    costs.extend(prepared.costs((time.perf_counter() - start) / len(positions)))

            self._budget.run(self._prepare.extents([prompts[n] for n in group]), self._batch_size, batch)
        return ChoiceScores(logprobs=rows, cost=sum(costs, Cost()))

    def embed(self, prompts: Sequence[Prompt]) -> Array:
        """(n, D) float32 hidden states of the last layer, behind its norm, at each prompt's last token; not unit rows.

        Raises:
            InputError: as in `generate`.
        """
        prompts = [opened(prompt) for prompt in prompts]
        rows = np.empty((len(prompts), self._model.config.get_text_config().hidden_size), dtype=np.float32)

        def batch(positions: list[int]) -> None:
            prepared = self._prepare([prompts[n] for n in positions])
            with self._lock, torch.inference_mode():
                rows[positions] = self._network.states(prepared.on(self._network.device)).cpu().numpy()

        self._budget.run(self._prepare.extents(prompts), self._batch_size, batch)
        return rows

    # ------------------------------------------------------------------

    def _by_tokens(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> dict[_Tokens, list[int]]:
        """Positions of the prompts by the tokens of the choices, which depend on an answer begun. One group, as a rule."""
        groups: dict[_Tokens, list[int]] = {}
        for n, begun in enumerate([self._prepare.begun(prompt) for prompt in prompts] or [""]):
            ids = tuple(self._prepare.ids_of(choice, begun) for choice in choices)
            if any(not tokens for tokens in ids):
                raise InputError(f"a choice needs at least one token; got {list(choices)}")
            groups.setdefault(ids, []).extend([n] if prompts else [])
        return groups

    def _check_answers(self) -> None:
        if self._checkpoint.silence:
            raise InputError(self._checkpoint.silence)

    def _generated(self, prepared: Prepared, decoding: Decoding) -> list[Generated]:
        with self._lock:
            start = time.perf_counter()
            tokens, logprobs = self._tokens(prepared, decoding)
            seconds = (time.perf_counter() - start) / len(tokens)
        return [self._answer(prepared, n, tokens[n], logprobs[n], decoding, seconds) for n in range(len(tokens))]

    @torch.inference_mode()
    def _tokens(self, prepared: Prepared, decoding: Decoding) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens of each answer up to its end, with the end itself where it came, and their log-probabilities."""
        inputs = prepared.on(self._network.device)
        start = inputs["input_ids"].shape[1]
        stops = StopStrings(decoding.stop, start, self._prepare.text_of)
        how = settings(decoding, self._prepare.ends, self._prepare.tokenizer.pad_token_id)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(decoding.seed)
            output = self._model.generate(**inputs, generation_config=how, stopping_criteria=[stops] if decoding.stop else None)
        new = output.sequences[:, start:]
        tokens = [self._prepare.until_end(stops.cut(n, row)) for n, row in enumerate(new.tolist())]
        if not decoding.logprobs:
            return tokens, [[] for _ in tokens]
        steps = torch.stack(output.logits, dim=1).float().log_softmax(-1)  # (batch, steps, vocabulary)
        logprobs = steps.gather(-1, new[:, : steps.shape[1], None])[..., 0].tolist()
        return tokens, [row[: len(ids)] for row, ids in zip(logprobs, tokens, strict=True)]

    def _answer(
        self, prepared: Prepared, n: int, tokens: list[int], logprobs: list[float], decoding: Decoding, seconds: float
    ) -> Generated:
        text = self._prepare.text_of(tokens)
        stops = [place for place in (text.find(stop) for stop in decoding.stop) if place >= 0]
        ended = bool(stops) or len(tokens) < decoding.max_tokens or self._prepare.is_end(tokens[-1])
        return Generated(
            text=text[: min(stops)] if stops else text,
            finished="stop" if ended else "length",
            logprobs=tuple(logprobs) if decoding.logprobs else None,
            tokens=self._prepare.pieces_of(tokens) if decoding.logprobs else None,
            cost=Cost(
                calls=1,
                prompt_tokens=prepared.lengths[n],
                image_tokens=prepared.image_lengths[n],
                generated_tokens=len(tokens),
                seconds=seconds,
            ),
        )


def _pinned(options: Options, commit: str) -> Options:
    """The options with the commit that a revision came to, so that the printed name still means it when a branch has moved on."""
    return replace(options, revision=commit) if commit else options


def build(options: Options) -> Local:
    return Local(options)


def tiny() -> Local:
    """A random Qwen2.5-VL, always the same one."""
    import tempfile
    from pathlib import Path

    from mmrerank.backends._tiny import save_tiny

    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder), "qwen2_5_vl", seed=0)
        backend = build(Options(model=folder, device="cpu"))
        backend.weights_hash  # noqa: B018, read while the folder is there
    backend.name = printed("local", Options(), argument=True)  # the folder is gone, and its name means nothing
    return backend
