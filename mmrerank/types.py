"""Records that cross the borders between stations, and the protocols of the stations.

Records are frozen, slotted and keyword-only; numpy arrays live inside them and are never changed by a reader.
Conventions: rows are queries; positions count from 0, ranks and pages from 1; sizes are (height, width) in pixels;
a higher score is better; ids are non-empty strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

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


@runtime_checkable
class Weighted(Protocol):
    """A part with weights of its own, and what tells them from others."""

    @property
    def weights_hash(self) -> str: ...


def weights_of(part: object) -> str:
    """The hash of the weights of an encoder or backend; "" where it has none of its own."""
    return str(part.weights_hash) if isinstance(part, Weighted) else ""


class Reader(Protocol):
    """Files -> items."""

    name: str
    suffixes: frozenset[str]  # lower case, with the dot

    def count(self, path: Path) -> int:
        """How many items the file holds, without decoding them. FormatError when it cannot be listed."""
        ...

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The items of one file, whose ids begin with `item_id`. A broken part is a Failure and the rest goes on;
        FormatError when the file as a whole cannot be read."""
        ...

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """The picture of one item again; `fragment` is what its id has beyond the file's: "", "#page=N" or "::KEY"."""
        ...


@runtime_checkable
class OneItemReader(Reader, Protocol):
    """A reader most of whose files are one item: those are not opened to be counted, and several are read side by side."""

    def is_one_item(self, path: Path) -> bool:
        """Whether the file is one item, whatever is in it."""
        ...


@runtime_checkable
class SelectiveReader(Reader, Protocol):
    """A reader that passes over some of its files where only their folder is named."""

    def passes_over(self, path: Path) -> str:
        """Why the file is left out of a folder, as a sentence that ends a note; "" where it is read."""
        ...


@runtime_checkable
class TextReader(Reader, Protocol):
    """A reader of files that can be searched by their text, without a picture encoder."""

    def has_texts(self, path: Path) -> bool:
        """Whether the items of this file, or those it begins with, have text to be searched by."""
        ...


@runtime_checkable
class HashedOptionsReader(Reader, Protocol):
    """A reader some of whose options leave the picture of an item as it is wherever they leave its content hash as it is."""

    hashed_options: frozenset[str]


@runtime_checkable
class PageReader(Reader, Protocol):
    """A reader of pages, whose text may be readable one day and whose place may depend on other files."""

    def outdated(self, note: str) -> bool:
        """Whether a page that got this note for its missing text would be read otherwise now."""
        ...


@runtime_checkable
class NeighbourReader(Reader, Protocol):
    """A reader for which the other files of a folder decide what page of which document a file is."""

    def place(self, path: Path, item_id: str) -> tuple[str | None, int | None]:
        """Document id and page number of the file now; (None, None) for one that is no page."""
        ...


class Encoder(Protocol):
    """Pictures and texts -> descriptors."""

    name: str
    dimension: int
    takes: frozenset[Modality]  # what it can encode
    reads: Modality  # what it encodes of an item

    def prepare(self, value: Image | str) -> Any:
        """The CPU work for one input (resize, normalise); safe in threads. `encode` accepts what it returns."""
        ...

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of pictures, of texts, or of what `prepare` made of them; one modality a call.
        Unit rows, or with `normalise=False` as long as the model leaves them."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """As much of an encoder as tells it from what is none."""

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array: ...


@runtime_checkable
class BatchedEncoder(Protocol):
    """An encoder that says how many values it takes at once."""

    batch_size: int


@runtime_checkable
class QueryEncoder(Protocol):
    """An encoder that tells what is asked from what is found."""

    def encode_queries(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) rows of what is asked."""
        ...


@runtime_checkable
class FusingEncoder(Protocol):
    """An encoder that makes one descriptor of pictures and texts together, in the order in which they stand."""

    reads_both: bool  # whether it encodes of an item its picture and its text together; else what `reads` says

    def prepare_fused(self, parts: Sequence[EncodedPart]) -> Any:
        """The CPU work for pictures and texts that are one value; safe in threads. `encode_fused` accepts what it returns."""
        ...

    def encode_fused(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) rows of what is searched; each value is pictures and texts, or what `prepare_fused` made of them."""
        ...

    def encode_fused_queries(
        self, values: Sequence[Sequence[EncodedPart]], *, instruction: str | None = None, normalise: bool = True
    ) -> Array:
        """(n, dimension) rows of what is asked.

        Args:
            instruction: what to look for, as a sentence; None: the encoder's own, "": none.
        """
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder of many vectors an item."""

    def encode_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) unit rows of each value."""
        ...

    def pooled(self, tokens: Sequence[Array], *, normalise: bool = True) -> Array:
        """(n, dimension) rows by which items are proposed."""
        ...


@runtime_checkable
class QueryTokenEncoder(TokenEncoder, Protocol):
    """An encoder of many vectors an item that makes others of the same text where it is asked, such as with a prompt of its own."""

    def encode_query_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) unit rows of what is asked."""
        ...


@runtime_checkable
class PassageEncoder(TokenEncoder, QueryEncoder, Protocol):
    """An encoder of many vectors an item and one a query, which the best of the item's answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What has to be fetched before a part can be made."""

    name: str  # of the part
    source: str  # where it comes from
    folder: str  # where it is kept
    mib: float | None = None  # how much it is, where that is known before


