"""`/v1/embeddings`: descriptors of texts and pictures by the encoder of a collection, as OpenAI's, Jina's and infinity's clients ask."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from mmrerank.errors import InputError, UnknownName
from mmrerank.protocols import Encoder, QueryEncoder
from mmrerank.service import content
from mmrerank.service._failures import RESPONSES, NoSuchThing, RequestRefused
from mmrerank.service._models import DEFAULT
from mmrerank.service._searching import gone
from mmrerank.service._state import Service
from mmrerank.service._work import checkpoint
from mmrerank.service.content import Content
from mmrerank.service.dialects import Noting, Usage, unheeded
from mmrerank.service.schemas import DATA_URI, Name
from mmrerank.types import Array, ImageHandle

QUERIES = frozenset({"query", "search_query", "retrieval.query"})  # as NVIDIA and Voyage, Cohere, and Jina (`task`) write it


def _no_token_ids(value: Any) -> Any:
    """What came, unless it is numbers of tokens, of which only the model that they were made for knows what they mean."""
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise ValueError("expected texts; got token ids, which are those of another model (LangChain: check_embedding_ctx_length=False)")
    return value


class EmbeddingRequest(Noting):
    """A text, a picture, or a list of them."""

    model: Annotated[Name | None, Field(description="An encoder of a collection; the first when left out.", examples=["default"])] = None
    input: Annotated[content.OneOrMany, BeforeValidator(_no_token_ids)] = Field(
        examples=["red bicycle", ["a green car", {"image": DATA_URI}]]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, description="What the encoder has; nothing is cut.")
    input_type: str | None = Field(default=None, max_length=60, description="`query` for what is asked, where the encoder tells it apart.")
    task: str | None = Field(default=None, max_length=60, description="The same, as Jina's clients write it: `retrieval.query`.")
    modality: Literal["text", "image"] = Field(default="text", description="As infinity's clients: what the texts of `input` are.")

    @model_validator(mode="before")
    @classmethod
    def _reads_pictures(cls, value: Any) -> Any:
        """With `modality` image, texts of the input are pictures."""
        if isinstance(value, dict) and value.get("modality") == "image":
            values = value.get("input")
            many = values if isinstance(values, list) else [values]
            return {**value, "input": [{"image": one} if isinstance(one, str) else one for one in many]}
        return value

    @property
    def values(self) -> list[str | Content]:
        return self.input if isinstance(self.input, list) else [self.input]

    @property
    def of_query(self) -> bool:
        """Whether the input is what is asked, not what is found."""
        return self.input_type in QUERIES or self.task in QUERIES


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Position in the input, from 0.")
    embedding: list[float] | str = Field(description="Of unit length; as base64 of little-endian float32 where asked for.")


class EmbeddingNotes(BaseModel):
    notes: list[str]


class EmbeddingReply(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
    mmrerank: EmbeddingNotes


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter(tags=["embeddings"], responses=RESPONSES)

    @routes.post("/v1/embeddings")
    async def embeddings(request: Request, body: EmbeddingRequest) -> EmbeddingReply:
        """Descriptors of texts and pictures, those that a collection is searched by."""
        return await service.work.run(lambda: embedded(service, body), gone=lambda: gone(request))

    return routes


def embedded(service: Service, body: EmbeddingRequest) -> EmbeddingReply:
    """The reply to a request.

    Raises:
        RequestRefused: there are too many inputs, one is no text and no single picture, or the encoder has another dimension.
        NoSuchThing: there is no such encoder.
        InputError: the encoder does not take what came.
    """
    most = service.settings.limits.documents
    if len(body.values) > most:
        raise RequestRefused(400, f"at most {most} inputs at once; got {len(body.values)}", param="input")
    encoder = encoder_of(service, body.model)
    if body.dimensions not in (None, encoder.dimension):
        raise RequestRefused(400, f"{encoder.name!r} has {encoder.dimension} dimensions; got {body.dimensions}", param="dimensions")
    rows = _rows(encoder, [_value(service, value, n) for n, value in enumerate(body.values)], of_query=body.of_query)
    as_base64 = body.encoding_format == "base64"
    return EmbeddingReply(
        data=[Embedding(index=n, embedding=_packed(row) if as_base64 else row.tolist()) for n, row in enumerate(rows)],
        model=service.redact_paths(encoder.name),
        usage=Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        mmrerank=EmbeddingNotes(notes=unheeded(body.ignored)),
    )


def encoder_of(service: Service, name: str | None) -> Encoder:
    """The encoder of that name: of a collection, or the one that candidates are encoded with; None and `default`: the first.

    Raises:
        NoSuchThing: there is none of that name, or none at all.
    """
    encoders: dict[str, Encoder] = {}
    for collection in service.collections.names:
        if not service.collections.is_gone(collection):
            _, version = service.version(collection)
            encoders |= {service.redact_paths(one.name): one for one in version.encoders()}
    encoders |= {} if service.encoder is None else {service.redact_paths(service.encoder.name): service.encoder}
    if not encoders:
        raise NoSuchThing("no collection here has an encoder", hint="Index one with --encoder, or start with --encoder.", param="model")
    wanted = next(iter(encoders)) if name in (None, DEFAULT) else str(name)
    if wanted not in encoders:
        raise NoSuchThing(str(UnknownName.among("encoder", wanted, [DEFAULT, *encoders])), param="model")
    return encoders[wanted]


def _value(service: Service, value: str | Content, n: int) -> str | ImageHandle:
    where = f"input.{n}"
    words, uris = ([value], []) if isinstance(value, str) else (value.words, value.uris)
    if isinstance(value, Content) and value.id is not None:
        raise RequestRefused(400, f"{where}: the descriptors of indexed items are not given out here", param=where)
    if len(words) + len(uris) != 1 or not (uris or words[0].strip()):
        raise RequestRefused(400, f"{where}: expected one text or one picture", hint="Send each as an input.", param=where)
    return words[0] if words else service.pictures.handle(uris[0], where)


def _rows(encoder: Encoder, values: Sequence[str | ImageHandle], *, of_query: bool) -> Array:
    """(n, dimension) unit rows of texts and pictures, each kind in calls of its own."""
    rows = np.zeros((len(values), encoder.dimension), np.float32)
    texts = [n for n, value in enumerate(values) if isinstance(value, str)]
    pictures = [n for n, value in enumerate(values) if not isinstance(value, str)]
    for kind, places in (("text", texts), ("image", pictures)):
        if places and kind not in encoder.takes:
            raise InputError(
                f"{encoder.name!r} takes {' and '.join(sorted(encoder.takes))}; got {'a text' if kind == 'text' else 'a picture'}"
            )
    encode: Any = encoder.encode_queries if of_query and isinstance(encoder, QueryEncoder) else encoder.encode
    if texts:
        checkpoint()
        rows[texts] = encode([values[n] for n in texts])
    for n in pictures:  # opened one by one: each may be large
        checkpoint()
        value = values[n]
        rows[n] = encode([value if isinstance(value, str) else value.open()])[0]
    return rows


def _packed(row: Array) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
