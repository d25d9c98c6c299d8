"""Requests and replies of `/v1/search`, `/v1/ask` and `/v1/collections`, and the envelope of errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

DATA_URI = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

MOST_LETTERS = 1_000_000  # of a document
ItemId: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Uri: TypeAlias = Annotated[str, StringConstraints(min_length=5)]  # as long as the body may be
Box: TypeAlias = tuple[float, float, float, float]


def plain(text: str) -> str:
    """The text, unless a picture was put in its place.

    Raises:
        ValueError: it is a data URI; says what a picture looks like here.
    """
    if text[:99].lstrip()[:11].lower() in ("data:image/", "data:applic"):
        raise ValueError(
            'this is a data URI in a text field; a picture is given as {"image": "data:image/png;base64,..."} or as '
            '{"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}]} in /v1/rerank, and in the '
            "list `images` in /v1/search"
        )
    return text


def not_blank(text: str) -> str:
    """The text.

    Raises:
        ValueError: it holds nothing to look for.
    """
    if not text.strip():
        raise ValueError("it is blank; expected words")
    return text


Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(plain), AfterValidator(not_blank)]


class Strict(BaseModel):
    """A request of ours: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_no_more_keys_than_fields(cls, value: Any) -> Any:
        """RequestRefused as a whole: otherwise every unknown key is told, and a body has room for millions."""
        if isinstance(value, dict) and len(value) > len(cls.model_fields):
            unknown = next(key for key in value if key not in cls.model_fields)
            raise ValueError(f"{len(value)} fields where {len(cls.model_fields)} are known; unknown is {str(unknown)[:80]!r}")
        return value


class ErrorDetail(BaseModel):
    message: str = Field(description="What was expected, what came, and what to do.")
    type: str = Field(description="The class of the error.", examples=["invalid_request_error"])
    param: str | None = Field(default=None, description="The field it is about.")
    code: str | None = Field(default=None, description="The name of the error.", examples=["InputError"])


class Error(BaseModel):
    """The envelope of every error, as OpenAI writes it; the message once more where other clients read it."""

    error: ErrorDetail
    message: str = Field(description="The message, where the clients of Cohere and DashScope look.")
    detail: str = Field(description="The message, where those of Jina, Voyage and NVIDIA look.")
    error_type: str = Field(description="The class, where those of text-embeddings-inference look.")
    code: str = Field(description="The name, where those of DashScope look.")
    request_id: str = Field(description="Of this reply.")


class ItemRef(Strict):
    """The picture of an item of the collection."""

    id: ItemId


Picture: TypeAlias = Annotated[
    Uri | ItemRef,
    Field(
        description='A data URI, a URL where the service allows its host, or {"id": ITEM} for the picture of an item.',
        examples=[DATA_URI, {"id": "cats/tabby.jpg"}],
    ),
]


class SearchRequest(Strict):
    """Any mix of text and pictures, with exclusions, a filter, and marks on items."""

    collection: Name | None = Field(default=None, description="May be left out where the service has one.", examples=["emoji"])
    text: Text | None = Field(
        default=None, description="What to find, or with pictures what should be different.", examples=["the same, but a man"]
    )
    images: list[Picture] = Field(default=[], max_length=16, description="Pictures to start from.")
    exclude_text: list[Text] = Field(default=[], max_length=16, description="What must not be there.", examples=[["helmet"]])
    exclude_images: list[Picture] = Field(default=[], max_length=16, description="Pictures it must not be like.")
    positive: list[ItemId] = Field(default=[], max_length=64, description="Items marked as good: more like these.")
    negative: list[ItemId] = Field(default=[], max_length=64, description="Items marked as bad: not like these, and none of these.")
    filter: Text | None = Field(default=None, description="SQL over the fields of the items.", examples=["page_number < 5"])
    k: int = Field(default=10, ge=1, strict=True, description="How many hits.")
    retriever: Name | None = Field(default=None, description="First stage; chosen by what is asked when left out.", examples=["composed"])
    rerank: list[Name] = Field(default=[], max_length=4, description="Rerankers, one after the other.", examples=[["superglobal"]])
    depth: int | None = Field(default=None, ge=1, strict=True, description="How many candidates the rerankers see; 100 when left out.")


class Explanation(BaseModel):
    """What a method has to say of a hit beyond its reason."""

    reasoning: str = Field(description="The model's own words on it.")
    scores: dict[str, float] = Field(description="By name: what its score is made of, such as criteria.")
    steps: list[str] = Field(description="What happened to it, in order, such as the windows in which it rose.")