@runtime_checkable
class DownloadingFactory(Protocol):
    """What the module of a part declares that fetches weights."""

    def download(self, options: Any) -> Download | None:
        """What making the part with these options would fetch; None where all is on this machine. Reaches no network."""
        ...


class Index(Protocol):
    """Descriptors -> neighbours, by cosine."""

    name: str

    def __len__(self) -> int: ...

    @property
    def ids(self) -> Keys:
        """(n,) the ids it holds, ascending."""
        ...

    def add(self, ids: Keys, rows: Array) -> None:
        """Adds (n, dimension) unit rows under ids that it does not hold yet; the first call also trains where the kind needs it."""
        ...

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable."""
        ...

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """The k best of each of (n_queries, dimension) rows, among `allowed` only when it is given. Ties go by id."""
        ...

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...

    @property
    def needs_rebuild(self) -> bool:
        """Whether so much was added or removed since it was built that a rebuild pays."""
        ...


class EmbeddingSpace(Protocol):
    """One encoder of a collection with the index over its descriptors."""

    @property
    def encoder(self) -> Encoder: ...

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items nearest to a (dimension,) row, best first; the score is the exact cosine, ties go by item_id."""
        ...

    def rows(self, item_ids: Sequence[str]) -> Array:
        """(n, dimension) float32 descriptors of these items."""
        ...


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


@runtime_checkable
class PartialSpace(Protocol):
    """A space that says which items have no descriptor in it."""

    def missing(self, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why there is no row of some of these items, by id."""
        ...


class Corpus(Protocol):
    """What a retriever may ask of a collection."""

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        """The space of the named encoder, or of the first that takes these modalities.

        Raises:
            InputError: the collection has none.
        """
        ...

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items whose text matches best by BM25, best first; items that share no term are left out."""
        ...

    def idf(self, text: str) -> Mapping[str, float]:
        """The terms of a question with how rare each is among the texts of the collection, above 0; one that no text has too."""
        ...

    def pages(self, names: PageNames, k: int, *, filter: str | None = None) -> list[Item]:
        """Up to k pages of these names, whatever their words, document by document; what is printed on them before their number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusCapabilities:
    """What a collection has to search by."""

    has_text: bool
    encoders: tuple[Encoder, ...]

    def takes(self, *modalities: Modality) -> bool:
        """Whether one of its encoders takes all of these."""
        return any(encoder.takes >= frozenset(modalities) for encoder in self.encoders)


@runtime_checkable
class SelectiveRetriever(Protocol):
    """What the module of a retriever declares that does not work on every collection."""

    def works_on(self, corpus: CorpusCapabilities) -> bool:
        """Whether it can search there, with its default options."""
        ...


@runtime_checkable
class PointwiseReranker(Protocol):
    """A reranker that says whether a score depends on the query and its candidate alone."""

    pointwise: bool


@runtime_checkable
class InstructedReranker(Protocol):
    """A reranker that says whether it heeds the instruction of a query."""

    takes_instruction: bool


@runtime_checkable
class DeclaredView(Protocol):
    """What the module of a reranker declares: what it looks at of a candidate. One that declares nothing may look at all there is."""

    LOOKS_AT: frozenset[Modality]


class DescriptorSource(Protocol):
    """Descriptors for rerankers that work on them."""

    def of_query(self, query: Query) -> Array:
        """(D,) the row that the first stage searched with, or would."""
        ...

    def of_items(self, query: Query, item_ids: Sequence[str]) -> Array:
        """(n, D) float32 unit rows, in the space that the query's row is from."""
        ...


@runtime_checkable
class PartialDescriptors(Protocol):
    """A source of descriptors that some items may have none in. `of_items` is asked for the others."""

    def missing(self, query: Query, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why there is no row of some of these items, by id."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """Query -> first ranking."""

    name: str

    def retrieve(self, query: Query, k: int) -> Ranking: ...


@runtime_checkable
class RowRetriever(Retriever, Protocol):
    """A retriever that searches with one row in one encoder's space, and shows both."""

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row that `retrieve` searches with."""
        ...

    def space(self, query: Query) -> EmbeddingSpace:
        """Where it searches."""
        ...


@runtime_checkable
class CompositeRetriever(Protocol):
    """A retriever that merges the rankings of others."""

    parts: Sequence[Retriever]


@runtime_checkable
class StreamingAnswerer(Protocol):
    """An answerer that gives its words as they come."""

    def stream(self, query: Query, candidates: Sequence[Candidate], on_text: Callable[[str], None] | None) -> Answer: ...


@runtime_checkable
class Answerer(Protocol):
    """Ranked pages -> an answer that cites them, and no others."""

    name: str

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer: ...


@runtime_checkable
class Reranker(Protocol):
    """Candidates -> a permutation of them."""

    name: str

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking: ...


@runtime_checkable
class RerankerAround(Protocol):
    """A reranker that works through another one."""

    within: Reranker


def innermost(reranker: Reranker) -> Reranker:
    """The reranker that does the work: the part itself, or the one within all that stand around it."""
    while isinstance(reranker, RerankerAround):
        reranker = reranker.within
    return reranker
