"""What a query, a document or an input for descriptors may be, as other programs write it.

    "a text"                                                        everybody
    {"text"}, {"image"}, both                                       Jina, NVIDIA, DashScope
    {"content": [{"type": "text" | "image_url" | ..., ...}]}        chat parts: vLLM, Voyage (`image_base64`)
    {"type": "image", "format": "base64", "value": ...}             Elasticsearch's typed objects, alone or as a part
    {"id", "collection"}                                            ours: an item of a collection, with its picture and text

Source: the public documentation of those programs; their field names are facts, the reading is ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from mmrerank.service.schemas import DATA_URI, MOST_LETTERS, ItemId, Name, Text, Uri, plain
from mmrerank.service.settings import MOST_DOCUMENTS

Words: TypeAlias = Annotated[str, StringConstraints(max_length=MOST_LETTERS), AfterValidator(plain)]
TEXT, OBJECT, LIST = ("a text", "an object", "a list")  # how a union is told apart, left out where an error is told
MOST_PARTS = 64


class Url(BaseModel):
    url: Uri = Field(examples=[DATA_URI])


class Piece(BaseModel):
    """One part of a content: words or a picture."""

    @property
    def words(self) -> str:
        return ""

    @property
    def uri(self) -> str:
        return ""


class TextPart(Piece):
    type: Literal["text"]
    text: Words | None = None
    value: Words | None = Field(default=None, description="The same, as Elasticsearch writes it.")

    @model_validator(mode="after")
    def _has_words(self) -> TextPart:
        if self.text is None and self.value is None:
            raise ValueError('expected {"type": "text", "text": ...}')
        return self

    @property
    def words(self) -> str:
        return self.text or self.value or ""


class UrlPart(Piece):
    type: Literal["image_url"]
    image_url: Url | Uri = Field(description="As in chat messages, or the URL alone.")

    @property
    def uri(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


class InlinePart(Piece):
    type: Literal["image_base64"]
    image_base64: Uri = Field(description="As Voyage writes it: a data URI or bare base64.")

    @property
    def uri(self) -> str:
        return self.image_base64


class PicturePart(Piece):
    type: Literal["image"]
    image: Uri | None = None
    value: Uri | None = Field(default=None, description="The same, as Elasticsearch writes it.")

    @model_validator(mode="after")
    def _has_a_picture(self) -> PicturePart:
        if self.image is None and self.value is None:
            raise ValueError('expected {"type": "image", "value": "data:image/png;base64,..."}')
        return self

    @property
    def uri(self) -> str:
        return self.image or self.value or ""


Part: TypeAlias = Annotated[TextPart | UrlPart | InlinePart | PicturePart, Discriminator("type")]


class Content(BaseModel):
    """A text, a picture, both, parts as in chat messages, a typed value, or an item of a collection."""

    text: Words | None = None
    image: Uri | None = Field(default=None, description="A data URI or bare base64; a URL where the service allows its host.")
    content: Annotated[list[Part], Field(min_length=1, max_length=MOST_PARTS)] | None = None
    type: str | None = Field(default=None, max_length=40, description="Of `value`, or of a part that stands alone.", examples=["image"])
    format: str | None = Field(default=None, max_length=40, description="Of `value`: text, base64 or url.")
    value: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None, description="A text or a picture, by `type`, as Elasticsearch writes it."
    )
    image_url: Url | Uri | None = Field(default=None, description="A picture, as in chat messages.")
    image_base64: Uri | None = Field(default=None, description="A picture, as Voyage writes it.")
    id: ItemId | None = Field(default=None, description="An item of a collection of this service, with its picture and text.")
    collection: Name | None = Field(default=None, description="The collection of `id`, where the service has several.")

    @model_validator(mode="before")
    @classmethod
    def _is_one_part(cls, value: Any) -> Any:
        """A value's type has to be known before it is read: a picture in a text is refused."""
        if isinstance(value, dict) and isinstance(value.get("value"), str):
            kind = value.get("type")
            if kind not in ("text", "image"):
                raise ValueError(f'expected "type": "text" or "image" beside "value"; got {str(kind)[:40]!r}')
            if kind == "text":
                plain(value["value"])
        return value

    @model_validator(mode="after")
    def _has_something(self) -> Content:
        fields = (self.text, self.image, self.content, self.value, self.image_url, self.image_base64, self.id)
        if all(one is None for one in fields):
            raise ValueError('expected a text, or an object with "text", "image", "content" or "id"')
        return self

    @property
    def words(self) -> list[str]:
        """Its texts, in their order."""
        typed = self.value if self.type == "text" else None
        return [text for text in (self.text, typed, *(part.words for part in self.content or [])) if text]

    @property
    def uris(self) -> list[str]:
        """Its pictures, in their order."""
        linked = self.image_url.url if isinstance(self.image_url, Url) else self.image_url
        typed = self.value if self.type == "image" else None
        pictures = (self.image, typed, linked, self.image_base64, *(part.uri for part in self.content or []))
        return [uri for uri in pictures if uri]


def kind_of(value: Any) -> str:
    """Which member of a union a value is."""
    return TEXT if isinstance(value, str) else LIST if isinstance(value, list) else OBJECT if isinstance(value, (dict, Content)) else TEXT


Document: TypeAlias = Annotated[Annotated[Words, Tag(TEXT)] | Annotated[Content, Tag(OBJECT)], Discriminator(kind_of)]
QueryInput: TypeAlias = Annotated[Annotated[Text, Tag(TEXT)] | Annotated[Content, Tag(OBJECT)], Discriminator(kind_of)]
Documents: TypeAlias = Annotated[list[Document], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]
Texts: TypeAlias = Annotated[list[Words], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]
Listed: TypeAlias = Annotated[Documents, BeforeValidator(lambda value: value if isinstance(value, list) else [value])]
OneOrMany: TypeAlias = Annotated[
    Annotated[Documents, Tag(LIST)] | Annotated[Words, Tag(TEXT)] | Annotated[Content, Tag(OBJECT)], Discriminator(kind_of)
]


def echoed(document: str | Content) -> dict[str, Any]:
    """The document as replies give it back: text or picture as Jina, parts as vLLM."""
    if isinstance(document, str):
        return {"text": document}
    fields = document.model_dump(exclude_none=True)
    parts = fields.pop("content", None)
    if parts is None:
        return fields
    texts = [part.words for part in document.content or [] if part.words]
    pictures = [part for part in parts if part["type"] != "text"]
    return {**({"text": "\n".join(texts)} if texts else {}), **({"multi_modal": pictures} if pictures else {})}
