"""What every backend keeps: an answer a prompt, in their order, whoever stands beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmrerank.testing import samples
from mmrerank.testing.contracts._part import PartContract, untouched
from mmrerank.types import Decoding

DECODING = Decoding(max_tokens=4)
CHOICES = ("Yes", "No")
ROUNDING = 1e-5  # log-probabilities of prompts that are padded to other lengths

_BACKENDS: dict[tuple[type, Any], tuple[Any, Any]] = {}


class BackendContract(PartContract):
    """How an MLLM is reached. One instance answers all questions of a test class, since a model takes a while to load."""

    station = "backends"

    def tiny(self) -> Any:
        """The tiny backend, made once for each part."""
        key = (type(self), self.part if isinstance(self.part, str) else id(self.part))
        if key not in _BACKENDS:
            _BACKENDS[key] = (self.part, super().tiny())  # the part too, so that no other one takes its id
        return _BACKENDS[key][1]

    # ------------------------------------------------------------------

    def test_one_answer_a_prompt_in_order(self) -> None:
        backend, prompts = self.tiny(), [samples.prompt(number) for number in range(5)]
        answers = backend.generate(prompts, DECODING)
        alone = [backend.generate([prompt], DECODING)[0] for prompt in prompts]
        assert [answer.text for answer in answers] == [answer.text for answer in alone], "an answer depends on the other prompts"
        assert [answer.cost.calls for answer in answers] == [1] * 5, "each answer costs one call"

    def test_no_prompts_no_answers(self) -> None:
        backend = self.tiny()
        assert backend.generate([]) == [], "no prompts have no answers"
        shape = backend.choice_logprobs([], CHOICES).logprobs.shape
        assert shape == (0, 2), f"no prompts and two choices have log-probabilities of shape (0, 2); got {shape}"

    def test_choices_are_log_probabilities(self) -> None:
        scores = self.tiny().choice_logprobs([samples.prompt(number) for number in range(6)], CHOICES)
        assert scores.logprobs.shape == (6, 2), f"6 prompts and two choices: (6, 2); got {scores.logprobs.shape}"
        assert scores.logprobs.dtype == np.float32, f"log-probabilities are float32; got {scores.logprobs.dtype}"
        assert (np.exp(scores.logprobs).sum(axis=1) <= 1 + ROUNDING).all(), "probabilities of the choices of a prompt sum to more than 1"
        assert scores.cost.calls == 6, f"6 prompts cost 6 calls; got {scores.cost.calls}"

    def test_choices_do_not_depend_on_who_stands_beside_them(self) -> None:
        backend, prompts = self.tiny(), [samples.prompt(number) for number in range(6)]
        logprobs = backend.choice_logprobs(prompts, CHOICES).logprobs
        backwards = backend.choice_logprobs(prompts[::-1], CHOICES).logprobs[::-1]
        swapped = backend.choice_logprobs(prompts, CHOICES[::-1]).logprobs[:, ::-1]
        alone = np.concatenate([backend.choice_logprobs([prompt], CHOICES).logprobs for prompt in prompts])
        for other, what in ((backwards, "the order of the prompts"), (swapped, "the order of the choices"), (alone, "the other prompts")):
            assert np.allclose(other, logprobs, atol=ROUNDING), f"log-probabilities depend on {what}"

    def test_prompts_are_not_changed(self) -> None:
        prompts = [samples.prompt(1)]
        with untouched(prompts):
            self.tiny().generate(prompts, DECODING)
            self.tiny().choice_logprobs(prompts, CHOICES)
