"""Records that cross the borders between stations; what a station must offer stands in `protocols`.

Records are frozen, slotted and keyword-only; numpy arrays live inside them and are never changed by a reader.
Conventions: rows are queries; positions count from 0, ranks and pages from 1; sizes are (height, width) in pixels;
a higher score is better; ids are non-empty strings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.handles import ImageHandle as ImageHandle
from mmrerank.handles import LazyPicture as LazyPicture
from mmrerank.handles import check_handles
from mmrerank.parts import WrappingPart as WrappingPart
from mmrerank.parts import as_tuple
from mmrerank.texts import clean, is_blank, is_clean, printable

if TYPE_CHECKING:
    from PIL.Image import Image

Array: TypeAlias = npt.NDArray[np.float32]
Keys: TypeAlias = npt.NDArray[np.int64]
Modality: TypeAlias = Literal["image", "text"]
Status: TypeAlias = Literal["ok", "completed", "repaired", "fallback"]
EncodedPart: TypeAlias = "str | Image"  # of what an encoder makes one row of: a text, or an RGB picture
Part: TypeAlias = "str | Image | LazyPicture"  # of a message: a text, or an RGB picture, which may not be opened yet


def _check_numbers(what: str, values: Any) -> None:
    """InputError unless these are finite numbers in a row."""
    if not isinstance(values, tuple | list):
        raise InputError(f"{what} come in a tuple; got {type(values).__name__}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise InputError(f"{what} are finite numbers; got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What can be found: a picture, or a page of a document."""

    item_id: str
    document_id: str | None = None
    page_number: int | None = None  # from 1
    image: ImageHandle | None = None
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.item_id, str) or not self.item_id:
            raise InputError(f"an item needs a non-empty item_id; got {self.item_id!r}")
        if not isinstance(self.text, str | None):
            raise InputError(f"the text of item {self.item_id!r} is a text or None; got {type(self.text).__name__}")
        if self.page_number is not None and (isinstance(self.page_number, bool) or not isinstance(self.page_number, Integral)):
            raise InputError(f"the page_number of item {self.item_id!r} is a whole number or None; got {self.page_number!r}")
        if not isinstance(self.metadata, Mapping):
            raise InputError(f"the metadata of item {self.item_id!r} is a mapping; got {type(self.metadata).__name__}")
        for name in (self.item_id, self.document_id or ""):
            if not is_clean(name):
                hint = "Ids are text of whole characters; halves of surrogate pairs, as Python shows bytes that are no UTF-8, are none."
                raise InputError(f"the id {printable(name)!r} of an item is not text", hint=hint)
        if self.text and not is_clean(self.text):
            object.__setattr__(self, "text", clean(self.text))
        if self.image is not None:
            check_handles(f"item {self.item_id!r}", (self.image,))


