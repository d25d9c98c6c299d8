"""Rerank requests and replies as other programs write them. Their fields are facts of those programs; ours stand under `mmrerank`.

    /v2/rerank   Cohere       documents: texts
    /v1/rerank   Jina, vLLM   documents: texts, {"text"}, {"image"}, both, {"content": [parts]}, or {"id"} of an indexed item
    /rerank      as /v1/rerank
    /v1/ranking  NVIDIA       passages: {"text"}, {"image"} or both; scores on the scale of the method
    /v1/score    vLLM         one query against others, or as many pairs, in the fields that its versions have had

At /v1/rerank and /rerank, and at the paths of the others, a body says itself whose it is: TEI's has `texts`, and a bare array comes
back; NVIDIA's has `passages`; DashScope's an object as `input`; Elasticsearch's a list or a text as `input`; Voyage's has `top_k` or
`truncation`, and results stand under `data`; infinity's has `raw_scores` or the name that its client gives a model that it was not told.
Texts come back to the last two as texts. /infinity/rerank is infinity's whatever the body: litellm sends the same for it as for vLLM.

Fields that such clients send and that mean nothing here (truncation, priorities, activation) are taken, and the reply says that nothing
was done about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from mmrerank.ordering import Scale
from mmrerank.service import content
from mmrerank.service.content import Content, Documents, Listed, OneOrMany, QueryInput, Texts
from mmrerank.service.schemas import DATA_URI, Name, Strict, Text, Uri

Count: TypeAlias = Annotated[int | None, Field(ge=0, description="How many results come back; all when left out or 0.")]
ModelName: TypeAlias = Annotated[Name | None, Field(description="A reranker of this service, or `default`.", examples=["default"])]
TEI, INFINITY, VOYAGE, NVIDIA, DASHSCOPE, ELASTIC, JINA = (
    f"as {name}" for name in ("TEI", "infinity", "Voyage", "NVIDIA", "DashScope", "Elasticsearch", "Jina")
)
# how a union is told apart, left out where an error is told
TAGS = (content.TEXT, content.OBJECT, content.LIST, TEI, INFINITY, VOYAGE, NVIDIA, DASHSCOPE, ELASTIC, JINA)
MOST_IGNORED, MOST_LETTERS = 20, 600  # names of fields that a reply repeats, and their letters
UNTOLD_MODEL = "default/not-specified"  # what infinity's client sends where its user named no model


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
    """Takes fields that it does not know, and remembers which. What is null is left out: clients send so what their user did not name."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, value: Any) -> Any:
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(sorted(self.model_extra or {}))


def unheeded(ignored: Sequence[str]) -> list[str]:
    """What is said of fields that nothing is done about; nothing where there are none."""
    names = ", ".join(ignored[:MOST_IGNORED])[:MOST_LETTERS]
    return [f"nothing is done about: {names}"] if names else []


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
    query: QueryInput = Field(examples=["invoice total", {"text": "the same bag in blue", "image": DATA_URI}])
    documents: OneOrMany = Field(examples=[["page two", {"text": "page three"}, {"image": DATA_URI}]])
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


class TeiRequest(Noting):
    """The rerank of text-embeddings-inference, which serves one model and names none."""

    query: Text = Field(examples=["red bicycle"])
    texts: Texts = Field(examples=[["a green car", "a red bicycle at a wall"]])
    raw_scores: bool = Field(default=False, description="Scores on the scale of the method.")
    return_text: bool = False

    @property
    def wish(self) -> Wish:
        return Wish(model=None, query=self.query, documents=self.texts, ignored=self.ignored)


class InfinityRequest(Noting):
    """infinity's rerank."""

    model: ModelName = None
    query: Text = Field(examples=["red bicycle"])
    documents: Texts = Field(examples=[["a green car", "a red bicycle at a wall"]])
    top_n: Count = None
    return_documents: bool = False
    raw_scores: bool = Field(default=False, description="Scores on the scale of the method.")

    @property
    def wish(self) -> Wish:
        model = None if self.model == UNTOLD_MODEL else self.model
        return Wish(model=model, query=self.query, documents=self.documents, ignored=self.ignored)


class VoyageRequest(Noting):
    """Voyage's rerank."""

    model: ModelName = None
    query: QueryInput = Field(examples=["red bicycle"])
    documents: Documents = Field(examples=[["a green car", "a red bicycle at a wall"]])
    top_k: Count = None
    return_documents: bool = False

    @property
    def wish(self) -> Wish:
        return Wish(model=self.model, query=self.query, documents=self.documents, ignored=self.ignored)


class NvidiaRequest(Noting):
    """The ranking of NVIDIA's NIM, with texts and pictures."""

    model: ModelName = None
    query: QueryInput = Field(examples=[{"text": "red bicycle"}])
    passages: Documents = Field(examples=[[{"text": "a green car"}, {"text": "a red bicycle at a wall", "image": DATA_URI}]])

    @property
    def wish(self) -> Wish:
        return Wish(model=self.model, query=self.query, documents=self.passages, ignored=self.ignored)


