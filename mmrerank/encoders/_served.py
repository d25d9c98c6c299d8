"""Vectors from a server: vLLM's, or another that speaks OpenAI's embeddings with `messages` in place of `input`.

    POST BASE/embeddings                        {"model", "messages", "encoding_format"} -> data[0].embedding
    POST ROOT/pooling   (BASE without /v1)      the same and "task": "token_embed"       -> data[0].data, a vector for each token

Source: vLLM's protocol files (`entrypoints/pooling/*/protocol.py`, November 2026). One request a value, at most `concurrency` at once over
all threads. The server renders the chat template; what its prompt ends with is `generation_prompt`, off where nothing is said, as there.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
import numpy as np

from mmrerank.encoders._fused_values import plain
from mmrerank.encoders._server_keys import key_of
from mmrerank.errors import BackendError, InputError
from mmrerank.types import Array, EncodedPart
from mmrerank.wire.data_uris import data_uri
from mmrerank.wire.retries import RequestRefused, RetryPolicy, post
from mmrerank.wire.servers import address, client_of
from mmrerank.wire.side_by_side import close, replies_of_each

Messages: TypeAlias = list[dict[str, Any]]
EMBEDDINGS, POOLING = "/embeddings", "/pooling"
_NO_SERVER = "Is it a server of embeddings (vLLM: --runner pooling), and does it take messages?"


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How a server is asked."""

    timeout_s: float
    retries: int
    backoff_s: float
    concurrency: int
    generation_prompt: bool

    @classmethod
    def of(cls, options: Any) -> ServerOptions:
        """Those among the options of a part."""
        return cls(**{field.name: getattr(options, field.name) for field in dataclasses.fields(cls)})


def opened(options: Any, part: str, api_key: str | None, transport: httpx.BaseTransport | None) -> tuple[EmbeddingServer, Any]:
    """The server that the options of a part name, and the options with its name as it is printed.

    Raises:
        InputError: they say what only a checkpoint on this machine takes.
    """
    if options.revision is not None or options.remote_code:
        raise InputError("revision and remote_code are for checkpoints on this machine; a server has loaded its own")
    server = EmbeddingServer(options.checkpoint, ServerOptions.of(options), part=part, api_key=api_key, transport=transport)
    return server, dataclasses.replace(options, checkpoint=server.name)


def is_server(checkpoint: str) -> bool:
    """Whether a checkpoint's name is the address of a server.

    >>> is_server("http://localhost:8000/v1#m"), is_server("organisation/name")
    (True, False)
    """
    return checkpoint.lower().startswith(("http://", "https://"))


def messages_of(parts: Sequence[EncodedPart], instruction: str | None) -> Messages:
    """One value as a conversation: the instruction as the system's turn where there is one, then pictures and texts in their order."""
    content = [
        {"type": "text", "text": plain(part)} if isinstance(part, str) else {"type": "image_url", "image_url": {"url": data_uri(part)}}
        for part in parts
    ]
    system = [{"role": "system", "content": [{"type": "text", "text": instruction}]}] if instruction else []
    return [*system, {"role": "user", "content": content}]


class EmbeddingServer:
    """A served model. Safe in threads."""

    def __init__(
        self, server: str, options: ServerOptions, *, part: str, api_key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        form = f"Expected {part}/URL#MODEL, such as {part}/http://localhost:8000/v1#organisation/name."
        self.base, self.model = address(server, form=form, endpoint=EMBEDDINGS)
        self._key = (api_key or "").strip() or key_of(self.base)
        self._options = options
        self._client = client_of(self.base, self._key, timeout_s=options.timeout_s, connections=options.concurrency, transport=transport)
        self._pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix=part)
        self._policy = RetryPolicy(retries=options.retries, backoff_s=options.backoff_s)
        self.close = weakref.finalize(self, close, self._client, self._pool)

    @property
    def name(self) -> str:
        """`URL#MODEL`, without what does not tell two servers apart."""
        return f"{self.base}#{self.model}"

    def vectors(self, values: Sequence[Messages]) -> list[Array]:
        """The (dimension,) float32 vector of each value.

        Raises:
            BackendError: the server cannot be reached, refuses, or answers with something else.
        """
        return self._each(f"{self.base}{EMBEDDINGS}", {}, lambda reply: _array(_only(reply)["embedding"], axes=1), values)

    def token_vectors(self, values: Sequence[Messages]) -> list[Array]:
        """The (n_tokens, dimension) float32 vectors of each value; errors as in `vectors`."""
        url = f"{self.base.removesuffix('/v1')}{POOLING}"
        return self._each(url, {"task": "token_embed"}, lambda reply: _array(_only(reply)["data"], axes=2), values)

    def _each(self, url: str, fields: Mapping[str, Any], read: Callable[[Any], Array], values: Sequence[Messages]) -> list[Array]:
        """What the server makes of each value."""

        def ask(messages: Messages, cancellation: threading.Event) -> Array:
            more = {"add_generation_prompt": True} if self._options.generation_prompt else {}
            body = {"model": self.model, "messages": messages, "encoding_format": "float", **fields, **more}
            return self._read(url, self._reply(url, body, cancellation), read)

        return replies_of_each(self._pool, ask, values)

    def _reply(self, url: str, body: Mapping[str, Any], cancellation: threading.Event) -> Any:
        try:
            return post(self._client, url, body, self._policy, cancellation)
        except RequestRefused as refusal:
            text = refusal.message.text.replace(self._key, "***") if self._key else refusal.message.text
            message = f"{url} ({self.model}) says {refusal.status}: {text}"
            raise BackendError(message, retryable=refusal.retryable, hint=_hint(refusal.status)) from refusal

    def _read(self, url: str, reply: Any, read: Callable[[Any], Array]) -> Array:
        try:
            return read(reply)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BackendError(f"{url} answers with something that is no vector: {str(reply)[:80]!r}", hint=_NO_SERVER) from error


def _hint(status: int) -> str:
    if status in (401, 403):
        return (
            "Pass the server's key: use_server_keys({ADDRESS: KEY}) in Python, MMRERANK_EMBEDDING_KEYS='ADDRESS KEY' on the command line."
        )
    return _NO_SERVER if status in (400, 404, 405, 422, 501) else ""


def _only(reply: Any) -> Any:
    (entry,) = reply["data"]
    return entry


def _array(numbers: Any, *, axes: int) -> Array:
    """Finite float32 numbers, or a ValueError."""
    array: Array = np.asarray(numbers, dtype=np.float32)
    if array.ndim != axes or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected {axes} axes of finite numbers; got shape {array.shape}")
    return array