QueryPart: TypeAlias = Literal["text", "picture", "excluded text", "excluded picture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked: any mix of text and pictures, with exclusions and a filter."""

    query_id: str = "query"
    text: str | None = None
    images: tuple[ImageHandle, ...] = ()
    exclude_text: tuple[str, ...] = ()
    exclude_images: tuple[ImageHandle, ...] = ()
    weights: tuple[float, ...] = ()  # one per image; empty: all equal
    filter: str | None = None  # SQL over the fields of the items
    instruction: str | None = None  # the task in a sentence, for models that take one; in place of what the reranker was made with

    def __post_init__(self) -> None:
        if not isinstance(self.query_id, str) or not self.query_id:
            raise InputError(f"a query needs a non-empty query_id; got {self.query_id!r}")
        object.__setattr__(self, "exclude_text", as_tuple(self.exclude_text))  # a text alone is one text, not its letters
        texts = (*(() if self.text is None else (self.text,)), *self.exclude_text)
        if strangers := [text for text in texts if not isinstance(text, str)]:
            raise InputError(f"text and exclude_text of query {self.query_id!r} are texts; got {type(strangers[0]).__name__}")
        texts = tuple(clean(text) for text in self.exclude_text if not is_blank(text))
        object.__setattr__(self, "exclude_text", texts)  # blank is empty, and half a character is none
        object.__setattr__(self, "text", None if self.text is None or is_blank(self.text) else clean(self.text))
        if not isinstance(self.instruction, str | None):
            raise InputError(f"the instruction of query {self.query_id!r} is a text; got {type(self.instruction).__name__}")
        sentence = None if self.instruction is None or is_blank(self.instruction) else clean(self.instruction)
        object.__setattr__(self, "instruction", sentence)
        for pictures in (self.images, self.exclude_images):
            check_handles(f"query {self.query_id!r}", pictures)
        if not isinstance(self.filter, str | None):
            raise InputError(f"the filter of query {self.query_id!r} is SQL as a text; got {type(self.filter).__name__}")
        _check_numbers(f"the weights of query {self.query_id!r}", self.weights)
        if not self.text and not self.images:
            raise InputError(f"query {self.query_id!r} has neither text nor a picture", hint="Exclusions alone do not say what to find.")
        if self.weights and len(self.weights) != len(self.images):
            raise InputError(f"query {self.query_id!r} has {len(self.images)} pictures and {len(self.weights)} weights")

    def left_aside(self, *uses: QueryPart) -> tuple[str, ...]:
        """What a method has to say that uses these parts of a query and no others; nothing where the query has no others.

        >>> Query(text="a door", exclude_text=("red", "open")).left_aside("text")
        ('left aside, since this method does not use it: 2 excluded texts',)
        """
        parts: dict[QueryPart, tuple[Any, ...]] = {
            "text": (self.text,) if self.text else (),
            "picture": self.images,
            "excluded text": self.exclude_text,
            "excluded picture": self.exclude_images,
        }
        rest = [f"{len(values)} {part}{'s' * (len(values) > 1)}" for part, values in parts.items() if values and part not in uses]
        return (f"left aside, since this method does not use it: {', '.join(rest)}",) if rest else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An item up for reranking; `score` is None where a method gives an order only."""

    item: Item
    score: float | None = None
    raw_score: float | None = None  # as the method computes it, on its own scale
    calibrated_score: float | None = None  # a probability of relevance, where a calibration was fitted

    def __post_init__(self) -> None:
        if not isinstance(self.item, Item):
            raise InputError(f"a candidate holds an Item; got {type(self.item).__name__}")
        for score in (self.score, self.raw_score, self.calibrated_score):
            if isinstance(score, bool) or not isinstance(score, Real | None):
                raise InputError(f"a score of candidate {self.item.item_id!r} is a number or None; got {score!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What asking an MLLM took. Answers from the cache are counted apart and cost nothing else."""

    calls: int = 0  # prompts that a model answered
    cached: int = 0  # prompts that the cache answered
    prompt_tokens: int = 0  # pictures included
    image_tokens: int = 0  # of these, those of pictures; 0 where the server does not say
    reused_tokens: int = 0  # of the prompt's, those whose keys and values were at hand, so that the model did not run over them
    generated_tokens: int = 0
    seconds: float = 0.0  # of model work, summed over calls that ran side by side

    @property
    def tokens(self) -> int:
        """Those of prompts and answers together."""
        return self.prompt_tokens + self.generated_tokens

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in Cost.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedPicture:
    """A picture worth a look, such as the grid that a model was shown. It says nothing of the ranking that the rest does not."""

    name: str  # tells it apart among the pictures of one ranking
    picture: Image = field(repr=False)  # RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an item stands where it stands, where a method has more to say than fits its reason."""

    reasoning: str = ""  # what the model says of it, in its own words
    scores: Mapping[str, float] = field(default_factory=dict)  # by name: what its score is made of, such as criteria
    steps: tuple[str, ...] = ()  # what happened to it, in order, such as the windows in which it rose


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What a stage has to say of its ranking: repairs, reasons, cost, pictures worth a look."""

    status: Status = "ok"
    messages: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)  # item_id -> why it stands where it stands
    irrelevant: frozenset[str] = frozenset()  # item_ids that the method holds to be no answer; they keep their place
    cost: Cost = Cost()
    pictures: tuple[NotedPicture, ...] = field(default=(), compare=False, repr=False)  # not kept where rankings of many queries are
    explanations: Mapping[str, Explanation] = field(default_factory=dict, repr=False)  # item_id -> more than its reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The candidates of one query, best first, without repeats. The position in the tuple is the order."""

    query_id: str
    candidates: tuple[Candidate, ...]
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        if not isinstance(self.candidates, tuple | list):
            raise InputError(f"the candidates of {self.query_id!r} come in a tuple; got {type(self.candidates).__name__}")
        if strangers := [one for one in self.candidates if not isinstance(one, Candidate)]:
            raise InputError(f"the ranking of {self.query_id!r} holds Candidates; got {type(strangers[0]).__name__}")
        ids = self.item_ids
        if len(set(ids)) != len(ids):
            repeated = sorted({i for i in ids if ids.count(i) > 1})
            raise InputError(f"the ranking of {self.query_id!r} repeats {', '.join(repeated[:3])}")

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids of the candidates, best first."""
        return tuple(candidate.item.item_id for candidate in self.candidates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A page that an answer rests on."""

    item: Item
    score: float | None = None  # as the ranking gave it
    quote: str = ""  # the words of the page that carry the answer, where they are known


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the pages say to a question, or that they do not say it."""

    text: str
    citations: tuple[Citation, ...]
    found: bool = True  # False: not in these documents
    nearest: Citation | None = None  # the page that comes nearest where it is not found, if any does
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What an index finds for one query row: ids and cosine scores, best first, never padded."""

    ids: Keys  # (n,), n <= k
    scores: Array  # (n,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadItem:
    """An item as a reader delivers it, with the hash that tells whether it changed."""

    item: Item
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSource:
    """A file of ready vectors, or a table of them."""

    path: Path
    count: int
    dimension: int
    of_texts: bool = False  # its vectors are those of the items' texts, as its name says
    pictured: bool = False  # it says of its rows where their pictures are
    described_by: Path | None = None  # another file, in which the rows are described


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorRows:
    """Some rows of ready vectors as columns, for there may be millions."""

    keys: Sequence[str]
    problems: Mapping[int, str]  # place among these -> why the row is no item
    vectors: Array  # (n, dimension) unit rows; those with a problem mean nothing
    texts: Any  # Arrow array of texts, null where there is none
    metadata: Mapping[str, Any]  # field -> Arrow array of texts, whole numbers, fractions or truth values
    hashes: Sequence[str]  # which tell whether a row changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something a reader could not deliver. `path` is the item id it would have had."""

    path: str
    reason: str


Qrels: TypeAlias = Mapping[str, Mapping[str, int]]  # query_id -> item_id -> grade


class Markup(str):
    """A text of a prompt that may hold a model's control tokens, and is read with them.

    It is the method's own, never a user's: in any other text of a prompt a control token is read as the letters that it is written in.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation with an MLLM: texts and pictures in the order in which the model sees them.

    The last one may be the assistant's: an answer that was begun, which the model goes on with. A message of the role "raw" stands
    alone in its prompt and goes to the model as it is, without a chat template, for checkpoints that were trained so.
    """

    role: Literal["system", "user", "assistant", "raw", "query", "document"]  # the last two where the checkpoint's template takes them
    parts: tuple[Part, ...]


Prompt: TypeAlias = Sequence[Message]


def opened(prompt: Prompt) -> Prompt:
    """The prompt with all its pictures open; itself where they are.

    Raises:
        FormatError: a picture cannot be opened.
    """
    if not any(isinstance(part, LazyPicture) for message in prompt for part in message.parts):
        return prompt
    looks = [tuple(part.open() if isinstance(part, LazyPicture) else part for part in message.parts) for message in prompt]
    return tuple(replace(message, parts=parts) for message, parts in zip(prompt, looks, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How an answer is generated; everything that can change it."""

    max_tokens: int = 512
    temperature: float = 0.0  # 0 is greedy
    stop: tuple[str, ...] = ()  # the answer ends before the first of these
    seed: int = 0
    logprobs: bool = False  # whether the log-probability of each generated token is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One answer of an MLLM."""

    text: str  # without special tokens
    finished: Literal["stop", "length", "refused"] = "stop"  # refused: a server's content filter gave no answer
    logprobs: tuple[float, ...] | None = None  # of each generated token, where asked for and offered
    tokens: tuple[str, ...] | None = None  # the text of each, beside its log-probability; those of special tokens are ""
    cost: Cost = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceScores:
    """How likely each choice is as the beginning of each answer."""

    logprobs: Array  # (n_prompts, n_choices) natural log-probabilities; -inf where a server reports only the likeliest tokens
    cost: Cost = Cost()
    costs: tuple[Cost, ...] = ()  # of each prompt, where the backend tells them apart
    lengths: tuple[int, ...] = ()  # tokens of each choice, where the backend sees them


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What has to be fetched before a part can be made."""

    name: str  # of the part
    source: str  # where it comes from
    folder: str  # where it is kept
    mib: float | None = None  # how much it is, where that is known before


@dataclass(frozen=True, slots=True, kw_only=True)
class PageNames:
    """Which pages a text names: by number, by what is printed on them, or by their place from the end."""

    numbers: frozenset[int] = frozenset()  # in the document, from 1
    labels: frozenset[str] = frozenset()  # as printed, case folded: "7", "iv", "a-3"
    from_end: frozenset[int] = frozenset()  # 0 is the last page, 1 the one before
    document: str = ""  # the name of the document that was meant, case folded; "" where none is named
    alone: bool = False  # the text asks for nothing else

    def __bool__(self) -> bool:
        return bool(self.numbers or self.labels or self.from_end)

    def fit(self, item: Item) -> bool:
        """Whether an item is such a page, by its number or its printed label.

        >>> PageNames(labels=frozenset({"iv"})).fit(Item(item_id="a#page=4", page_number=4, metadata={"page_label": "IV"}))
        True
        """
        label = str(item.metadata.get("page_label", "")).casefold()
        return item.page_number is not None and (item.page_number in self.numbers or label in self.labels)
