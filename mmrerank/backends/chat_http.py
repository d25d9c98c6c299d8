"""An MLLM behind any server that speaks OpenAI's chat completions: vLLM, `transformers serve`, llama.cpp, Ollama, a gateway.

    chat_http/http://localhost:8000#Qwen/Qwen2.5-VL-7B-Instruct        a bare host: /v1 is added
    chat_http/http://localhost:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct     the same
    chat_http/https://gateway.example/openai/v1#some-model             a URL with a path is taken as it stands

Pictures travel as PNG data URIs, pixel for pixel. Prompts go out side by side, at most `concurrency` at once over all threads
that share the backend. A key is passed to `build`; it goes into the Authorization header and nowhere else, and redirects are
not followed.

Choices are read from the `top_logprobs` likeliest first tokens, so a choice should be one token. Tokens that spell a choice with
or without a space before it are counted together: which of them begins an answer is the tokenizer's habit, not the model's
opinion. A choice below the likeliest is -inf; that none is among them is an error. Log-probabilities: vLLM, llama.cpp since
December 2024, OpenAI. Not: `transformers serve` (tried with 5.23), which leaves the fields aside, and older Ollama.

A last message of the assistant is an answer begun: it goes out with `continue_final_message` and `add_generation_prompt` as vLLM
and, since May 2026, llama.cpp take them. Before the first, four small requests tell by the tokens counted whether the server goes on
with it; one that does not is an error. A "raw" prompt goes to `/completions`, which takes text only; what a server makes of control
tokens in a text is its own: `Markup` goes out as it is, and so does all else.

Worth knowing: servers apply the sampling defaults of the checkpoint's `generation_config.json` beside what is asked here, a
repetition penalty among them (vLLM: `--generation-config vllm` turns that off). `transformers serve` 5.23 fails on stop strings
for models that take pictures; `server_stops=False` cuts the answer here instead.

Cost: one request a prompt.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import httpx
import numpy as np
from pydantic import Field

from mmrerank.backends import _chat_wire as wire
from mmrerank.backends._continuing import continues
from mmrerank.errors import BackendError, InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.types import ChoiceScores, Cost, Decoding, Generated, Prompt
from mmrerank.wire.retries import RequestRefused, RetryPolicy, post, post_lines
from mmrerank.wire.servers import address, client_of
from mmrerank.wire.side_by_side import close, replies_of_each

logger = logging.getLogger(__name__)
T = TypeVar("T")
_NO_LOGPROBS = "Ask a server that reports them (vLLM, llama.cpp), run the model here with local/PATH, or rerank with a generating method."
_NO_TEXTS = "vLLM tells it (prompt_logprobs) where its template goes on with an answer that was begun; or run the model with local/PATH."
_CONTINUE = "vLLM goes on with it, and llama.cpp since May 2026; or run the model here with local/PATH."
_FORM = "Expected chat_http/URL#MODEL, such as chat_http/http://localhost:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct."


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the model is, and how patiently it is asked."""

    server: str = ""  # URL#MODEL
    top_logprobs: Annotated[int, Field(ge=1)] = 20  # first tokens that choices are looked for among; 20 is what OpenAI and vLLM allow
    server_stops: bool = runtime_option(True)  # False: stop strings are not sent, only applied here
    timeout_s: Annotated[float, Field(gt=0)] = runtime_option(120.0)  # without a byte from the server
    retries: Annotated[int, Field(ge=0)] = runtime_option(4)
    backoff_s: Annotated[float, Field(ge=0)] = runtime_option(0.5)  # before the first of them
    concurrency: Annotated[int, Field(ge=1)] = runtime_option(8)  # requests at once, over all threads


