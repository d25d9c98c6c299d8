"""Samples -> batches: the processor's work (chat text, tokens, patches, positions) without its overhead."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrerank.types import Prompt
from tools.mini_clip.data import Pixels
from tools.mini_mllm.forward import Batch, Pictures
from tools.mini_mllm.samples import Sample
from tools.mini_mllm.vocabulary import END, IMAGE, OFF_BY, STOP, VISION_END, VISION_START

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One sample as numbers."""

    ids: Ids  # (length,) without the last token, whose only role is to be foretold
    positions: Ids  # (3, length)
    answer: Ids  # (n_answer,) its tokens, the end mark included
    targets: Ids  # places in the answer of the tokens that are to be foretold: all but wrong names
    decisions: list[int]  # which of these decide: what is wanted, how far off each is, at last a Yes or No or the best mark
    echo: Ids  # places of the prompt's tokens that are to be foretold as well
    pictures: tuple[Pixels, ...]


class Encoder:
    """Turns samples into batches for one tokenizer."""

    def __init__(self, tokenizer: Any, token_px: int) -> None:
        self.token_px = token_px
        self._tokenizer = tokenizer.backend_tokenizer
        self._image, self._pad = (self._tokenizer.token_to_id(mark) for mark in (IMAGE, END))

    def encode(self, sample: Sample, *, echo: bool = False) -> Encoded:
        sizes = [(p.shape[0] // self.token_px, p.shape[1] // self.token_px) for p in sample.pictures]
        text = chat_text(sample.prompt, sizes)
        prompt, answer = (self._tokenizer.encode(part, add_special_tokens=False) for part in (text, sample.answer + STOP))
        ids = np.array(prompt.ids + answer.ids[:-1], dtype=np.int64)
        targets = _outside(sample.wrong, answer.offsets)
        decisions = np.intersect1d(_decisions(sample.answer, answer.offsets), targets)
        return Encoded(
            ids=ids,
            positions=positions_of(ids == self._image, sizes),
            answer=np.array(answer.ids, dtype=np.int64),
            targets=targets,
            decisions=np.searchsorted(targets, decisions).tolist(),
            echo=_places(text, sample.echo, prompt.offsets) if echo else np.zeros(0, dtype=np.int64),
            pictures=sample.pictures,
        )

    def batch(self, samples: Sequence[Sample], device: str = "cpu", *, echo: bool = False) -> Batch:
        """The samples padded to the longest; with `echo`, what is to be foretold of the prompts stands behind the answers."""
        import torch

        encoded = [self.encode(sample, echo=echo) for sample in samples]
        length = max(len(e.ids) for e in encoded)
        ids = np.full((len(encoded), length), self._pad, dtype=np.int64)
        positions = np.zeros((3, len(encoded), length), dtype=np.int64)
        for row, e in enumerate(encoded):
            ids[row, : len(e.ids)] = e.ids
            positions[:, row, : len(e.ids)] = e.positions
        answers = [len(e.ids) - len(e.answer) + e.targets + row * length for row, e in enumerate(encoded)]
        echoes = [e.echo - 1 + row * length for row, e in enumerate(encoded)]
        firsts = np.cumsum([0, *(len(e.targets) for e in encoded)])
        decisions = [[first + n for n in e.decisions] for first, e in zip(firsts, encoded, strict=False) if e.decisions]
        pictures, order = _grouped([p for e in encoded for p in e.pictures], self.token_px, device)
        numbers = {
            "ids": ids,
            "positions": positions,
            "order": order,
            "places": np.concatenate([*answers, *echoes]),
            "targets": np.concatenate([*(e.answer[e.targets] for e in encoded), *(e.ids[e.echo] for e in encoded)]),
            "firsts": firsts[:-1],
            "decisions": np.array([n for some in decisions for n in some]),
            "finals": np.array([some[-1] for some in decisions]),
        }
        tensors = {name: torch.from_numpy(np.asarray(x, dtype=np.int64)).to(device) for name, x in numbers.items()}
        return Batch(pictures=pictures, answer_count=int(firsts[-1]), **tensors)

    def first_token(self, text: str) -> int:
        return int(self._ids(text)[0])

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens say up to the end mark."""
        stop = self._tokenizer.token_to_id(STOP)
        own = ids[: ids.index(stop)] if stop in ids else ids
        return str(self._tokenizer.decode(list(own), skip_special_tokens=False))

    def _ids(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)


def _decisions(answer: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Places of the tokens that decide, the last of them for the whole answer."""
    if answer in ("Yes", "No"):
        return [0]
    ends = [match.end() for match in re.finditer(re.escape(OFF_BY) + " ", answer)]
    ends += [bracket + 1] if (bracket := answer.rfind("[")) >= 0 else []
    starts = [start for start, _ in offsets]
    line = re.search("wanted: (.*)", answer)
    named = [n for n, (start, stop) in enumerate(offsets) if line and start < line.end(1) and stop > line.start(1)]
    return [*named, *(bisect.bisect_left(starts, at) for at in ends)]


def _outside(parts: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> Ids:
    """Places of the tokens that share no letter with any of the parts."""
    inside = {n for start, stop in parts for n, (first, last) in enumerate(offsets) if first < stop and last > start}
    return np.array([n for n in range(len(offsets)) if n not in inside], dtype=np.int64)


def _places(text: str, part: str, offsets: Sequence[tuple[int, int]]) -> Ids:
    """Places of the tokens that lie in the last occurrence of a part of the text; a space before it may belong to the first."""
    start = text.rindex(part) if part else len(text)
    return np.array([n for n, (_, stop) in enumerate(offsets) if start < stop <= start + len(part)], dtype=np.int64)


def chat_text(prompt: Prompt, sizes: Sequence[tuple[int, int]]) -> str:
    """What the chat template makes of a prompt, each picture as so many image tokens; the answer follows."""
    token_sizes = iter(sizes)
    text: list[str] = []
    for message in prompt:
        text.append(f"<|im_start|>{message.role}\n")
        for part in message.parts:
            if isinstance(part, str):
                text.append(part)
            else:
                height, width = next(token_sizes)
                text.append(VISION_START + IMAGE * (height * width) + VISION_END)
        text.append("<|im_end|>\n")
    return "".join([*text, "<|im_start|>assistant\n"])


def positions_of(image: npt.NDArray[np.bool_], sizes: Sequence[tuple[int, int]]) -> Ids:
    """(3, length) places in time, height and width: text counts on in all three, a picture's tokens spread from where it stands.

    Args:
        image: (length,) which tokens are of a picture.
        sizes: tokens in (height, width) of each picture.
    """
    out = np.empty((3, len(image)), dtype=np.int64)
    at = now = 0
    for height, width in sizes:
        start = at + int(np.argmax(image[at:]))
        out[:, at:start] = np.arange(now, now + start - at)
        now += start - at
        at = start + height * width
        out[0, start:at] = now
        out[1, start:at] = now + np.repeat(np.arange(height), width)
        out[2, start:at] = now + np.tile(np.arange(width), height)
        now += max(height, width)
    out[:, at:] = np.arange(now, now + len(image) - at)
    return out


def patches_of(pixels: Pixels, token_px: int) -> npt.NDArray[np.float32]:
    """(n, n_patches, patch_dim) patches of (n, height, width, 3) pictures in -1..1; the four of a token beside one another."""
    n, height, width, _ = pixels.shape
    patch = token_px // 2
    cut = pixels.reshape(n, height // token_px, 2, patch, width // token_px, 2, patch, 3)
    ordered = cut.transpose(0, 1, 4, 2, 5, 7, 3, 6)  # (n, rows, columns, 2, 2, 3, patch, patch)
    flat = np.ascontiguousarray(ordered).reshape(n, -1, 3 * patch * patch)
    return flat.astype(np.float32) * np.float32(1 / 127.5) - 1


def _grouped(pictures: Sequence[Pixels], token_px: int, device: str) -> tuple[tuple[Pictures, ...], Ids]:
    """The pictures grouped by size, and the row among the groups' tokens of each token in the given order."""
    import torch

    groups: dict[tuple[int, ...], list[int]] = {}
    for n, picture in enumerate(pictures):
        groups.setdefault(picture.shape[:2], []).append(n)
    batches: list[Pictures] = []
    rows: dict[int, Ids] = {}
    start = 0
    for (height, width), members in groups.items():
        patches = torch.from_numpy(patches_of(np.stack([pictures[n] for n in members]), token_px)).to(device)
        batches.append(Pictures(patches=patches, grid=(2 * height // token_px, 2 * width // token_px)))
        count = (height // token_px) * (width // token_px)
        for n in members:
            rows[n] = np.arange(start, start + count)
            start += count
    order = np.concatenate([rows[n] for n in range(len(pictures))]) if rows else np.zeros(0, dtype=np.int64)
    return tuple(batches), order
