"""Orders the head of a list by a chain of thought: what the query needs, which candidate meets it, and last the order.

    user: the query    user: [1] text    user: [2] text  ...  user: needs, matches, order     ### Final Reranking: [2] > [1] > [3]

Source: the second stage of DeAR (arXiv 2508.16998, code DataScienceUIBK/DeAR-Reranking at c31c739), by its notes. Read there: a turn for
each passage with the assistant's acknowledgement behind it, numbers from 1, 300 words a passage, the three steps, the closing line, windows
of 20 with step 10 over the first 30 of the pointwise stage, sampling at temperature 0.5 with up to 1,024 tokens. Ours: the sentences of the
prompt, greedy decoding, the parser of the house (digits of years and steps in the visible reasoning are no marks), windows that reach the
very top for every length (the released loop leaves it out unless the length fits), pictures, reference pictures and exclusions.

It is the second half of a cascade; each half has its own depth and model:

    --rerank "dear_pointwise/PATH(depth=100)" --rerank "dear_listwise(depth=30)/local/PATH"

Cost per query: one generation with its reasoning a window, ceil((n - window) / step) + 1 windows: two for 30 candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmrerank.parts import printed
from mmrerank.prompting.answers import read_order
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Exhibit, ModalityChoice
from mmrerank.prompting.listings import NOUN, content, marks, user
from mmrerank.prompting.queries import QUERY_PIECES, query_lines, query_parts
from mmrerank.prompting.reasoning import passages
from mmrerank.protocols import Backend
from mmrerank.rerankers._interview import Interview
from mmrerank.rerankers._listwise import Reply, check_windows, listwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend, turned
from mmrerank.types import Candidate, Message, Modality, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {
    **{"system": set(), "task": {"count"}, "agreed": set(), "page": {"mark"}, "received": {"mark"}},
    **{"again": {"count"}, "request": {"count", "form"}},
    **QUERY_PIECES,
}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    window: int = 20  # candidates a call
    step: int = 10  # shift between windows, from the last candidate to the first
    modality: ModalityChoice = "auto"  # how a candidate is shown; the paper shows text
    prompt: str = "dear_listwise"
    prompt_tokens: int | None = None  # texts are cut until a prompt has no more; None leaves them whole
    page_words: int = 300  # of each candidate's text
    max_pixels: int = MAX_PIXELS  # of each picture
    max_tokens: int = 1024  # of an answer, reasoning included
    temperature: float = 0.0  # the paper samples at 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_windows(self.window, self.step)


class DearListwise:
    """Reranks listwise, with the model's reasoning as the reason of each."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("dear_listwise", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates in the order that the model gave, without scores; see `notes.status` and `notes.reasons`.

        Raises:
            BackendError: the model cannot be reached or does not take the prompt.
        """
        options = self._options
        interview = Interview(query, options, self.backend, tokens=options.prompt_tokens)

        def rank(pages: Sequence[Exhibit]) -> Reply:
            answer = interview.answer(pages, self.prompt_for)
            return Reply(
                order=read_order(answer.text, len(pages), cut=answer.finished == "length"),
                reasons=passages(answer.text, len(pages), noun=NOUN, brackets=True),
                cost=answer.cost,
            )

        ranking = listwise(
            query, candidates, show=interview.show, rank=rank, window=options.window, step=options.step, backend=self.backend
        )
        return with_messages(ranking, interview.notes)

    def prompt_for(self, query: Query, pages: Sequence[Exhibit]) -> Prompt:
        """The conversation about one window: the query, a turn for each candidate, and the request with the query's words again."""
        text, names = self.prompt, marks(len(pages), "numbers")
        turns = [
            Message(role="system", parts=(text.pieces["system"],)),
            user(text.fill("task", count=len(pages)), *query_parts(text, query, self._options.max_pixels)),
            _assistant(text.pieces["agreed"]),
        ]
        for name, page in zip(names, pages, strict=True):
            turns += [user(text.fill("page", mark=name), *content(page)), _assistant(text.fill("received", mark=name))]
        form = " > ".join(f"[{name}]" for name in (names[1], names[0], *names[2:3]))
        request = text.fill("again", count=len(pages)) + query_lines(text, query) + text.fill("request", count=len(pages), form=form)
        return (*turns, user(request))


def _assistant(words: str) -> Message:
    return Message(role="assistant", parts=(words,))


def build(options: Options, backend: Backend) -> DearListwise:
    return DearListwise(options, backend)


def tiny() -> DearListwise:
    return build(Options(), FakeBackend(answer=turned(r"all (\d+) search results", "### Final Reranking: [{}]")))
