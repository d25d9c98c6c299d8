"""What each station must offer, and what it may declare beside that: runtime-checkable where somebody asks for it.

A part says itself what it needs and can; whoever uses it asks with `isinstance`, never by name. The records that go in
and out stand in `types`, with their conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmrerank.handles import ImageHandle
from mmrerank.types import (
    Answer,
    Array,
    Candidate,
    ChoiceScores,
    Decoding,
    Download,
    EncodedPart,
    Failure,
    Generated,
    Item,
    Keys,
    Modality,
    Neighbours,
    PageNames,
    Prompt,
    Query,
    Ranking,
    ReadItem,
    VectorRows,
    VectorSource,
)

if TYPE_CHECKING:
    from PIL.Image import Image


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
class LikelihoodBackend(Protocol):
    """A backend that tells what whole texts come to otherwise than by `choice_logprobs`, which it answers from first tokens."""

    def text_logprobs(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> ChoiceScores:
        """(n_prompts, n_texts) log-probabilities of all tokens of each text behind each prompt, with how many tokens each text is.

        Raises:
            BackendError: it does not tell them.
        """
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
class TrainableBackend(Backend, Protocol):
    """A backend whose network is in this process and may be changed in place: what is trained in it, the next answer comes from."""

    takes: frozenset[Modality]  # what it can be shown

    @property
    def network(self) -> Any:
        """A torch module of transformers."""
        ...

    @property
    def processor(self) -> Any:
        """The processor of what sees, else the tokenizer."""
        ...

    @property
    def origin(self) -> str:
        """The folder or name on the hub that holds these very weights; "" where an adapter was merged into them."""
        ...

    def inputs(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """One batch as the network takes it, padded on the left, on its device.

        Raises:
            InputError: the checkpoint cannot take a prompt.
        """
        ...

    def answer_tokens(self, text: str, prompt: Prompt) -> tuple[int, ...]:
        """The tokens of a text as the model would write it behind a prompt; those that `choice_logprobs` counts."""
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


@runtime_checkable
class VectorReader(Reader, Protocol):
    """A reader of ready vectors, which come by the column."""

    def vector_files(self, path: Path) -> tuple[Path, ...]:
        """The files of ready vectors at a path that is named, in order; none where something else is there."""
        ...

    def left_aside(self, path: Path) -> str:
        """What at that path is not taken, in a sentence; "" where that is nothing."""
        ...

    def source(self, path: Path) -> VectorSource:
        """What one of the files holds. FormatError where it cannot be read, `Mismatched` where it contradicts what describes it."""
        ...

    def rows(self, path: Path) -> Iterator[VectorRows]:
        """The rows of one file, some thousand at a time. FormatError where they cannot be read."""
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
class Prepares(Protocol):
    """An encoder with CPU work of its own for each input, as all have that ship; others encode what they are given."""

    def prepare(self, value: Image | str) -> Any: ...


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


class RowSearcher(Protocol):
    """What a search by descriptors asks: an index, or what stands in for one."""

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """As of `Index`."""
        ...


@runtime_checkable
class ScannedIndex(Protocol):
    """An index that is built from one scan, some thousand rows at a time, in any order: it never holds them all beside itself."""

    def sample_size(self, n_rows: int) -> int:
        """How many of `n_rows` rows, drawn at random, it is to be trained on."""
        ...

    def train(self, sample: Array, n_rows: int) -> None:
        """Drops what it holds, and makes ready for about `n_rows` rows like the (m, dimension) unit rows of the sample, at least one where
        `sample_size` asks for some."""
        ...

    def fill(self, batches: Iterable[tuple[Keys, Array]]) -> None:
        """Takes the rows of all batches, (n,) ids and (n, dimension) unit rows each; for an index that was trained just now."""
        ...


@runtime_checkable
class MappedIndex(Protocol):
    """An index that can be opened where its file lies: nothing is read before a search needs it, and processes share the pages."""

    def open(self, path: Path) -> None:
        """As `load`, but unchecked: of a file that was checked when it was saved, and has the size and the time that it had then."""
        ...


@runtime_checkable
class MeasuredIndex(RowSearcher, Protocol):
    """An index that may miss rows, and says how often it is meant to."""

    @property
    def promise(self) -> float:
        """The recall@10 that it is for, once its proposals are scored again on the rows; 1 for one that is exact."""
        ...

    def proposals(self, k: int) -> int:
        """How many rows to ask for so that the k best by exact cosine are among them as often as promised."""
        ...


@runtime_checkable
class WidenedIndex(MeasuredIndex, Protocol):
    """An index that finds more where it searches wider, for more time a query, without being built anew."""

    @property
    def widths(self) -> Sequence[int]:
        """How wide it may search, ascending; its own width comes first."""
        ...

    def widen(self, width: int) -> None:
        """Searches that wide from now on."""
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
