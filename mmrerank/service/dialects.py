"""Rerank requests and replies as other programs write them. Their fields are facts of those programs; ours stand under `mmrerank`.

    /v2/rerank   Cohere       documents: texts
    /v1/rerank   Jina, vLLM   documents: texts, {"text"}, {"image"}, both, {"content": [parts]}, or {"id"} of an indexed item
    /rerank      TEI where `texts` is present: a bare array comes back; infinity otherwise

Fields that such clients send and that mean nothing here (truncation, priorities, activation) are taken and left aside.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from mmrerank.relevance import Scale
from mmrerank.service.schemas import DATA_URI, ItemId, Name, Strict, Text, Uri, plain

Document: TypeAlias = Annotated[str, StringConstraints(max_length=1_000_000)]
Count: TypeAlias = Annotated[int | None, Field(ge=0, description="How many results come back; all when left out or 0.")]


class Url(BaseModel):
    url: Uri = Field(examples=[DATA_URI])


class TextPart(BaseModel):
    type: Literal["text"]
    text: Document

    _plain = field_validator("text")(plain)


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: Url


Part: TypeAlias = Annotated[TextPart | ImagePart, Discriminator("type")]


class Content(BaseModel):
    """A text, a picture, both, parts as in chat messages, or an item of a collection."""

    text: Document | None = None
    image: Uri | None = Field(default=None, description="A data URI or bare base64; a URL where the service allows its host.")
    content: list[Part] | None = Field(default=None, min_length=1, max_length=64)
    id: ItemId | None = Field(default=None, description="An item of a collection of this service, with its picture and text.")
    collection: Name | None = Field(default=None, description="The collection of `id`, where the service has several.")

    _plain = field_validator("text")(plain)

    @model_validator(mode="after")
    def _has_something(self) -> Content:
        if self.text is None and self.image is None and self.content is None and self.id is None:
            raise ValueError('expected a text, or an object with "text", "image", "content" or "id"')
        return self


class Ours(Strict):
    """What these dialects have no field for."""

    exclude_text: list[Text] = Field(default=[], max_length=16, description="What must not be there.")
    exclude_images: list[Uri] = Field(default=[], max_length=16, description="Pictures it must not be like.")
    explain: bool = Field(default=True, description="Whether each result says why it stands where it stands.")


def _one_or_many(value: Any) -> Any:
    """A single document where a list is meant: newer servers take it for one document, parts and all."""
    return [value] if isinstance(value, str | dict) else value


class CohereRequest(BaseModel):
    """Cohere's v2 rerank."""

    model: Name | None = Field(default=None, description="A reranker of this service, or `default`.", examples=["default"])
    query: Text = Field(examples=["red bicycle"])
    documents: list[Document | Content] = Field(min_length=1, examples=[["a green car", "a red bicycle at a wall"]])
    top_n: Count = None
    return_documents: bool = Field(default=False, description="As in Cohere's v1.")
    mmrerank: Ours = Ours()

    _plain = field_validator("query")(plain)

    @field_validator("documents")
    @classmethod
    def _documents_plain(cls, documents: list[str | Content]) -> list[str | Content]:
        return [_plain(document) for document in documents]


class JinaRequest(BaseModel):
    """Jina's rerank, and vLLM's with pictures."""

    model: Name | None = Field(default=None, description="A reranker of this service, or `default`.", examples=["default"])
    query: Text | Content = Field(examples=["invoice total", {"text": "the same bag in blue", "image": DATA_URI}])
    documents: Annotated[list[Document | Content], Field(min_length=1)] = Field(
        examples=[["page two", {"text": "page three"}, {"image": DATA_URI}]]
    )
    top_n: Count = None
    return_documents: bool = True
    mmrerank: Ours = Ours()

    @field_validator("documents", mode="before")
    @classmethod
    def _several(cls, documents: Any) -> Any:
        return _one_or_many(documents)

    @field_validator("query", "documents")
    @classmethod
    def _all_plain(cls, given: Any) -> Any:
        return [_plain(one) for one in given] if isinstance(given, list) else _plain(given)


