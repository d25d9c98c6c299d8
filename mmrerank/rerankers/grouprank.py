"""Shows a model a group of candidates together, lets it compare them, and reads a grade from 0 to 10 for each; groups are drawn anew.

    <reason> ... </reason><answer>{"[1]": 5, "[2]": 3, ...}</answer>        raw = mean over the groups,  score = raw / 10

Source: GroupRank (arXiv 2511.11653v3, code AQ-MedAI/Diver at 95b111b). Read there: groups of 20, disjoint, drawn at random, repeats with
the mean, the grades and their division by 10, two turns, 3,000 letters of each document, the tags, the JSON. Ours: the sentences of the
prompt (the released checkpoints were tuned on their authors' own: give them with `prompt=PATH.toml`), the parser (there one mark out of
range zeroes a group, and `[0]` is the last document), what no answer scored (there 0, or gone), a seed per query, greedy decoding (there
temperature 0.3, 8,000 tokens), pictures (the paper is text only), reference pictures and exclusions. The mixture with the retriever's
scores (0.6 to 0.4 there) is a matter of fusion.

Cost per query: repeats times ceil(n / group) generations with reasoning; those of one repeat in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.prompting.answers import read_scores
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice
from mmrerank.prompting.queries import QUERY_PIECES, joined, query_parts
from mmrerank.prompting.reasoning import passages, reasoning_of
from mmrerank.protocols import Backend
from mmrerank.rerankers._groupwise import GroupScores, groupwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend, graded
from mmrerank.types import Candidate, Decoding, Explanation, Generated, Item, Message, Modality, Part, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {
    **QUERY_PIECES,
    "system": set(),
    "count": {"count"},
    "documents": set(),
    "document": {"number"},
    "request": set(),
}
HIGHEST = 10
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    group: int = 20  # candidates that are graded together
    repeats: int = 1  # how often all are dealt into groups anew; the paper gains up to 4
    shuffle: bool = True  # whether groups are drawn at random; else they follow the incoming order, and there is one repeat
    modality: ModalityChoice = "both"  # what of a candidate the model sees; the paper shows text
    prompt: str = "grouprank"
    max_pixels: int = MAX_PIXELS  # of each picture
    letters: int = 3000  # of each candidate's text
    max_tokens: int = 2048
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.group, self.repeats, self.letters) < 1:
            raise InputError(f"group, repeats and letters count from 1; got {self.group}, {self.repeats} and {self.letters}")
        if self.repeats > 1 and not self.shuffle:
            raise InputError(f"{self.repeats} repeats of the same groups are one", hint="Leave shuffle=False out.")


class GroupRank:
    """Reranks groupwise by grades after reasoning."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("grouprank", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options
        self._decoding = Decoding(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by mean grade, equal ones in the incoming order; what the model says of them is their explanation.

        A group whose answer cannot be read is left out of the mean; a candidate that no group graded stays behind, without a score.

        Raises:
            FormatError: a picture of the query cannot be opened.
        """
        options = self._options
        # as many words as letters at most: letters cut, in scripts without blanks too
        display = Display(query.text or "", options.modality, page_words=options.letters, max_pixels=options.max_pixels)
        wish = query_parts(self.prompt, query, options.max_pixels) if candidates else []

        def show(item: Item) -> Exhibit:
            view = display.show(item)
            return replace(view, text=view.text[: options.letters])

        def judge(groups: Sequence[Sequence[Exhibit]]) -> list[GroupScores]:
            answers = self.backend.generate([self._prompt(wish, group) for group in groups], self._decoding)
            return [group_scores(answer, len(group)) for answer, group in zip(answers, groups, strict=True)]

        ranking = groupwise(
            query,
            candidates,
            show=show,
            judge=judge,
            group=options.group,
            repeats=options.repeats,
            shuffle=options.shuffle,
            seed=options.seed,
            to_score=lambda mean: mean / HIGHEST,
            backend=self.backend,
        )
        return with_messages(ranking, display.choices)

    def _prompt(self, wish: Sequence[Part], group: Sequence[Exhibit]) -> Prompt:
        text = self.prompt
        parts: list[Part] = [text.fill("count", count=len(group)), *wish, text.pieces["documents"]]
        for number, exhibit in enumerate(group, 1):
            parts += [text.fill("document", number=number), *exhibit.parts, "\n\n"]
        user = joined([*parts, text.fill("request")])
        return (Message(role="system", parts=(text.pieces["system"],)), Message(role="user", parts=tuple(user)))


def group_scores(answer: Generated, count: int) -> GroupScores:
    """The grades of one answer by position, with what it says of each candidate.

    >>> group_scores(Generated(text='<reason>[2] fits.</reason><answer>{"[2]": 9, "[1]": 0}</answer>'), 2).scores
    {1: 9.0, 0: 0.0}
    """
    reading = read_scores(answer.text, count, low=0, high=HIGHEST)
    lines = passages(answer.text, count, noun="document", brackets=True)
    missing = f"{count - len(reading.scores)} of {count} have no grade" if 0 < len(reading.scores) < count else ""
    whole = reasoning_of(answer.text)
    return GroupScores(
        scores=reading.scores,
        reasons=lines,
        message="; ".join(filter(None, (reading.message, missing))),
        explanations={n: Explanation(reasoning=lines.get(n, whole)) for n in reading.scores},
        cost=answer.cost,
    )


def build(options: Options, backend: Backend) -> GroupRank:
    return GroupRank(options, backend)


def tiny() -> GroupRank:
    return build(Options(), FakeBackend(answer=graded("<reason>[1] fits.</reason><answer>{}</answer>", r"There are (\d+) documents")))
