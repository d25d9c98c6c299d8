"""Test doubles: an MLLM that answers by a function of the prompt and remembers what it was asked, a cross-encoder, an encoder, a corpus.

Shipped so that nobody patches.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmrerank.ordering import levelled
from mmrerank.protocols import Corpus, EmbeddingSpace
from mmrerank.types import (
    Array,
    Candidate,
    ChoiceScores,
    Cost,
    Decoding,
    Generated,
    Item,
    LazyPicture,
    Modality,
    PageNames,
    Prompt,
    Query,
    opened,
)

STATE_WIDTH = 8  # of what the double shows of a prompt


class FakeBackend:
    """Answers by `answer(prompt)`, likelihoods by `choose(prompt, choices)`; without them both follow from a hash and mean nothing.

    Its tokens are words with the space before them, each generated one at a log-probability of -0.5.
    """

    def __init__(
        self,
        answer: Callable[[Prompt], str] | None = None,
        choose: Callable[[Prompt, Sequence[str]], Sequence[float]] | None = None,
    ) -> None:
        self.name = "double"
        self.prompts: list[Prompt] = []  # everything it was asked
        self.calls: list[int] = []  # how many prompts each call had
        self._answer = answer or (lambda prompt: f"answer {_hash(prompt)}")
        self._choose = choose or (lambda prompt, choices: [-1 - (_hash(prompt) >> 8 * n) % 256 / 64 for n in range(len(choices))])

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt."""
        self.calls.append(len(prompts))
        return [self._generated(opened(prompt), decoding or Decoding()) for prompt in prompts]

    def _generated(self, prompt: Prompt, decoding: Decoding) -> Generated:
        self.prompts.append(prompt)
        text = self._answer(prompt)
        tokens = tuple(re.findall(r"\s*\S+|\s+$", text)) if decoding.logprobs else None
        return Generated(
            text=text,
            logprobs=None if tokens is None else (-0.5,) * len(tokens),
            tokens=tokens,
            cost=Cost(calls=1, prompt_tokens=_words(prompt), generated_tokens=len(text.split())),
        )

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Log-probabilities per prompt and choice."""
        self.calls.append(len(prompts))
        prompts = [opened(prompt) for prompt in prompts]
        self.prompts += prompts
        rows = np.array([self._choose(prompt, choices) for prompt in prompts], dtype=np.float32).reshape(len(prompts), len(choices))
        cost = Cost(calls=len(prompts), prompt_tokens=sum(map(_words, prompts)))
        return ChoiceScores(logprobs=rows, cost=cost, lengths=tuple(max(len(choice.split()), 1) for choice in choices))

    def embed(self, prompts: Sequence[Prompt]) -> Array:
        """(n, 8) float32 states that follow from a hash of each prompt and mean nothing; no unit rows."""
        self.calls.append(len(prompts))
        self.prompts += prompts
        rows = [np.random.default_rng(_hash(prompt)).standard_normal(STATE_WIDTH) for prompt in prompts]
        return np.array(rows, dtype=np.float32).reshape(len(prompts), STATE_WIDTH)

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """The words of each prompt; a picture is one."""
        return [_words(prompt) for prompt in prompts]

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of the text, at most so many words."""
        words = list(re.finditer(r"\S+", text))
        return text if len(words) <= tokens else text[: words[tokens - 1].end() if tokens > 0 else 0]


def turned(count: str, form: str) -> Callable[[Prompt], str]:
    """Answers that rank: of as many marks as the prompt names, the even ones first, which is no identity from two on.

    Args:
        count: a pattern whose group is that number; an answer to a prompt without it is "".
        form: of the answer, with {} for the marks.

    >>> from mmrerank.types import Message
    >>> turned(r"(\\d+) pictures", "[{}]")([Message(role="user", parts=("Order 5 pictures.",))])
    '[2, 4, 1, 3, 5]'
    """

    def answer(prompt: Prompt) -> str:
        most = _number_in(prompt, count)
        marks = [*range(2, most + 1, 2), *range(1, most + 1, 2)]
        return form.replace("{}", ", ".join(map(str, marks))) if marks else ""

    return answer


def graded(form: str, count: str | None = None, names: Sequence[str] = ()) -> Callable[[Prompt], str]:
    """Answers that grade from 0 to 10: one grade that follows from the prompt and means nothing, or an object of them by mark.

    Args:
        form: of the answer, with {} for the grade or the object.
        count: a pattern whose group is how many the prompt shows; an answer to a prompt without it is "". None: one grade.
        names: of several grades for each mark, 0 to 5 from the second on.

    >>> from mmrerank.types import Message
    >>> graded("grades: {}", r"(\\d+) texts")([Message(role="user", parts=("Grade 2 texts.",))])
    'grades: {"[1]": 7, "[2]": 3}'
    """

    def answer(prompt: Prompt) -> str:
        if count is None:
            return form.replace("{}", str(_hash(prompt) % 11))
        most = _number_in(prompt, count)
        rows = {f"[{n}]": {name: (7 * n + k) % (6 if k else 11) for k, name in enumerate(names)} or 7 * n % 11 for n in range(1, most + 1)}
        return form.replace("{}", json.dumps(rows)) if rows else ""

    return answer


