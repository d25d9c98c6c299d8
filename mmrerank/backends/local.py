"""An MLLM in this process: any image-text-to-text checkpoint of transformers, from a folder or from the hub.

    local/PATH                              a folder with config, weights, tokenizer, processor and chat template
    local/Qwen/Qwen2.5-VL-7B-Instruct       a name on the hub, fetched once by transformers

The chat template and the processor are the checkpoint's own. Pictures of the Qwen-VL family go through `qwen_vl_utils`, as in
the released examples, within the checkpoint's own pixel limits; the other families give them to their processor.

Results do not depend on the other prompts of a call, up to rounding: prompts of a batch are padded on the left and masked, and
log-probabilities are computed in float32. Sampled answers are made one by one, each from the seed alone.

Cost: choices that are one token take one forward pass a prompt; choices of several tokens one more pass each.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmrerank.backends._checkpoint import load
from mmrerank.backends._inputs import Prepared, Preparer, extended
from mmrerank.errors import InputError
from mmrerank.parts import knob, printed
from mmrerank.types import Array, ChoiceScores, Cost, Decoding, Generated, Prompt

PROMPTS_AT_ONCE = 64
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32_768}  # of a batch, padding included; what its activations need grows with them


@dataclass(frozen=True, kw_only=True)
class Options:
    model: str = ""  # folder or name on the hub
    revision: str = "main"  # of a name on the hub
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"  # auto: as saved on a GPU, fp32 on a CPU
    device: str = knob("auto")
    batch_size: int | None = knob(None)


class Local:
    """A checkpoint, loaded when it is built."""

    def __init__(self, options: Options) -> None:
        self.name = printed("local", options, argument=True)
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device)
        self._model, processor = load(options.model, options.revision, options.precision, self.device)
        self._prepare = Preparer(processor, self._model, options.model)
        self._batch_size = options.batch_size or PROMPTS_AT_ONCE
        self._batch_tokens = TOKENS_AT_ONCE.get(self.device.type, 4096)
        self._folder = Path(options.model)
        self._lock = threading.Lock()  # one forward pass at a time, whoever asks

    @property
    def weights_hash(self) -> str:
        """16 hex digits of the names, sizes and first bytes of the weights files; "" for a name on the hub, whose revision names them."""
        files = sorted(self._folder.glob("*.safetensors")) if self._folder.is_dir() else []
        if not files:
            return ""
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                digest.update(f"{file.name} {file.stat().st_size} ".encode() + stream.read(1 << 24))
        return digest.hexdigest()[:16]

    def single_token(self, choice: str) -> bool:
        """Whether the model says this in one token."""
        return len(self._prepare.ids_of(choice)) == 1

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt.

        Raises:
            InputError: the checkpoint cannot take a prompt, such as pictures it has no place for.
        """
        asked = decoding or Decoding()
        size = self._batch_size if asked.temperature == 0 else 1
        answers: dict[int, Generated] = {}
        for positions in self._batches(prompts, size):
            prepared = self._prepare([prompts[n] for n in positions])
            answers.update(zip(positions, self._generated(prepared, asked), strict=True))
        return [answers[n] for n in range(len(prompts))]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_choices) log-probabilities at the first generated position; of several tokens, the sum of theirs.

        Raises:
            InputError: a choice is empty.
        """
        ids = [self._prepare.ids_of(choice) for choice in choices]
        if any(not tokens for tokens in ids):
            raise InputError(f"a choice needs at least one token; got {list(choices)}")
        rows = np.empty((len(prompts), len(choices)), dtype=np.float32)
        cost = Cost()
        for positions in self._batches(prompts, self._batch_size):
            prepared = self._prepare([prompts[n] for n in positions])
            start = time.perf_counter()
            with self._lock:
                rows[positions] = self._chosen(prepared, ids)
            spent = time.perf_counter() - start
            cost += Cost(calls=len(positions), prompt_tokens=prepared.tokens, image_tokens=prepared.image_tokens, seconds=spent)
        return ChoiceScores(logprobs=rows, cost=cost)

    # ------------------------------------------------------------------

    def _batches(self, prompts: Sequence[Prompt], size: int) -> list[list[int]]:
        """Positions of the prompts in batches of like length, so that little is padding and none is too large."""
        extents = [_extent(prompt) for prompt in prompts]
        found: list[list[int]] = []
        for n in sorted(range(len(prompts)), key=extents.__getitem__):
            full = not found or len(found[-1]) >= size or (len(found[-1]) + 1) * extents[n] > self._batch_tokens
            if full:
                found.append([])
            found[-1].append(n)
        return found

    @torch.inference_mode()
    def _chosen(self, prepared: Prepared, choices: Sequence[Sequence[int]]) -> Array:
        """(batch, n_choices): the first tokens from one pass over the prompts, further tokens from one pass a choice."""
        inputs = prepared.on(self.device)
        first = self._model(**inputs, logits_to_keep=1).logits[:, -1].float().log_softmax(-1)  # (batch, vocabulary)
        rows = first[:, [tokens[0] for tokens in choices]].clone()
        for n, tokens in enumerate(choices):
            if len(tokens) > 1:
                longer = extended(inputs, tokens[:-1])
                steps = self._model(**longer, logits_to_keep=len(tokens) - 1).logits.float().log_softmax(-1)
                picked = torch.tensor(tokens[1:], device=self.device)
                rows[:, n] += steps[:, torch.arange(len(picked)), picked].sum(-1)
        return np.asarray(rows.cpu().numpy(), dtype=np.float32)

    def _generated(self, prepared: Prepared, asked: Decoding) -> list[Generated]:
        start = time.perf_counter()
        with self._lock:
            tokens, logprobs = self._tokens(prepared, asked)
        seconds = (time.perf_counter() - start) / len(tokens)
        return [self._answer(prepared, n, tokens[n], logprobs[n], asked, seconds) for n in range(len(tokens))]

    @torch.inference_mode()
    def _tokens(self, prepared: Prepared, asked: Decoding) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens of each answer up to its end, with the end itself where it came, and their log-probabilities."""
        inputs = prepared.on(self.device)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(asked.seed)
            made = self._model.generate(**inputs, generation_config=self._settings(asked), tokenizer=self._prepare.tokenizer)
        new = made.sequences[:, inputs["input_ids"].shape[1] :]
        tokens = [self._prepare.until_end(row) for row in new.tolist()]
        if not asked.logprobs:
            return tokens, [[] for _ in tokens]
        steps = torch.stack(made.logits, dim=1).float().log_softmax(-1)  # (batch, steps, vocabulary)
        picked = steps.gather(-1, new[:, : steps.shape[1], None])[..., 0].tolist()
        return tokens, [row[: len(said)] for row, said in zip(picked, tokens, strict=True)]

    def _settings(self, asked: Decoding) -> Any:
        """How to generate, with the checkpoint's end tokens and none of its other habits."""
        from transformers import GenerationConfig

        sampled = {"do_sample": True, "temperature": asked.temperature, "top_p": 1.0, "top_k": 0} if asked.temperature > 0 else {}
        return GenerationConfig(
            max_new_tokens=asked.max_tokens,
            eos_token_id=sorted(self._prepare.ends),
            pad_token_id=self._prepare.tokenizer.pad_token_id,
            stop_strings=list(asked.stop) or None,
            return_dict_in_generate=True,
            output_logits=asked.logprobs,
            **sampled,
        )

    def _answer(self, prepared: Prepared, n: int, tokens: list[int], logprobs: list[float], asked: Decoding, seconds: float) -> Generated:
        text = self._prepare.text_of(tokens)
        stops = [place for place in (text.find(stop) for stop in asked.stop) if place >= 0]
        ended = bool(stops) or len(tokens) < asked.max_tokens or self._prepare.is_end(tokens[-1])
        return Generated(
            text=text[: min(stops)] if stops else text,
            finished="stop" if ended else "length",
            logprobs=tuple(logprobs) if asked.logprobs else None,
            cost=Cost(
                calls=1,
                prompt_tokens=prepared.lengths[n],
                image_tokens=prepared.image_lengths[n],
                generated_tokens=len(tokens),
                seconds=seconds,
            ),
        )


def _extent(prompt: Prompt) -> int:
    """Roughly how long a prompt is as tokens: letters by four, pixels by 28 x 28."""
    parts = [part for message in prompt for part in message.parts]
    return sum(len(part) // 4 if isinstance(part, str) else part.width * part.height // 784 for part in parts)


def build(options: Options) -> Local:
    return Local(options)


def tiny() -> Local:
    import tempfile

    from mmrerank.backends._tiny import save_tiny

    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder), "qwen2_5_vl", seed=0)
        backend = build(Options(model=folder, device="cpu"))
    backend.name = printed("local", Options(), argument=True)  # the folder is gone, and its name means nothing
    return backend