class DashScopeInput(Noting):
    query: QueryInput = Field(examples=["red bicycle"])
    documents: Documents = Field(examples=[["a green car", "a red bicycle at a wall"]])


class DashScopeParameters(Noting):
    top_n: Count = None
    return_documents: bool = False


class DashScopeRequest(Noting):
    """DashScope's rerank: what is asked under `input`, how under `parameters`."""

    model: ModelName = None
    input: DashScopeInput
    parameters: DashScopeParameters = Field(default_factory=DashScopeParameters)

    @property
    def wish(self) -> Wish:
        below = {"input": self.input.ignored, "parameters": self.parameters.ignored}
        ignored = (*self.ignored, *(f"{name}.{one}" for name, names in below.items() for one in names))
        return Wish(model=self.model, query=self.input.query, documents=self.input.documents, ignored=ignored)


class ElasticRequest(Noting):
    """Elasticsearch's rerank, with typed objects for what is no text."""

    model: ModelName = None
    query: QueryInput = Field(examples=["red bicycle", {"type": "image", "format": "base64", "value": DATA_URI}])
    input: Listed = Field(examples=[["a green car", {"type": "image", "format": "base64", "value": DATA_URI}]])
    top_n: Count = None
    return_documents: bool = False

    @property
    def wish(self) -> Wish:
        return Wish(model=self.model, query=self.query, documents=self.input, ignored=self.ignored)


def _which(body: Any) -> str:
    """The dialect of a body, by the fields that its client alone sends."""
    if not isinstance(body, dict):
        return next((tag for kind, tag in KINDS.items() if isinstance(body, kind)), JINA)
    if "texts" in body or "passages" in body:
        return TEI if "texts" in body else NVIDIA
    if "input" in body and "documents" not in body:
        return DASHSCOPE if isinstance(body["input"], dict) and body["input"].keys() & {"query", "documents"} else ELASTIC
    if "top_k" in body or "truncation" in body:
        return VOYAGE
    return INFINITY if "raw_scores" in body or body.get("model") == UNTOLD_MODEL else JINA


KINDS: dict[type[BaseModel], str] = {
    TeiRequest: TEI,
    InfinityRequest: INFINITY,
    VoyageRequest: VOYAGE,
    NvidiaRequest: NVIDIA,
    DashScopeRequest: DASHSCOPE,
    ElasticRequest: ELASTIC,
}
AnyRequest: TypeAlias = Annotated[
    Annotated[TeiRequest, Tag(TEI)]
    | Annotated[InfinityRequest, Tag(INFINITY)]
    | Annotated[VoyageRequest, Tag(VOYAGE)]
    | Annotated[NvidiaRequest, Tag(NVIDIA)]
    | Annotated[DashScopeRequest, Tag(DASHSCOPE)]
    | Annotated[ElasticRequest, Tag(ELASTIC)]
    | Annotated[JinaRequest, Tag(JINA)],
    Discriminator(_which),
]


class ScoreRequest(Noting):
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
            return [Wish(model=self.model, query=self.queries[0], documents=self.documents, ignored=self.ignored)]
        pairs = zip(self.queries, self.documents, strict=True)
        return [Wish(model=self.model, query=query, documents=[document], ignored=self.ignored) for query, document in pairs]


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


class Tokens(BaseModel):
    """What a request took, in the words of Cohere and Xinference."""

    input_tokens: int
    output_tokens: int


class Place(BaseModel):
    """A result without its document."""

    index: int
    relevance_score: float


class JinaReply(BaseModel):
    id: str
    model: str
    results: list[Result]
    data: list[Place] = Field(description="The results once more, where Continue looks.")
    usage: Usage
    tokens: Tokens = Field(description="The usage once more, where RAGFlow's client of Xinference looks.")
    meta: dict[str, Any] = Field(description="The usage and the warnings once more, where the clients of Cohere's v1 look.")
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
    mmrerank: ReplyNotes


class VoyageResult(BaseModel):
    relevance_score: float
    index: int
    document: str | dict[str, Any] | None = None


class VoyageReply(BaseModel):
    object: Literal["list"] = "list"
    data: list[VoyageResult]
    model: str
    usage: Usage
    mmrerank: ReplyNotes


class Ranked(BaseModel):
    index: int
    logit: float = Field(description="On the scale of the method.")


class NvidiaReply(BaseModel):
    rankings: list[Ranked]
    usage: Usage
    mmrerank: ReplyNotes


class DashScopeResult(BaseModel):
    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class DashScopeOutput(BaseModel):
    results: list[DashScopeResult]


class DashScopeReply(BaseModel):
    output: DashScopeOutput
    usage: Usage
    request_id: str
    mmrerank: ReplyNotes


class ElasticResult(BaseModel):
    index: int
    relevance_score: float
    text: str | None = None


class ElasticReply(BaseModel):
    rerank: list[ElasticResult]
    mmrerank: ReplyNotes


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
    model_type: Literal["rerank"] = Field(default="rerank", description="As Xinference's clients ask.")
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["mmrerank"] = "mmrerank"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