class TeiRequest(BaseModel):
    """The rerank of text-embeddings-inference."""

    query: Text = Field(examples=["red bicycle"])
    texts: list[Document] = Field(min_length=1, examples=[["a green car", "a red bicycle at a wall"]])
    raw_scores: bool = Field(default=False, description="Scores on the scale of the method.")
    return_text: bool = False

    _plain = field_validator("query")(plain)

    @field_validator("texts")
    @classmethod
    def _texts_plain(cls, texts: list[str]) -> list[str]:
        return [str(plain(text)) for text in texts]


class InfinityRequest(BaseModel):
    """infinity's rerank."""

    model: Name | None = Field(default=None, description="A reranker of this service, or `default`.", examples=["default"])
    query: Text = Field(examples=["red bicycle"])
    documents: list[Document] = Field(min_length=1, examples=[["a green car", "a red bicycle at a wall"]])
    top_n: Count = None
    return_documents: bool = False
    raw_scores: bool = Field(default=False, description="Scores on the scale of the method.")

    _plain = field_validator("query")(plain)

    @field_validator("documents")
    @classmethod
    def _documents_plain(cls, documents: list[str]) -> list[str]:
        return [str(plain(document)) for document in documents]


def _which(body: Any) -> str:
    texts = "texts" in body if isinstance(body, dict) else isinstance(body, TeiRequest)
    return "tei" if texts else "infinity"


BareRequest: TypeAlias = Annotated[Annotated[TeiRequest, Tag("tei")] | Annotated[InfinityRequest, Tag("infinity")], Discriminator(_which)]


def _plain(document: Any) -> Any:
    return plain(document) if isinstance(document, str) else document


class ResultNotes(BaseModel):
    """What these dialects have no field for, of one result."""

    raw_score: float | None = Field(description="As the method computes it, on its own scale.")
    calibrated_score: float | None
    explanation: str = Field(description="Why it stands where it stands.")
    irrelevant: bool = Field(description="Whether the method holds it to be no answer.")


class ReplyNotes(BaseModel):
    """What these dialects have no field for, of the whole reply."""

    method: str = Field(description="The reranker with the options that move its scores.")
    scale: Scale = Field(description="What relevance_score is: a calibrated score, the method's score, or 1 - place / n.")
    status: Literal["ok", "completed", "repaired", "fallback"] = Field(description="How much of the order was the model's.")
    notes: list[str]
    seconds: float
    calls: int = Field(description="Prompts that a model answered.")
    cached: int = Field(description="Prompts that were answered from the cache.")


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CohereResult(BaseModel):
    index: int = Field(description="Position among the documents of the request, from 0.")
    relevance_score: float = Field(ge=0, le=1)
    document: dict[str, Any] | None = None
    mmrerank: ResultNotes | None = None


class CohereReply(BaseModel):
    id: str
    results: list[CohereResult]
    meta: dict[str, Any]
    mmrerank: ReplyNotes


class JinaResult(BaseModel):
    index: int = Field(description="Position among the documents of the request, from 0.")
    relevance_score: float = Field(ge=0, le=1)
    document: dict[str, Any] | None = None
    mmrerank: ResultNotes | None = None


class JinaReply(BaseModel):
    id: str
    model: str
    results: list[JinaResult]
    usage: Usage
    mmrerank: ReplyNotes


class TeiResult(BaseModel):
    index: int
    score: float
    text: str | None = None


class InfinityResult(BaseModel):
    relevance_score: float
    index: int
    document: str | None = None


class InfinityReply(BaseModel):
    object: Literal["rerank"] = "rerank"
    id: str
    model: str
    created: int
    results: list[InfinityResult]
    usage: Usage


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["mmrerank"] = "mmrerank"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
