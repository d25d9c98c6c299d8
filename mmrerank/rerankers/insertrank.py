"""Shows the model the first stage's score below each candidate, and asks for the order of all.

    [1] text                        g(b): the first stage's scores b, on one scale over all candidates
    retrieval score: 0.913          -> [3] > [1] > [2]

Source: InsertRank (arXiv 2506.14086), of which the abstract and second-hand notes could be read, and a re-implementation by others: no
reproduction. Read there: scores beside candidates, scores rescaled and candidates shuffled as ablations, no training, one list. Ours: the
sentences of the prompt, the six scales by which `g` may print, three decimals, scores of any first stage under the name that `label` gives
them, a candidate without a score that says so, windows for lists that are longer, pictures, reference pictures and exclusions.

Scores are scaled over all candidates before the first window, so that they compare from window to window; every scale keeps their order.
A model that is shown candidates in falling order of their scores may trust the place and not the score: `order="shuffled"` tells the two
apart, `scale="none"` is the same prompt without scores. An answer with fewer than half of the marks counts for none.

Cost per query: one generation a window, ceil((n - window) / step) + 1 windows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmrerank.parts import printed
from mmrerank.prompting.answers import Order, order_as_it_came, order_of, read_marks
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Exhibit, ModalityChoice
from mmrerank.prompting.listings import NOUN, asking, content, marks
from mmrerank.prompting.queries import QUERY_PIECES, query_parts
from mmrerank.prompting.reasoning import passages
from mmrerank.protocols import Backend
from mmrerank.rerankers._first_stage import MEANINGS, UNKNOWN, Scale, printed_scores
from mmrerank.rerankers._interview import Interview
from mmrerank.rerankers._listwise import Reply, check_windows, listwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend, turned
from mmrerank.types import Candidate, Generated, Item, Modality, Part, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {
    **{"system": set(), "evidence": {"label", "scale"}, "task": {"count"}, "page": {"mark"}, "score": {"label", "score"}},
    **{"request": {"count", "form"}, "request_scored": {"count", "form", "label"}},
    **QUERY_PIECES,
}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    scale: Scale = "unit"  # how scores are printed; none is the plain listwise prompt
    label: str = "retrieval score"  # what they are called there, such as "BM25 score"
    order: Literal["incoming", "reversed", "shuffled"] = "incoming"  # how the candidates of a window are laid out
    window: int = 20  # candidates a call; the paper shows the whole list
    step: int = 10  # shift between windows, from the last candidate to the first
    modality: ModalityChoice = "auto"  # how a candidate is shown; the paper shows text
    prompt: str = "insertrank"
    prompt_tokens: int | None = None  # texts are cut until a prompt has no more; None leaves them whole
    page_words: int = 300  # of each candidate's text
    max_pixels: int = MAX_PIXELS  # of each picture
    max_tokens: int = 2048  # of an answer, reasoning included
    temperature: float = 0.0
    seed: int = 0  # of the shuffles, and of sampling

    def __post_init__(self) -> None:
        check_windows(self.window, self.step)


class InsertRank:
    """Reranks listwise with the first stage's scores in the prompt."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("insertrank", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates in the order that the model gave, without scores; see `notes.status` and `notes.reasons`.

        Raises:
            InputError: `maxdiv` meets scores that are not all above 0.
            BackendError: the model cannot be reached or does not take the prompt.
        """
        options, chance = self._options, random.Random(f"{self._options.seed}/{query.query_id}")
        interview = Interview(query, options, self.backend, tokens=options.prompt_tokens)
        scores, missing = printed_scores(candidates, options.scale)

        def show(item: Item) -> tuple[Exhibit, str]:
            return interview.show(item), scores.get(item.item_id, UNKNOWN)

        def rank(pages: Sequence[tuple[Exhibit, str]]) -> Reply:
            places = _laid_out(len(pages), options.order, chance)
            exhibits, lines = zip(*(pages[place] for place in places), strict=True)
            answer = interview.answer(exhibits, lambda query, some: self.prompt_for(query, some, lines))
            sentences = passages(answer.text, len(pages), noun=NOUN, brackets=True)
            reasons = {place: self._reason(pages[place][1], sentences.get(n, "")) for n, place in enumerate(places)}
            return Reply(order=_order(answer, places), reasons=reasons, cost=answer.cost)

        ranking = listwise(query, candidates, show=show, rank=rank, window=options.window, step=options.step, backend=self.backend)
        return with_messages(ranking, [*missing, *interview.notes])

    def prompt_for(self, query: Query, pages: Sequence[Exhibit], scores: Sequence[str]) -> Prompt:
        """What the model is asked about one window, each candidate between its mark and its score."""
        text, scale, label = self.prompt, self._options.scale, self._options.label
        scored = scale != "none"
        head: list[Part] = [text.fill("evidence", label=label, scale=MEANINGS[scale])] if scored else []
        head.append(text.fill("task", count=len(pages)))
        head += query_parts(text, query, self._options.max_pixels)
        for name, page, score in zip(marks(len(pages), "numbers"), pages, scores, strict=True):
            line = [text.fill("score", label=label, score=score)] if scored else []
            head += [text.fill("page", mark=name), *content(page), *line]
        names = {"count": len(pages), "form": "[2] > [1]"}
        request = text.fill("request_scored", label=label, **names) if scored else text.fill("request", **names)
        return asking(text, *head, request)

    def _reason(self, score: str, sentences: str) -> str:
        evidence = "" if self._options.scale == "none" else f"{self._options.label} {score}"
        return "; ".join(filter(None, (evidence, sentences)))


def _laid_out(count: int, order: str, chance: random.Random) -> list[int]:
    """The places of a window in the order in which the model is shown them."""
    places = list(range(count))
    if order == "shuffled":
        chance.shuffle(places)
    return places[::-1] if order == "reversed" else places


def _order(answer: Generated, places: Sequence[int]) -> Order:
    """The order of the window that an answer gives; what it leaves out follows as it came, not as it was laid out."""
    count = len(places)
    reading = read_marks(answer.text, count, cut=answer.finished == "length")
    if reading.why:
        return order_as_it_came(count, f"{reading.why}; the order stays as it came")
    ranks = [places[mark - 1] + 1 if 1 <= mark <= count else 0 for mark in reading.marks or ()]
    if 2 * len(set(ranks) - {0}) < count:
        return order_as_it_came(count, f"only {len(set(ranks) - {0})} of {count} marks are in the answer; the order stays as it came")
    return order_of(ranks, count)


def build(options: Options, backend: Backend) -> InsertRank:
    return InsertRank(options, backend)


def tiny() -> InsertRank:
    return build(Options(), FakeBackend(answer=turned(r"the (\d+) search results", "[{}]")))