def _number_in(prompt: Prompt, pattern: str) -> int:
    """The number that the prompt names by the pattern; 0 where it does not."""
    match = re.search(pattern, " ".join(part for message in prompt for part in message.parts if isinstance(part, str)))
    return int(match[1]) if match else 0


class FakePredictor:
    """A cross-encoder whose score is the share of the query's words that the item has; it remembers the pairs of each call."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def predict(self, inputs: Sequence[Any]) -> Array:
        """(n,) scores within 0 and 1."""
        self.batches.append(list(inputs))
        return np.array([_share_of_words(query, item) for query, item in inputs], dtype=np.float32)


def _share_of_words(query: Any, item: Any) -> float:
    wanted, words = (set((side if isinstance(side, str) else side.get("text", "")).lower().split()) for side in (query, item))
    return len(wanted & words) / max(len(wanted), 1)


def _words(prompt: Prompt) -> int:
    return sum(len(part.split()) if isinstance(part, str) else 1 for message in prompt for part in message.parts)


def _hash(prompt: Prompt) -> int:
    content = hashlib.blake2b(digest_size=8)
    for message in prompt:
        for part in message.parts:
            part = part.open() if isinstance(part, LazyPicture) else part
            content.update(part.encode() if isinstance(part, str) else part.tobytes())
    return int.from_bytes(content.digest(), "big")


class HashEncoder:
    """Unit rows that depend on the content alone and mean nothing."""

    name = "hash"
    dimension = 8
    takes: frozenset[Modality] = frozenset({"image", "text"})
    reads: Modality = "text"

    def prepare(self, value: Any) -> Any:
        return value

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        rows = np.stack([self._row(value) for value in values]) if values else np.empty((0, self.dimension), np.float32)
        return rows if normalise else rows * 3.0

    def _row(self, value: Any) -> Array:
        content = value.encode() if isinstance(value, str) else value.tobytes()
        seed = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
        row = np.random.default_rng(seed).standard_normal(self.dimension)
        return (row / np.linalg.norm(row)).astype(np.float32)


class FakeSpace:
    """A space over the texts of some items, searched exactly."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.encoder = HashEncoder()
        self._items = list(items)
        self._rows = self.encoder.encode([item.text or "" for item in self._items])

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        scores = levelled(self._rows @ row)
        order = sorted(range(len(self._items)), key=lambda n: (-scores[n], self._items[n].item_id))[:k]
        return [Candidate(item=self._items[n], score=float(scores[n])) for n in order]

    def rows(self, item_ids: Sequence[str]) -> Array:
        places = {item.item_id: n for n, item in enumerate(self._items)}
        return self._rows[[places[item_id] for item_id in item_ids]]


class FakeDescriptors:
    """A row for any query and any item, drawn from the hash of what it is called; the rows mean nothing."""

    def of_query(self, query: Query) -> Array:
        row: Array = self._rows([f"query {query.query_id} {query.text}"])[0]
        return row

    def of_items(self, query: Query, item_ids: Sequence[str]) -> Array:
        return self._rows([f"item {item_id}" for item_id in item_ids])

    def _rows(self, names: Sequence[str]) -> Array:
        return HashEncoder().encode(names)


class FakeCorpus:
    """Words in common stand for BM25; filters are not looked at."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._items = [Item(item_id=item_id, text=text) for item_id, text in texts.items()]
        self._space = FakeSpace(self._items)

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        return self._space

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        words = set(text.lower().split())
        scored = [(len(words & set((item.text or "").lower().split())), item) for item in self._items]
        best = sorted((pair for pair in scored if pair[0]), key=lambda pair: (-pair[0], pair[1].item_id))[:k]
        return [Candidate(item=item, score=float(score)) for score, item in best]

    def idf(self, text: str) -> dict[str, float]:
        texts = [set((item.text or "").lower().split()) for item in self._items]
        return {word: 1 / (1 + sum(word in words for words in texts)) for word in text.lower().split()}

    def pages(self, names: PageNames, k: int, *, filter: str | None = None) -> list[Item]:
        return [item for item in self._items if names.fit(item)][:k]


def fake_corpus() -> Corpus:
    """Twenty items of two words each."""
    colours, things = ("red", "green", "blue", "white"), ("door", "boat", "bird", "lamp", "chair")
    return FakeCorpus({f"{colour}-{thing}": f"{colour} {thing}" for colour in colours for thing in things})
