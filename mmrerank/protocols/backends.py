"""Prompts -> answers: how a model is reached, and what a backend can beside answering."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from mmrerank.types import Array, ChoiceScores, Decoding, Generated, Modality, Prompt


class Backend(Protocol):
    """How an MLLM is reached. Results do not depend on the other prompts of a call."""

    name: str

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt, in their order.

        Raises:
            BackendError: the model cannot be reached or does not take the prompt; `retryable` after a time-out or an
                overload that outlasted the backend's own retries.
        """
        ...

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Log-probabilities of each choice at the first generated position of each prompt, computed in float32; of a choice of
        several tokens the sum of theirs, where the backend can tell it."""
        ...


@runtime_checkable
class EmbeddingBackend(Protocol):
    """A backend that shows what the model makes of a prompt."""

    def embed(self, prompts: Sequence[Prompt]) -> Array:
        """(n, D) float32 hidden states of the last layer at each prompt's last token, as the model leaves them; not unit rows."""
        ...


@runtime_checkable
class CuttingBackend(Protocol):
    """A backend that measures prompts and texts in its own tokens."""

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """How many tokens each prompt is, pictures included."""
        ...

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of the text that is at most so many tokens; the text itself where it is short enough."""
        ...


@runtime_checkable
class LikelihoodBackend(Protocol):
    """A backend that tells what whole texts come to otherwise than by `choice_logprobs`, which it answers from first tokens."""

    def text_logprobs(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_texts) log-probabilities of all tokens of each text behind each prompt, with how many tokens each text is.

        Raises:
            BackendError: it does not tell them.
        """
        ...


@runtime_checkable
class LogitBackend(Protocol):
    """A backend that shows what stands before the softmax."""

    def choice_logits(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """As `choice_logprobs`, with the logit of each choice in place of its log-probability.

        Raises:
            InputError: a choice is not one token.
        """
        ...


@runtime_checkable
class CheckpointBackend(Protocol):
    """A backend over a checkpoint whose own files say how it wants to be asked."""

    takes: frozenset[Modality]  # what the checkpoint can be shown

    @property
    def chat_template(self) -> str:
        """The checkpoint's chat template, as Jinja; "" where it has none."""
        ...

    def file_text(self, name: str) -> str | None:
        """The text of one of the checkpoint's files; None where it has none of that name."""
        ...


@runtime_checkable
class TrainableBackend(Backend, Protocol):
    """A backend whose network is in this process and may be changed in place: what is trained in it, the next answer comes from."""

    takes: frozenset[Modality]  # what it can be shown

    @property
    def network(self) -> Any:
        """A torch module of transformers."""
        ...

    @property
    def processor(self) -> Any:
        """The processor of what sees, else the tokenizer."""
        ...

    @property
    def origin(self) -> str:
        """The folder or name on the hub that holds these very weights; "" where an adapter was merged into them."""
        ...

    def inputs(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """One batch as the network takes it, padded on the left, on its device.

        Raises:
            InputError: the checkpoint cannot take a prompt.
        """
        ...

    def answer_tokens(self, text: str, prompt: Prompt) -> tuple[int, ...]:
        """The tokens of a text as the model would write it behind a prompt; those that `choice_logprobs` counts."""
        ...


@runtime_checkable
class Generates(Protocol):
    """As much of a backend as tells it from what is none."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]: ...


@runtime_checkable
class StreamingBackend(Protocol):
    """A backend that gives an answer as it comes."""

    def stream(self, prompt: Prompt, decoding: Decoding | None, on_text: Callable[[str], None]) -> Generated:
        """The answer to one prompt; `on_text` gets its text piece by piece, in order."""
        ...


@runtime_checkable
class SingleTokenBackend(Protocol):
    """A backend whose tokens can be seen."""

    def single_token(self, choice: str) -> bool:
        """Whether a word is one token as the beginning of an answer."""
        ...


@runtime_checkable
class ExpectingBackend(Protocol):
    """A backend that keeps watch over the time."""

    def expect(self, prompts: int) -> None:
        """So many prompts are about to be asked."""
        ...


@runtime_checkable
class BatchedBackend(Protocol):
    """A backend that says whether the prompts of one call share forward passes."""

    batches: bool


@runtime_checkable
class BackendInFront(Protocol):
    """A backend that passes prompts on to another, such as a cache. What it does not offer itself, that one may."""

    inner: Backend


def front_to_back(backend: Backend) -> Iterator[Backend]:
    """The backend, the one it passes prompts on to, and so on to the model: the first that offers a capability is asked for it."""
    yield backend
    while isinstance(backend, BackendInFront):
        backend = backend.inner
        yield backend
