"""A query and a document cut so that their prompt stays within a budget of tokens; what stands around them is never cut.

    prompt without the two --count--> fixed      query: at most `query_share` of the rest      document: what is left

The end of such a prompt is where a model answers, and its beginning says what is asked: a tokenizer that cuts either makes noise that
looks like a ranking. A backend that measures in its own tokens is asked for them; where it cannot, words are counted, a token for every
four letters of each, and whole words are cut.

Source: the order of the cuts is ProRank's (mixedbread-ai/mxbai-rerank at 8e709dc: a query up to three quarters, then the document alone);
that what surrounds the pair is counted first is Qwen3-Reranker's (arXiv 2506.05176). Ours: the rest.

Cost: nothing for prompts that are short beyond doubt; else some counts of the prompt, which for pictures is their processing again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmrerank.errors import InputError
from mmrerank.protocols import Backend, CuttingBackend, front_to_back
from mmrerank.types import LazyPicture, Part, Prompt

LETTERS_A_TOKEN = 4  # of a Latin word, where nobody tells
PIXELS_A_TOKEN = 28 * 28  # of a picture, where nobody tells
FEWEST_PIXELS = 14 * 14  # no processor gives a smaller patch a token of its own
TOKENS_A_TURN = 64  # more than what a chat template writes around one
TRIES = 8


class Measure(Protocol):
    """How long prompts and texts are, in tokens."""

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]: ...

    def cut(self, text: str, tokens: int) -> str: ...


class WordMeasure:
    """Counts by words, for backends that do not tell.

    >>> WordMeasure().cut("a rather long text", 4)
    'a rather long'
    """

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """About how many tokens each prompt is."""
        return [sum(map(_about, (part for message in prompt for part in message.parts))) for prompt in prompts]

    def cut(self, text: str, tokens: int) -> str:
        """The words from the beginning that are about so many tokens."""
        words: list[str] = []
        for word in text.split():
            tokens -= _tokens_of(word)
            if tokens < 0:
                return " ".join(words)
            words.append(word)
        return text


def _about(part: object) -> int:
    if isinstance(part, str):
        return sum(map(_tokens_of, part.split()))
    return int(part.width * part.height // PIXELS_A_TOKEN)  # type: ignore[attr-defined]


def _tokens_of(word: str) -> int:
    """Tokens of one word: letters by four, those of scripts beyond Latin, Greek and Cyrillic one by one."""
    wide = sum(letter > "\u0530" for letter in word)
    return wide + -(-(len(word) - wide) // LETTERS_A_TOKEN)


def measure_of(backend: Backend) -> Measure:
    """The backend, or the first behind it, that measures in its own tokens; words where none does."""
    return next((one for one in front_to_back(backend) if isinstance(one, CuttingBackend)), WordMeasure())


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPair:
    """A query and a document that go into a prompt together."""

    query: str
    document: str
    message: str = ""  # what was cut, in words; "" where nothing was


def fit(
    write: Callable[[str, str], Prompt],
    query: str,
    document: str,
    *,
    tokens: int,
    measure: Measure,
    pair_alone: bool = False,
    query_share: float = 0.75,
) -> FittedPair:
    """The two as they fit.

    Args:
        write: the prompt of a query and a document.
        tokens: how long it may be.
        pair_alone: whether the limit is of query and document alone, and what surrounds them comes on top.
        query_share: of what is left for the two, the most that the query gets.

    Raises:
        InputError: nothing is left for the two.
    """
    if not pair_alone and _at_most(write(query, document)) <= tokens:
        return FittedPair(query=query, document=document)
    fixed, length = measure.count_tokens([write("", ""), write(query, document)])
    limit = tokens + fixed if pair_alone else tokens
    if length <= limit:
        return FittedPair(query=query, document=document)
    if fixed >= limit:
        raise InputError(
            f"a prompt of at most {tokens} tokens has no room for query and document: what surrounds them takes {fixed}",
            hint="Raise the limit, show smaller pictures, or shorten the instruction.",
        )
    short = measure.cut(query, int((limit - fixed) * query_share))
    used = measure.count_tokens([write(short, "")])[0]
    return _cut(write, query, short, document, limit, limit - used, measure)


def _cut(write: Callable[[str, str], Prompt], query: str, short: str, document: str, limit: int, room: int, measure: Measure) -> FittedPair:
    """The pair with its document cut until the whole prompt fits: a text in its place may be some tokens longer than alone."""
    for _ in range(TRIES):
        beginning = measure.cut(document, room) if room > 0 else ""
        excess = measure.count_tokens([write(short, beginning)])[0] - limit
        if excess <= 0 or not beginning:
            break
        room -= excess
    cuts = [_cut_note("the query", query, short), _cut_note("the text", document, beginning)]
    return FittedPair(query=short, document=beginning, message=", ".join(filter(None, cuts)))


def _cut_note(what: str, whole: str, part: str) -> str:
    if part == whole:
        return ""
    words, of_words = len(part.split()), len(whole.split())
    if words == of_words:  # within a word, or in a script without blanks
        return f"{what} was cut to {len(part)} of {len(whole)} letters"
    return f"{what} was cut to {words} of {of_words} words"


def _at_most(prompt: Prompt) -> int:
    """Tokens that a prompt cannot exceed: no token is shorter than a byte, and none of a picture smaller than a patch."""
    return sum(_longest(part) for message in prompt for part in message.parts) + TOKENS_A_TURN * len(prompt)


def _longest(part: Part) -> int:
    if isinstance(part, str):
        return len(part.encode("utf-8", "replace"))
    picture = part.open() if isinstance(part, LazyPicture) else part
    return picture.width * picture.height // FEWEST_PIXELS + TOKENS_A_TURN