class Hit(BaseModel):
    rank: int
    item_id: str
    score: float | None = Field(description="Higher is better; null where a method gives an order only.")
    raw_score: float | None
    calibrated_score: float | None
    document_id: str | None
    page_number: int | None = Field(description="Of the document, from 1.")
    reason: str = Field(description="Why it stands where it stands.")
    explanation: Explanation | None = Field(default=None, description="More than the reason, where a reranker has more to say.")
    text: str | None = Field(description="The beginning of its text.")
    metadata: dict[str, Any]
    picture: str | None = Field(description="Where its picture is to be had.")
    thumbnail: str | None
    first_rank: int | None = Field(description="Its rank before the rerankers.")


class Placed(BaseModel):
    """One line of the first stage's order."""

    rank: int
    item_id: str
    score: float | None
    thumbnail: str | None


class Stage(BaseModel):
    """What one station did, and what it took."""

    name: str
    seconds: float
    calls: int = Field(description="Prompts that a model answered.")
    cached: int = Field(description="Prompts that were answered from the cache.")
    tokens: int
    reused_tokens: int = Field(
        default=0, description="Of these, the ones whose keys and values were at hand, so that the model did not run over them."
    )
    status: Literal["ok", "completed", "repaired", "fallback"] = Field(description="How much of the order was the model's.")
    notes: list[str]


class SearchResponse(BaseModel):
    query_id: str
    collection: str
    hits: list[Hit]
    stages: list[Stage]
    first_stage: list[Placed] = Field(description="The first k of the order before the rerankers; empty where none worked.")
    grids: list[str] = Field(description="Where the grids are to be had that a reranker showed its model.")


class AskRequest(Strict):
    """A question over the pages of a collection."""

    collection: Name | None = Field(default=None, description="May be left out where the service has one.", examples=["handbook"])
    question: Text = Field(examples=["What did the new tide gauge cost?"])
    k: int = Field(default=5, ge=1, strict=True, description="How many pages the answer is read from.")
    filter: Text | None = Field(default=None, description="SQL over the fields of the items.")
    rerank: list[Name] = Field(default=[], max_length=4, description="Rerankers, one after the other.")
    depth: int | None = Field(default=None, ge=1, strict=True, description="How many candidates the rerankers see.")
    answerer: Literal["extractive", "generative"] | None = Field(
        default=None, description="Quotes the best passage, or lets the model write; the model where there is one when left out."
    )
    stream: bool = Field(default=False, description="Words as they come, as server-sent events.")


class Citation(BaseModel):
    item_id: str
    document_id: str | None
    page_number: int | None
    score: float | None
    quote: str = Field(description="The words of the page that carry the answer, where they are known.")
    boxes: list[Box] = Field(description="Where the quote stands: left, top, right, bottom as shares of the page's width and height.")
    picture: str | None
    thumbnail: str | None


class AskResponse(BaseModel):
    answer: str
    found: bool = Field(description="False: not in these documents.")
    citations: list[Citation]
    nearest: Citation | None = Field(default=None, description="Where it is not found: the page that comes nearest, if any does.")
    hits: list[Hit] = Field(description="The pages that the answer was read from.")
    stages: list[Stage]


class CollectionInfo(BaseModel):
    name: str
    state: Literal["ready", "gone"] = Field(default="ready", description="Whether it can be searched; `gone`: its folder is not there.")
    items: int
    has_pages: bool = Field(description="Whether it holds pages of documents with text, to be asked questions.")
    encoders: list[str]
    takes: list[Literal["text", "image", "image+text"]] = Field(description="What a query may be made of.")
    retrievers: list[str] = Field(description="First stages that work here.")
    rerankers: list[str] = Field(description="Rerankers that work here.")
    fields: list[str] = Field(description="What a filter may speak of.")


class CollectionList(BaseModel):
    collections: list[CollectionInfo]
    answers_with: str | None = Field(description="The model that answers questions; null where the best passage is quoted.")
    models: list[str] = Field(description="Rerankers by the names that `model` takes in the rerank dialects.")
    default_model: str
    most_hits: int = Field(description="The largest `k` of a search.")


class Health(BaseModel):
    status: Literal["ok"]
    version: str
    requests: int = Field(description="Requests in work or waiting.")
    gone: list[str] = Field(description="Collections whose folders went away while they were served.")


class Info(BaseModel):
    """The description of text-embeddings-inference, of which clients read what they may send at once."""

    model_id: str = Field(description="The reranker that answers where no model is named.")
    model_sha: None = None
    model_dtype: str = Field(default="float32", description="Of the scores.")
    model_type: dict[str, Any] = Field(default={"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}})
    max_concurrent_requests: int
    max_input_length: int = Field(default=MOST_LETTERS, description="Letters of a text, and so tokens at most.")
    max_client_batch_size: int = Field(description="Documents of a request.")
    auto_truncate: bool = Field(default=False, description="Nothing is cut here.")
    tokenization_workers: int
    version: str


class SessionRequest(Strict):
    token: Name
