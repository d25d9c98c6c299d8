"""Which texts hold a term, and what that adds to their score: by term, then by text. Shared by the parts of a text index."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmrerank.types import Array, Keys

Numbers: TypeAlias = npt.NDArray[np.int32]
_OFTEN = 65_535  # a word that comes more often in a text weighs no more


class Vocabulary(Sequence[bytes]):
    """Terms in ascending order of their bytes, each with its number; where their file is mapped, a look-up reads some twenty of them."""

    def __init__(self, letters: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self.letters, self.ends = letters, ends  # all terms in UTF-8, one behind the other; where each ends
        self._letters, self._ends = letters.data, ends.data  # of which single ones are read five times faster

    @classmethod
    def of(cls, terms: Sequence[bytes]) -> Vocabulary:
        """These ascending terms."""
        ends = np.cumsum(np.fromiter(map(len, terms), np.int64, len(terms)))
        return cls(np.frombuffer(b"".join(terms), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]  # no slices
        return self._letters[self._ends[number - 1] if number else 0 : self._ends[number]].tobytes()

    def number(self, term: str) -> int | None:
        """The number of a term; None where it is not among them."""
        spelling = term.encode("utf-8", "surrogatepass")
        number = bisect_left(self, spelling)
        return number if number < len(self) and self[number] == spelling else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postings:
    """The texts of term t are positions[starts[t] : starts[t + 1]]; what it adds to each lies at the same places."""

    vocabulary: Vocabulary  # (n_terms,)
    weights: Array
    positions: Numbers
    starts: npt.NDArray[np.int64]  # (n_terms + 1,)

    def count(self, term: str) -> int:
        """How many texts hold a term."""
        number = self.vocabulary.number(term)
        return 0 if number is None else int(self.starts[number + 1] - self.starts[number])

    def summed(self, terms: Iterable[str], count: int) -> Array | None:
        """(count,) what these terms add to each text, one after the other in float32; a term that comes twice counts twice. None where
        no text holds any of them."""
        numbers = [number for term in terms if (number := self.vocabulary.number(term)) is not None]
        if not numbers:
            return None
        scores = np.zeros(count, np.float32)
        for number in numbers:
            part = slice(self.starts[number], self.starts[number + 1])
            scores[self.positions[part]] += self.weights[part]  # a text stands once among those of a term
        return scores

    def among(self, rest: npt.NDArray[np.bool_]) -> Postings:
        """Those of the texts that (n_texts,) `rest` is true of, which move up."""
        mask = rest[self.positions]
        before = np.concatenate([[0], np.cumsum(mask)])
        positions = (np.cumsum(rest) - 1).astype(np.int32)[self.positions[mask]]
        return replace(self, weights=self.weights[mask], positions=positions, starts=before[self.starts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often a term stands in a text, of each pair of which it does; those of term t lie at starts[t] : starts[t + 1]."""

    vocabulary: Sequence[str]  # (n_terms,) in the order they were met
    starts: npt.NDArray[np.int64]  # (n_terms + 1,)
    texts: Numbers  # (n,)
    times: npt.NDArray[np.uint16]  # (n,)
    lengths: npt.NDArray[np.int64]  # (n_texts,) in terms

    def postings(self, mark: str, weights: Array) -> Postings:
        """With `mark` before each term, and (n,) weights."""
        terms = [(mark + term).encode("utf-8", "surrogatepass") for term in self.vocabulary]
        return _in_order(terms, self.starts, self.texts, weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """What some texts have, by term, then by text."""

    having: Numbers  # (n_terms so far,) how many of them have a term
    texts: Numbers  # (n,)
    times: npt.NDArray[np.uint16]  # (n,)


class _Numbered(dict[str, tuple[int, ...]]):
    """Compound -> the numbers of its terms, which it splits where it meets one for the first time."""

    def __init__(self, terms_of: Callable[[str], Collection[str]]) -> None:
        self.vocabulary: dict[str, int] = {}
        self._terms_of = terms_of

    def __missing__(self, compound: str) -> tuple[int, ...]:
        known = self.vocabulary
        numbers = self[compound] = tuple(known.setdefault(term, len(known)) for term in self._terms_of(compound))
        return numbers


class TermCounter:
    """Counts the terms of texts that come block by block, so that no more than a block of them is held."""

    def __init__(self, terms_of: Callable[[str], Collection[str]], n_texts: int) -> None:
        self._numbered = _Numbered(terms_of)
        self._lengths = np.zeros(n_texts, np.int64)
        self._blocks: list[_Block] = []

    def add(self, positions: Keys, texts: Iterable[Sequence[str]]) -> None:
        """Texts that are split into compounds, and (n,) which of the `n_texts` they are."""
        rows = [list(chain.from_iterable(map(self._numbered.__getitem__, text))) for text in texts]
        lengths = self._lengths[positions] = np.fromiter(map(len, rows), np.int64, len(rows))
        terms = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        pairs, times = np.unique(terms << 32 | np.repeat(positions, lengths), return_counts=True)
        having = np.bincount(pairs >> 32, minlength=len(self._numbered.vocabulary)).astype(np.int32)
        self._blocks.append(_Block(having=having, texts=pairs.astype(np.int32), times=np.minimum(times, _OFTEN).astype(np.uint16)))

    def counts(self) -> Counts:
        """Of all that was added; the counter is empty then."""
        vocabulary, blocks = list(self._numbered.vocabulary), self._blocks
        having = np.zeros(len(vocabulary), np.int64)
        for block in blocks:
            having[: len(block.having)] += block.having
        starts = np.append(0, np.cumsum(having)).astype(np.int64)
        ends, texts, times = starts[:-1].copy(), np.empty(starts[-1], np.int32), np.empty(starts[-1], np.uint16)
        while blocks:
            block = blocks.pop(0)
            first = ends[: len(block.having)]
            places = np.repeat(first - (np.cumsum(block.having) - block.having), block.having) + np.arange(len(block.texts))
            texts[places], times[places] = block.texts, block.times
            first += block.having
        return Counts(vocabulary=vocabulary, starts=starts, texts=texts, times=times, lengths=self._lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """BM25 as Kamphuis et al. 2020 write its variants down; all but "atire" leave out the factor k1 + 1, which changes no order."""

    k1: float
    b: float
    method: Literal["lucene", "robertson", "atire"]

    def weights(self, counts: Counts, having: npt.NDArray[np.int64], texts: int, mean_length: float) -> Array:
        """(n,) what each term adds to each text, as float32.

        Args:
            having: (n_terms,) how many texts have each; one where none has it, as is so of texts that came later.
            texts: how many they are of.
            mean_length: of these, in terms.
        """
        idf = self._idf(np.maximum(having, 1).astype(np.float64), texts) * (self.k1 + 1 if self.method == "atire" else 1.0)
        damping = self.k1 * (1 - self.b + self.b * counts.lengths / (mean_length or 1.0))
        weights = counts.times.astype(np.float32)
        weights /= weights + damping.astype(np.float32)[counts.texts]
        weights *= np.repeat(idf.astype(np.float32), np.diff(counts.starts))
        return weights

    def _idf(self, having: npt.NDArray[np.float64], texts: int) -> npt.NDArray[np.float64]:
        if self.method == "atire":
            return np.log(np.maximum(texts / having, 1.0))
        odds = (texts - having + 0.5) / (having + 0.5)
        return np.log(1 + odds) if self.method == "lucene" else np.log(np.maximum(odds, 1.0))


def joined(parts: Sequence[Postings]) -> Postings:
    """The postings of parts as one; of a term that several have, one part behind the other."""
    terms = [term for part in parts for term in part.vocabulary]
    starts = np.cumsum([0, *(length for part in parts for length in np.diff(part.starts))], dtype=np.int64)
    positions = np.concatenate([np.empty(0, np.int32), *(part.positions for part in parts)])
    weights = np.concatenate([np.empty(0, np.float32), *(part.weights for part in parts)])
    return _in_order(terms, starts, positions, weights)


def _in_order(terms: Sequence[bytes], starts: npt.NDArray[np.int64], positions: Numbers, weights: Array) -> Postings:
    """What stands under terms in any order, by ascending term; a term may come more than once."""
    order = sorted(range(len(terms)), key=terms.__getitem__)
    places = [slice(starts[number], starts[number + 1]) for number in order]
    is_first = np.array([n == 0 or terms[order[n]] != terms[order[n - 1]] for n in range(len(order))], np.bool_)
    ends = np.cumsum(np.diff(starts)[order])
    return Postings(
        vocabulary=Vocabulary.of([terms[order[n]] for n in np.flatnonzero(is_first)]),
        weights=np.concatenate([weights[:0], *(weights[place] for place in places)]),
        positions=np.concatenate([positions[:0], *(positions[place] for place in places)]),
        starts=np.append(np.append(0, ends[:-1])[is_first], len(positions)).astype(np.int64) if order else np.zeros(1, np.int64),
    )
