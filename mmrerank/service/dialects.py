"""Rerank requests and replies as other programs write them. Their fields are facts of those programs; ours stand under `mmrerank`.

    /v2/rerank   Cohere       documents: texts
    /v1/rerank   Jina, vLLM   documents: texts, {"text"}, {"image"}, both, {"content": [parts]}, or {"id"} of an indexed item
    /rerank      as /v1/rerank
    /v1/score    vLLM         one query against others, or as many pairs, in the fields that its versions have had

At /v1/rerank and /rerank a body says itself whose it is: TEI's has `texts`, and a bare array comes back; Voyage's has `top_k` or
`truncation`, and results stand under `data`; infinity's has `raw_scores` or the name that its client gives a model that it was not told.
Documents of the last two come back as texts.

Fields that such clients send and that mean nothing here (truncation, priorities, activation) are taken, and the reply says that nothing
was done about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from mmrerank.ordering import Scale
from mmrerank.service.schemas import DATA_URI, ItemId, Name, Strict, Text, Uri, plain
from mmrerank.service.settings import MOST_DOCUMENTS

Words: TypeAlias = Annotated[str, StringConstraints(max_length=1_000_000), AfterValidator(plain)]
Count: TypeAlias = Annotated[int | None, Field(ge=0, description="How many results come back; all when left out or 0.")]
ModelName: TypeAlias = Annotated[Name | None, Field(description="A reranker of this service, or `default`.", examples=["default"])]
# how a union is told apart, left out where an error is told
TEXT, OBJECT, LIST = ("a text", "an object", "a list")
TEI, INFINITY, VOYAGE, JINA = ("as TEI", "as infinity", "as Voyage", "as Jina")
TAGS = (TEXT, OBJECT, LIST, TEI, INFINITY, VOYAGE, JINA)
UNTOLD_MODEL = "default/not-specified"  # what infinity's client sends where its user named no model


class Url(BaseModel):
    url: Uri = Field(examples=[DATA_URI])


class TextPart(BaseModel):
    type: Literal["text"]
    text: Words


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: Url


class Content(BaseModel):
    """A text, a picture, both, parts as in chat messages, or an item of a collection."""

    text: Words | None = None
    image: Uri | None = Field(default=None, description="A data URI or bare base64; a URL where the service allows its host.")
    content: list[Annotated[TextPart | ImagePart, Discriminator("type")]] | None = Field(default=None, min_length=1, max_length=64)
    id: ItemId | None = Field(default=None, description="An item of a collection of this service, with its picture and text.")
    collection: Name | None = Field(default=None, description="The collection of `id`, where the service has several.")

    @model_validator(mode="after")
    def _has_something(self) -> Content:
        if self.text is None and self.image is None and self.content is None and self.id is None:
            raise ValueError('expected a text, or an object with "text", "image", "content" or "id"')
        return self


def _kind(value: Any) -> str:
    return TEXT if isinstance(value, str) else LIST if isinstance(value, list) else OBJECT if isinstance(value, (dict, Content)) else TEXT


Document: TypeAlias = Annotated[Annotated[Words, Tag(TEXT)] | Annotated[Content, Tag(OBJECT)], Discriminator(_kind)]
Documents: TypeAlias = Annotated[list[Document], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]
Texts: TypeAlias = Annotated[list[Words], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]


Listed: TypeAlias = Annotated[Documents, BeforeValidator(lambda value: value if isinstance(value, list) else [value])]


class Ours(Strict):
    """What these dialects have no field for."""

    exclude_text: list[Text] = Field(default=[], max_length=16, description="What must not be there.")
    exclude_images: list[Uri] = Field(default=[], max_length=16, description="Pictures it must not be like.")
    instruction: Text | None = Field(default=None, description="The task in a sentence, for rerankers that take one.")
    explain: bool = Field(default=True, description="Whether each result says why it stands where it stands.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request wants, whatever its dialect."""

    model: str | None
    query: str | Content
    documents: Sequence[str | Content]
    ours: Ours = field(default_factory=Ours)
    ignored: tuple[str, ...] = ()  # fields that were sent and that nothing is done about


