"""What every backend keeps: an answer a prompt, in their order, whoever stands beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmrerank.protocols import CuttingBackend, EmbeddingBackend
from mmrerank.testing import samples
from mmrerank.testing.contracts._part import PartContract, untouched
from mmrerank.types import Decoding, Message

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

    def test_what_it_shows_of_its_tokens_fits_together(self) -> None:
        backend = self.tiny()
        prompts = [samples.prompt(number) for number in range(2)]
        for answer in backend.generate(prompts, Decoding(max_tokens=4, logprobs=True)):
            if answer.tokens is not None and answer.logprobs is not None:
                pair = len(answer.tokens), len(answer.logprobs)
                assert pair[0] == pair[1], f"a log-probability stands beside each token; got {pair[1]} and {pair[0]}"
        lengths = backend.choice_logprobs(prompts, CHOICES).lengths
        assert len(lengths) in (0, len(CHOICES)), f"each choice has a length, or none has; got {lengths}"
        assert all(length > 0 for length in lengths), f"a choice is one token or more; got {lengths}"

    def test_an_answer_begun_is_taken_wherever_it_stands(self) -> None:
        backend, prompt = self.tiny(), samples.prompt(1)
        begun = (*prompt, Message(role="assistant", parts=("It is so that",)))
        there = backend.choice_logprobs([begun, prompt], CHOICES).logprobs
        back = backend.choice_logprobs([prompt, begun], CHOICES).logprobs
        assert np.allclose(there, back[::-1], atol=ROUNDING), "log-probabilities depend on where an answer begun stands among the prompts"

    def test_states_do_not_depend_on_who_stands_beside_them(self) -> None:
        backend, prompts = self.tiny(), [samples.prompt(number) for number in range(4)]
        if not isinstance(backend, EmbeddingBackend):
            return
        states = backend.embed(prompts)
        assert states.dtype == np.float32, f"states are float32; got {states.dtype}"
        assert states.ndim == 2, f"a row a prompt; got {states.ndim} dimensions"
        assert len(states) == len(prompts), f"a row a prompt; got {len(states)} of {len(prompts)}"
        assert len(backend.embed([])) == 0, "no prompts have no states"
        alone = np.concatenate([backend.embed([prompt]) for prompt in prompts])
        assert np.allclose(states, alone, atol=1e-4), "states depend on the other prompts"

    def test_texts_are_cut_to_tokens(self) -> None:
        backend, text = self.tiny(), "one two three four five six seven"
        if not isinstance(backend, CuttingBackend):
            return
        beginnings = [backend.cut(text, tokens) for tokens in range(40)]
        assert all(text.startswith(beginning) for beginning in beginnings), "a cut is no beginning of the text"
        assert [len(one) for one in beginnings] == sorted(len(one) for one in beginnings), "more tokens hold less of the text"
        assert beginnings[0] == "", "no tokens hold no text"
        assert beginnings[-1] == text, "a text that is short enough stays whole"
        counts = backend.count_tokens([samples.prompt(1)] * 2)
        assert counts[0] == counts[1] > 0, f"equal prompts have equal counts above 0; got {counts}"