class ChatHttp:
    """A served model. Safe in threads."""

    def __init__(self, options: Options, api_key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        base, self.model = address(options.server, form=_FORM, endpoint="/chat/completions")
        self.name = printed("chat_http", dataclasses.replace(options, server=f"{base}#{self.model}"), argument=True)
        self.concurrency = options.concurrency
        self._base, self._url = base, f"{base}/chat/completions"
        self._options = options
        self._key = (api_key or "").strip()
        self._client = client_of(base, self._key, timeout_s=options.timeout_s, connections=options.concurrency, transport=transport)
        self._pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="chat_http")
        self._probing = threading.Lock()
        self._verdict: tuple[bool | None] | None = None  # whether the server goes on with answers begun, once it was tried
        self._retry_policy = RetryPolicy(retries=options.retries, backoff_s=options.backoff_s)
        self.close = weakref.finalize(self, close, self._client, self._pool)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt; one that a content filter kept back is empty and `refused`.

        Raises:
            BackendError: the server cannot be reached, or refuses.
        """
        decoding = decoding or Decoding()
        return replies_of_each(self._pool, partial(self._generated, decoding=decoding), prompts)

    def stream(self, prompt: Prompt, decoding: Decoding | None, on_text: Callable[[str], None]) -> Generated:
        """The answer to one prompt, whose text `on_text` gets as it comes; in one piece where a stop string has to be looked for,
        and of a raw prompt.

        Raises:
            BackendError: as in `generate`, or the answer breaks off.
        """
        decoding, start = decoding or Decoding(), time.perf_counter()
        if decoding.stop or wire.is_raw(prompt):
            (whole,) = self.generate([prompt], decoding)
            on_text(whole.text)
            return whole
        fields = wire.generation(decoding, server_stops=self._options.server_stops)
        body = {"model": self.model, **wire.question(prompt), **fields, "stream": True}
        gathering = wire.Gathering()
        try:
            self._check_continues(prompt, threading.Event())
            for line in post_lines(self._client, self._url, body, self._retry_policy, threading.Event()):
                if text := self._read(line, gathering.take):
                    on_text(text)
        except RequestRefused as refusal:
            if wire.FILTERED in refusal.message.codes:
                return Generated(text="", finished="refused", cost=Cost(calls=1, seconds=time.perf_counter() - start))
            raise self._error(refusal) from refusal
        if not gathering.ended:
            raise BackendError(f"{self._url}: the answer broke off before its end", retryable=True)
        return self._read(gathering.reply(), partial(wire.generated, decoding=decoding, seconds=time.perf_counter() - start))

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_choices) log-probabilities among the likeliest first tokens; -inf for a choice that is not among them.

        Raises:
            InputError: a choice has no letter, or there is none.
            BackendError: the server tells no log-probabilities, or no choice is among the likeliest tokens.
        """
        if not choices or any(not choice.strip(wire.MARKERS) for choice in choices):
            raise InputError(f"a choice needs at least one letter; got {list(choices)}")
        rows_and_costs = replies_of_each(self._pool, partial(self._choice_row, choices=choices), prompts)
        rows = np.array([row for row, _ in rows_and_costs], dtype=np.float32).reshape(len(prompts), len(choices))
        return ChoiceScores(logprobs=rows, cost=sum((cost for _, cost in rows_and_costs), Cost()))

    def text_logprobs(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_texts) log-probabilities of whole texts behind the prompts, by vLLM's `prompt_logprobs`.

        One request says where a text begins, and one more a text what it comes to.

        Raises:
            BackendError: the server tells no log-probabilities of a prompt, does not count its tokens, or writes something else where
                an answer begins.
        """
        rows = replies_of_each(self._pool, partial(self._text_row, texts=texts), prompts)
        lengths = {lengths for _, lengths, _ in rows}
        if len(lengths) > 1:
            raise BackendError(f"{self.name} cuts the same text into {lengths} tokens behind different prompts.", hint=_NO_TEXTS)
        logprobs = np.array([sums for sums, _, _ in rows], dtype=np.float32).reshape(len(prompts), len(texts))
        return ChoiceScores(logprobs=logprobs, cost=sum((cost for _, _, cost in rows), Cost()), lengths=next(iter(lengths), ()))

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # ------------------------------------------------------------------

    def _generated(self, prompt: Prompt, cancellation: threading.Event, *, decoding: Decoding) -> Generated:
        start = time.perf_counter()
        try:
            reply = self._reply(prompt, wire.generation(decoding, server_stops=self._options.server_stops), cancellation)
        except RequestRefused as refusal:
            if wire.FILTERED in refusal.message.codes:
                return Generated(text="", finished="refused", cost=Cost(calls=1, seconds=time.perf_counter() - start))
            raise self._error(refusal) from refusal
        return self._read(reply, partial(wire.generated, decoding=decoding, seconds=time.perf_counter() - start))

    def _choice_row(self, prompt: Prompt, cancellation: threading.Event, *, choices: Sequence[str]) -> tuple[list[float], Cost]:
        start = time.perf_counter()
        try:
            reply = self._reply(prompt, wire.choosing(self._options.top_logprobs), cancellation)
        except RequestRefused as refusal:
            raise self._error(refusal) from refusal
        tokens = self._read(reply, wire.first_tokens)
        if not tokens:
            is_filtered = self._read(reply, wire.filtered)
            why = "its content filter kept the answer back" if is_filtered else "the reply has none"
            raise BackendError(f"{self.name} tells no log-probabilities: {why}.", hint="" if is_filtered else _NO_LOGPROBS)
        row = wire.choice_row(tokens, choices)
        if max(row) == -np.inf:
            raise self._unseen(choices, tokens)
        return row, self._read(reply, partial(wire.cost, seconds=time.perf_counter() - start))

    def _text_row(
        self, prompt: Prompt, cancellation: threading.Event, *, texts: Sequence[str]
    ) -> tuple[list[float], tuple[int, ...], Cost]:
        """What each text comes to behind one prompt, its tokens, and what it took."""
        start = time.perf_counter()
        try:
            bare = self._reply(prompt, {"max_tokens": 1, "temperature": 0.0}, cancellation)
            replies = [self._reply(wire.with_text(prompt, text), wire.scoring(), cancellation) for text in texts]
        except RequestRefused as refusal:
            raise self._error(refusal) from refusal
        costs = [self._read(reply, partial(wire.cost, seconds=0.0)) for reply in (bare, *replies)]
        if costs[0].prompt_tokens == 0:
            raise BackendError(f"{self.name} does not say how many tokens a prompt is.", hint=_NO_TEXTS)
        try:
            rows = [wire.text_tokens(reply, costs[0].prompt_tokens, text) for reply, text in zip(replies, texts, strict=True)]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise BackendError(f"{self.name} does not tell what a text comes to: {error}.", hint=_NO_TEXTS) from error
        cost = sum(costs, Cost(seconds=time.perf_counter() - start))
        return [sum(row) for row in rows], tuple(map(len, rows)), cost

    def _reply(self, prompt: Prompt, fields: Mapping[str, Any], cancellation: threading.Event) -> Any:
        self._check_continues(prompt, cancellation)
        body = {"model": self.model, **wire.question(prompt)}
        if not wire.is_raw(prompt):
            return post(self._client, self._url, {**body, **fields}, self._retry_policy, cancellation)
        url = f"{self._base}/completions"
        reply = post(self._client, url, {**body, **wire.as_completion(fields)}, self._retry_policy, cancellation)
        return self._read(reply, wire.as_chat)

    def _check_continues(self, prompt: Prompt, cancellation: threading.Event) -> None:
        """BackendError where the server would close an answer that this prompt begins; asked once."""
        if not prompt or prompt[-1].role != "assistant":
            return
        with self._probing:
            if self._verdict is None:
                self._verdict = (continues(partial(self._counted, cancellation=cancellation)),)
                if self._verdict[0] is None:
                    logger.warning("%s counts no tokens, so that it cannot be told whether it goes on with answers begun", self.name)
            if self._verdict[0] is False:
                raise BackendError(f"{self.name} closes an answer that was begun and opens another.", hint=_CONTINUE)

    def _counted(self, fields: Mapping[str, Any], *, cancellation: threading.Event) -> int:
        """How many prompt tokens the server counts; 0 where it does not say."""
        body = {"model": self.model, **fields, "max_tokens": 1, "temperature": 0.0}
        reply = post(self._client, self._url, body, self._retry_policy, cancellation)
        return self._read(reply, partial(wire.cost, seconds=0.0)).prompt_tokens

    def _read(self, reply: Any, reader: Callable[[Any], T]) -> T:
        try:
            return reader(reply)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            beginning = str(reply)[:80]
            raise BackendError(f"{self._url} answers with something that is no chat completion: {beginning!r}", hint=_FORM) from error

    def _unseen(self, choices: Sequence[str], tokens: Mapping[str, float]) -> BackendError:
        likeliest = sorted(tokens, key=lambda token: -tokens[token])[:5]
        names = " or ".join(map(repr, choices))
        message = f"none of the {len(tokens)} likeliest first tokens is {names}; they begin with {', '.join(map(repr, likeliest))}"
        return BackendError(
            f"{self.name}: {message}.", hint="A choice must be one token, and the prompt must ask for it; or use local/PATH."
        )

    def _error(self, refusal: RequestRefused) -> BackendError:
        """What the server's refusal means for the user. The key is cut out where a server repeats it."""
        message = refusal.message.text.replace(self._key, "***") if self._key else refusal.message.text
        hint = _hint(refusal, self._url)
        return BackendError(f"{self._url} ({self.model}) says {refusal.status}: {message}", retryable=refusal.retryable, hint=hint)