class Noting(BaseModel):
    """Takes fields that it does not know, and remembers which."""

    model_config = ConfigDict(extra="allow")

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, value in (self.model_extra or {}).items() if value is not None))


class CohereRequest(Noting):
    """Cohere's v2 rerank."""

    model: ModelName = None
    query: Text = Field(examples=["red bicycle"])
    documents: Documents = Field(examples=[["a green car", "a red bicycle at a wall"]])
    top_n: int | None = Field(default=None, ge=1, description="How many results come back; all when left out.")
    return_documents: bool = Field(default=False, description="As in Cohere's v1.")
    mmrerank: Ours = Field(default_factory=Ours)

    @property
    def listed(self) -> list[str | Content]:
        """The documents."""
        return self.documents

    @property
    def wish(self) -> Wish:
        return Wish(model=self.model, query=self.query, documents=self.documents, ours=self.mmrerank, ignored=self.ignored)


class JinaRequest(Noting):
    """Jina's rerank, and vLLM's with pictures. A single document, in place of a list, is one document with all its parts."""

    model: ModelName = None
    query: Annotated[Annotated[Text, Tag(TEXT)] | Annotated[Content, Tag(OBJECT)], Discriminator(_kind)] = Field(
        examples=["invoice total", {"text": "the same bag in blue", "image": DATA_URI}]
    )
    documents: Annotated[
        Annotated[Documents, Tag(LIST)] | Annotated[Words, Tag(TEXT)] | Annotated[Content, Tag(OBJECT)],
        Discriminator(_kind),
    ] = Field(examples=[["page two", {"text": "page three"}, {"image": DATA_URI}]])
    top_n: Count = None
    return_documents: bool = True
    instruction: Text | None = Field(default=None, description="The task in a sentence, for rerankers that take one; as vLLM.")
    mmrerank: Ours = Field(default_factory=Ours)

    @property
    def listed(self) -> list[str | Content]:
        """The documents as a list."""
        return self.documents if isinstance(self.documents, list) else [self.documents]

    @property
    def wish(self) -> Wish:
        ours = self.mmrerank.model_copy(update={"instruction": self.instruction or self.mmrerank.instruction})
        return Wish(model=self.model, query=self.query, documents=self.listed, ours=ours, ignored=self.ignored)


class TeiRequest(BaseModel):
    """The rerank of text-embeddings-inference, which serves one model and names none."""

    query: Text = Field(examples=["red bicycle"])
    texts: Texts = Field(examples=[["a green car", "a red bicycle at a wall"]])
    raw_scores: bool = Field(default=False, description="Scores on the scale of the method.")
    return_text: bool = False

    @property
    def wish(self) -> Wish:
        return Wish(model=None, query=self.query, documents=self.texts)


class InfinityRequest(BaseModel):
    """infinity's rerank."""

    model: ModelName = None
    query: Text = Field(examples=["red bicycle"])
    documents: Texts = Field(examples=[["a green car", "a red bicycle at a wall"]])
    top_n: Count = None
    return_documents: bool = False
    raw_scores: bool = Field(default=False, description="Scores on the scale of the method.")

    @property
    def wish(self) -> Wish:
        return Wish(model=None if self.model == UNTOLD_MODEL else self.model, query=self.query, documents=self.documents)


class VoyageRequest(BaseModel):
    """Voyage's rerank."""

    model: ModelName = None
    query: Text = Field(examples=["red bicycle"])
    documents: Texts = Field(examples=[["a green car", "a red bicycle at a wall"]])
    top_k: Count = None
    return_documents: bool = False

    @property
    def wish(self) -> Wish:
        return Wish(model=self.model, query=self.query, documents=self.documents)


