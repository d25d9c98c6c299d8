"""Has the model reason over up to 20 candidates and name the best of them; a heap sort over such answers gives the first ten.

    [1] text ... [20] text     <think> ... </think> <answer>[7]</answer>      the winner rises in a heap of 19 children a parent

Source: Rank-R1 (arXiv 2503.06034, code ielab/llm-rankers at b36517b), by its notes. Read there: 20 labelled candidates a call, the tags,
the labels, a heap of 19 children, ten places, candidates shuffled before every comparison, votes over several shuffles, greedy decoding
with 2,048 tokens, the released parser and who wins where it reads nothing (`unread="released"`). Ours: the sentences of the prompt, the
parser of the house, the candidate that the first stage put highest as the winner where no answer can be read (as released, a model that
never answers promotes the tail), shuffles and ties drawn from the seed and the query alone, pictures, reference pictures and exclusions.

Every comparison moves the sort forward whatever the answer is, so that ties and contradictions end as well. What comes behind the first
`top` is in the first stage's order: a measure below that place says nothing of the model.

Cost per query: one generation with its reasoning a comparison and vote; for n = 100 20 to 25 comparisons, one for n = 20 and top = 1.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.prompting.answers import read_choice, short
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Exhibit, ModalityChoice
from mmrerank.prompting.listings import asking, listing, marks
from mmrerank.prompting.queries import QUERY_PIECES, query_parts
from mmrerank.prompting.reasoning import PASSAGE_LETTERS, reasoning_of
from mmrerank.protocols import Backend
from mmrerank.rerankers._interview import Interview
from mmrerank.rerankers._rankings import with_messages
from mmrerank.rerankers._setwise import Choice, Sort, Unread, setwise
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Cost, Modality, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {
    **{"system": set(), "task": {"count"}, "page": {"mark"}, "request": {"count"}},
    **QUERY_PIECES,
}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    children: int = 19  # of a parent in the heap: one less than the candidates a call
    top: int = 10  # places that are ordered
    sort: Sort = "heap"  # how the best rise: a heap, or windows that bubble up
    votes: int = 1  # answers a comparison, each over another shuffle; most votes win
    shuffle: bool = True  # whether candidates are shuffled before every answer
    unread: Unread = "first_stage"  # who wins where no answer can be read
    parser: Literal["hardened", "strict"] = "hardened"  # strict reads as the released code does
    modality: ModalityChoice = "auto"  # how a candidate is shown; the paper shows text
    prompt: str = "rank_r1"
    prompt_tokens: int | None = None  # texts are cut until a prompt has no more; None leaves them whole
    page_words: int = 400  # of each candidate's text; the paper takes 512 tokens
    max_pixels: int = MAX_PIXELS  # of each picture
    max_tokens: int = 2048  # of an answer, reasoning included
    temperature: float = 0.0
    seed: int = 0  # of shuffles, ties and sampling

    def __post_init__(self) -> None:
        if min(self.children, self.top, self.votes) < 1:
            raise InputError(f"children, top and votes count from 1; got {self.children}, {self.top} and {self.votes}")


class RankR1:
    """Reranks setwise, with the reasoning that named a candidate as its reason."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("rank_r1", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates with the first `top` in order and the rest as they came, without scores; see `notes.status`.

        Raises:
            BackendError: the model cannot be reached or does not take the prompt.
        """
        options = self._options
        interview = Interview(query, options, self.backend, tokens=options.prompt_tokens)
        chance = random.Random(f"{options.seed}/{query.query_id}")

        def choose(pages: Sequence[Exhibit]) -> Choice:
            votes = [self._vote(interview, pages, chance) for _ in range(options.votes)]
            cost = sum((vote.cost for vote in votes), Cost())
            counts = Counter(vote.best for vote in votes if vote.best is not None)
            if not counts:
                return Choice(best=None, cost=cost)
            best = chance.choice(sorted(place for place, count in counts.items() if count == max(counts.values())))
            reason = next(vote.reason for vote in votes if vote.best == best)
            return Choice(best=best, reason=f"best of {len(pages)}" + (f": {reason}" if reason else ""), cost=cost)

        ranking = setwise(
            query,
            candidates,
            show=interview.show,
            choose=choose,
            children=options.children,
            top=options.top,
            sort=options.sort,
            unread=options.unread,
            backend=self.backend,
        )
        return with_messages(ranking, interview.notes)

    def prompt_for(self, query: Query, pages: Sequence[Exhibit]) -> Prompt:
        """What the model is asked in one comparison."""
        text, names = self.prompt, marks(len(pages), "numbers")
        wish = query_parts(text, query, self._options.max_pixels)
        ends = text.fill("task", count=len(pages)), text.fill("request", count=len(pages))
        return asking(text, ends[0], *wish, *listing(text, names, pages), ends[1])

    def _vote(self, interview: Interview, pages: Sequence[Exhibit], chance: random.Random) -> Choice:
        """What one answer names, over a shuffle of its own."""
        places = list(range(len(pages)))
        if self._options.shuffle:
            chance.shuffle(places)
        answer = interview.answer([pages[place] for place in places], self.prompt_for)
        read = released_choice if self._options.parser == "strict" else read_choice
        position = read(answer.text, len(pages))
        best = None if position is None else places[position]
        return Choice(best=best, reason=short(reasoning_of(answer.text), PASSAGE_LETTERS), cost=answer.cost)


def released_choice(text: str, count: int) -> int | None:
    """The position that the first answer behind a thought names, exactly as the released code reads it: the bare label in brackets.

    >>> released_choice("<THINK>a</THINK><answer> [2] </answer>", 3), released_choice("<answer>[2]</answer>", 3)
    (1, None)
    """
    match = re.search(r"<think>.*?</think>\s*<answer>(.*?)</answer>", text.lower(), re.DOTALL)
    labels = [f"[{name}]" for name in marks(count, "numbers")]
    return labels.index(match[1].strip()) if match and match[1].strip() in labels else None


def build(options: Options, backend: Backend) -> RankR1:
    return RankR1(options, backend)


def tiny() -> RankR1:
    return build(Options(), FakeBackend(answer=lambda prompt: "<think>Compared.</think><answer>[2]</answer>"))