def _hint(refusal: RequestRefused, url: str) -> str:
    message = refusal.message.text.lower()
    if refusal.status in (401, 403):
        return "Pass the server's key: api_key=... in Python, MMRERANK_API_KEY on the command line."
    if refusal.status in (404, 405, 501):
        models = f"{url.removesuffix('chat/completions')}models"
        return f"{models} lists what the server has. Where that is not there either, it is no chat server. {_FORM}"
    if refusal.status in (400, 422) and any(word in message for word in ("continue_final_message", "add_generation_prompt")):
        return _CONTINUE
    if 300 <= refusal.status < 400:
        return "Redirects are not followed, since pictures would go along; name the address it leads to."
    if refusal.status in (400, 422) and "logprob" in message:
        return f"Some servers allow fewer: chat_http/URL#MODEL(top_logprobs=5). {_NO_LOGPROBS}"
    return "The server stayed overloaded or failing through all retries." if refusal.retryable else ""


def build(options: Options, api_key: str | None = None) -> ChatHttp:
    return ChatHttp(options, api_key)


def tiny() -> ChatHttp:
    """A test double: the same code before a server that is a function in this process; its answers follow from a hash and mean nothing."""
    from mmrerank.backends._fake_chat_server import answer

    return ChatHttp(Options(server="http://double.invalid#double"), transport=httpx.MockTransport(answer))
