"""What the mini MLLM gets right on samples that it was not trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmrerank.measures.own import score_auc
from mmrerank.prompting.answers import read_marks
from tools.mini_mllm.batches import Encoder
from tools.mini_mllm.decode import answers
from tools.mini_mllm.forward import answer_logits

if TYPE_CHECKING:
    from tools.mini_mllm.samples import Sample

AT_ONCE, ANSWER_TOKENS = 32, 320
RANKING_TASKS = ("rank", "pages")


def probe(model: Any, encoder: Encoder, samples: Sequence[Sample], device: str) -> dict[str, float]:
    """Shares of answer tokens foretold, of answers that come out word for word, and of best marks, Yes and No that are right.

    An answer comes out greedily just when each of its tokens is the likeliest after the true ones before it, so one forward
    pass tells, without generating. Where answers are Yes and No there is also the area under the curve of z_Yes - z_No.
    """
    import torch

    tokens: list[Any] = []
    decided: list[Any] = []
    whole: list[bool] = []
    margins: list[float] = []
    yes, no = (encoder.first_token(word) for word in ("Yes", "No"))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(samples), AT_ONCE):
            batch = encoder.batch(samples[start : start + AT_ONCE], device)
            logits = answer_logits(model, batch)
            right = (logits.argmax(dim=-1) == batch.targets).cpu().numpy()
            firsts = batch.firsts.cpu().numpy()
            whole += [bool(answer.all()) for answer in np.split(right, firsts[1:])]
            tokens.append(right)
            decided.append(right[batch.finals.cpu().numpy()])
            margins += (logits[batch.firsts, yes] - logits[batch.firsts, no]).tolist()
    measures = {"tokens": share(np.concatenate(tokens)), "answers": share(np.array(whole))}
    if len(decided[0]):
        measures["decisions"] = share(np.concatenate(decided))
    positive = np.array([sample.answer == "Yes" for sample in samples])
    if positive.any() and {sample.answer for sample in samples} == {"Yes", "No"}:
        measures["auc"] = round(score_auc(np.array(margins), positive), 4)
    return measures


def own_rankings(
    model: Any, encoder: Encoder, task: str, samples: Sequence[Sample], device: str, *, bfloat16: bool = False
) -> dict[str, float]:
    """Of the rankings that the model gives by itself, the shares that put the right one first and that need no repair."""
    texts: list[str] = []
    for start in range(0, len(samples), AT_ONCE):
        texts += answers(model, encoder, samples[start : start + AT_ONCE], device, most=ANSWER_TOKENS, bfloat16=bfloat16)
    pairs = [_rankings(text, sample.answer) for text, sample in zip(texts, samples, strict=True)]
    return {
        "first": share([order[:1] == right[:1] for order, right in pairs]),
        "whole": share([sorted(order) == sorted(right) for order, right in pairs]),
    }


def _rankings(answer: str, right: str) -> tuple[list[int], list[int]]:
    """The marks of an answer and of the right one, which ends with a list of all of them."""
    count = len(re.findall(r"\d+", right.rpartition("[")[2]))
    return list(read_marks(answer, count).marks or ()), list(read_marks(right, count).marks or ())


def share(right: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    return round(float(np.mean(right)), 4)
