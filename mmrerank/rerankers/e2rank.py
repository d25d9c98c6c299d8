"""Turns the query and the first candidates into one query vector, and orders all candidates by cosine with it.

    e_q  = f(list of the first K candidates, query)     E_i = f(candidate i)     s_i = <e_q, E_i>, f: unit state of the last token

Source: E2Rank (arXiv 2510.22733, code Alibaba-NLP/E2Rank). Read there: the three prompts (a document and its end token; "Instruct: ...
Query:..." and the end token; the numbered list with the query last, as a chat whose answer begins with an empty block of thought), the
state of the last token, the cosine, K = 20, documents embedded once. Ours: the sentences of the prompt, ties that keep their order, vectors
of documents remembered by weights and content, pictures (the paper is text only: a candidate or query with a picture is a chat turn),
reference pictures and exclusions.

The list feeds back what the first stage put first: a bad list leads the query astray. `feedback=0` is plain retrieval with the same
vectors, and so is a list prompt whose state has no direction, which the notes say. A checkpoint that was not trained for this gives noise.

Cost per query: one forward pass over the list, and one over each candidate whose vector is not remembered; none is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice, gather
from mmrerank.prompting.listings import TokenBudget, listing, marks, user
from mmrerank.prompting.queries import QUERY_PIECES, joined, query_parts
from mmrerank.protocols import Backend
from mmrerank.rerankers._pointwise import Scores, pointwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.rerankers._vectors import Vectors
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Array, Candidate, Cost, Markup, Message, Modality, Part, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {"plain": set(), "task": set(), "page": {"mark"}, "search": set(), **QUERY_PIECES}
NO_THOUGHT = Message(role="assistant", parts=(Markup("<think>\n\n</think>\n\n"),))
ROUNDING = 1e-5  # of a cosine: what padding of batches moves
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    feedback: int = 20  # K, how many of the first candidates are in the list; 0 is plain retrieval
    end: str = "<|endoftext|>"  # the token behind a document and a plain query, as the checkpoint was trained; "" for none
    no_thought: bool = True  # whether the list's answer begins with an empty block of thought, as of Qwen3
    modality: ModalityChoice = "auto"  # how a candidate is shown; the paper shows text
    prompt: str = "e2rank"
    prompt_tokens: int | None = None  # texts of the list are cut until its prompt has no more; None leaves them whole
    page_words: int = 1024  # of each candidate's text
    max_pixels: int = MAX_PIXELS  # of each picture
    memory_mib: int = runtime_option(256)  # of vectors that are remembered
    vectors: str | None = runtime_option(None)  # a folder in which they are kept for later

    def __post_init__(self) -> None:
        if min(self.feedback, self.memory_mib) < 0:
            raise InputError(f"feedback and memory_mib count from 0; got {self.feedback} and {self.memory_mib}")


class E2Rank:
    """Reranks by cosine with a query vector that has seen the first candidates."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("e2rank", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._vectors = Vectors(backend, memory_mib=options.memory_mib, folder=options.vectors)
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by cosine, equal ones in the incoming order; one that cannot be shown stays behind, with the reason.

        Raises:
            InputError: the checkpoint cannot take a prompt.
        """
        display, budget = self._display(query), TokenBudget(self.backend, self._options.prompt_tokens)
        row: Array | None = None
        messages: list[str] = []

        def judge(pages: Sequence[Exhibit]) -> Scores:
            nonlocal row
            rows, cost = self._vectors.of([self.document_prompt(page) for page in pages])
            if row is None:
                row, spent = self._query_row(query, candidates, budget, messages)
                cost += spent
            return Scores(raw=np.where(rows.any(axis=1), rows @ row, np.nan), cost=cost)

        ranking = pointwise(query, candidates, show=display.show, judge=judge, label="cosine", rounding=ROUNDING)
        return with_messages(ranking, [*messages, *budget.notes, *display.choices])

    def document_prompt(self, page: Exhibit) -> Prompt:
        """What a candidate's own vector is read from; the query has no part in it."""
        if page.picture is not None:
            return (user(*page.parts),)
        return (Message(role="raw", parts=(page.text, Markup(self._options.end))),)

    def plain_prompt(self, query: Query) -> Prompt:
        """What the query alone is read from."""
        parts = joined([self.prompt.pieces["plain"], *self._wish(query)])
        if any(not isinstance(part, str) for part in parts):
            return (user(*parts),)
        return (Message(role="raw", parts=(*parts, Markup(self._options.end))),)

    def list_prompt(self, query: Query, pages: Sequence[Exhibit]) -> Prompt:
        """What the query is read from behind the first candidates."""
        text = self.prompt
        lines: list[Part] = []
        for line in zip(marks(len(pages), "numbers"), pages, strict=True):
            lines += [*listing(text, line[:1], line[1:]), "\n"]
        turn = user(text.pieces["task"], *lines, text.pieces["search"], *self._wish(query))
        return (turn, NO_THOUGHT) if self._options.no_thought else (turn,)

    # ------------------------------------------------------------------

    def _query_row(self, query: Query, candidates: Sequence[Candidate], budget: TokenBudget, messages: list[str]) -> tuple[Array, Cost]:
        """(D,) unit row of the list, or of the query alone where there is no list or no direction in it; and its cost."""
        pages, _ = gather(candidates, self._display(query).show, range(min(self._options.feedback, len(candidates))))
        spent = Cost()
        if pages:
            rows, spent = self._vectors.of([budget.fit(list(pages.values()), lambda some: self.list_prompt(query, some))])
            if rows.any():
                return rows[0], spent
            messages.append("the list's vector has no direction, so the query's own was taken")
        rows, cost = self._vectors.of([self.plain_prompt(query)])
        return rows[0], spent + cost

    def _display(self, query: Query) -> Display:
        return Display.of(query, self._options)

    def _wish(self, query: Query) -> list[Part]:
        return query_parts(self.prompt, query, self._options.max_pixels)


def build(options: Options, backend: Backend) -> E2Rank:
    return E2Rank(options, backend)


def tiny() -> E2Rank:
    return build(Options(), FakeBackend())