def _which(body: Any) -> str:
    """The dialect of a body, by the fields that its client alone sends."""
    if not isinstance(body, dict):
        kinds = {TeiRequest: TEI, InfinityRequest: INFINITY, VoyageRequest: VOYAGE}
        return next((tag for kind, tag in kinds.items() if isinstance(body, kind)), JINA)
    if "texts" in body:
        return TEI
    if "top_k" in body or "truncation" in body:
        return VOYAGE
    return INFINITY if "raw_scores" in body or body.get("model") == UNTOLD_MODEL else JINA


AnyRequest: TypeAlias = Annotated[
    Annotated[TeiRequest, Tag(TEI)]
    | Annotated[InfinityRequest, Tag(INFINITY)]
    | Annotated[VoyageRequest, Tag(VOYAGE)]
    | Annotated[JinaRequest, Tag(JINA)],
    Discriminator(_which),
]


class ScoreRequest(BaseModel):
    """vLLM's score: one query against many documents, or pairs."""

    model: ModelName = None
    queries: Listed = Field(validation_alias=AliasChoices("queries", "text_1", "data_1"), examples=["red bicycle"])
    documents: Listed = Field(validation_alias=AliasChoices("documents", "items", "text_2", "data_2"), examples=[["a car", "a bicycle"]])

    @model_validator(mode="after")
    def _pair_up(self) -> ScoreRequest:
        if len(self.queries) not in (1, len(self.documents)):
            raise ValueError(f"expected one query, or one a document; got {len(self.queries)} for {len(self.documents)} documents")
        return self

    @property
    def wishes(self) -> list[Wish]:
        """One for each query, with its documents."""
        if len(self.queries) == 1:
            return [Wish(model=self.model, query=self.queries[0], documents=self.documents)]
        pairs = zip(self.queries, self.documents, strict=True)
        return [Wish(model=self.model, query=query, documents=[document]) for query, document in pairs]


class ResultNotes(BaseModel):
    """What these dialects have no field for, of one result."""

    raw_score: float | None = Field(default=None, description="As the method computes it, on its own scale.")
    calibrated_score: float | None = Field(default=None, description="A probability of relevance, where a calibration was fitted.")
    explanation: str = Field(description="Why it stands where it stands.")
    irrelevant: bool = Field(description="Whether the method holds it to be no answer.")


class ReplyNotes(BaseModel):
    """What these dialects have no field for, of the whole reply."""

    method: str = Field(description="The reranker with the options that move its scores.")
    reranked: bool = Field(description="False where nothing was reranked; the documents then stand as they came, with the reason in notes.")
    scale: Scale = Field(description="What relevance_score is: a calibrated score, the method's score, 1 - place / n, or 0 for all.")
    status: Literal["ok", "completed", "repaired", "fallback"] = Field(description="How much of the order was the model's.")
    notes: list[str]
    seconds: float
    calls: int = Field(description="Prompts that a model answered.")
    cached: int = Field(description="Prompts that were answered from the cache.")


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Result(BaseModel):
    index: int = Field(description="Position among the documents of the request, from 0.")
    relevance_score: float = Field(ge=0, le=1)
    document: dict[str, Any] | None = None
    mmrerank: ResultNotes | None = None


class CohereReply(BaseModel):
    id: str
    results: list[Result]
    meta: dict[str, Any]
    mmrerank: ReplyNotes


class JinaReply(BaseModel):
    id: str
    model: str
    results: list[Result]
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


class VoyageResult(BaseModel):
    relevance_score: float
    index: int
    document: str | None = None


class VoyageReply(BaseModel):
    object: Literal["list"] = "list"
    data: list[VoyageResult]
    model: str
    usage: Usage


class Score(BaseModel):
    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreReply(BaseModel):
    object: Literal["list"] = "list"
    id: str
    created: int
    model: str
    data: list[Score]
    usage: Usage
    mmrerank: list[ReplyNotes] = Field(description="Of each query.")


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["mmrerank"] = "mmrerank"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
