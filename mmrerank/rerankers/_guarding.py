"""When reranking is expected to help: a rule chosen on judged queries so that the risk of a wrong choice is bounded.

For each judged query the gain of the reranker (a measure after it, less before it) is on record beside two signs that need no judgement:

    lead        how far the first stage's best stands out: (s₁ - s₂) / (s₁ - sₙ), 0 to 1; a reranker has little to mend where it is large
    agreement   Spearman's correlation of the order before and after, -1 to 1; where there is none, the new order is noise

A rule says for which queries the reranker's order is taken: for all, for those whose lead is at most a quartile of the leads, or for those
whose agreement is at least a quartile. The gain of a rule is that of the queries it takes, and 0 for the others. A rule passes where the
hypothesis "its mean gain is at most `min_gain`" is rejected by the randomisation test at its share of `risk`: half for the rule that
takes all, the rest in equal parts for the others (Bonferroni, weighted). Of the rules that pass the one of the highest mean gain is taken;
where none does, the reranker is not used. So a rule whose true mean gain is no more than `min_gain` is taken with probability `risk` at
most, as far as the queries of the fit are such as come later, and differences under the hypothesis lie evenly around `min_gain`.

Source: Angelopoulos et al. 2021, arXiv 2110.01052 (choose among rules by tests whose errors are bounded together), cited, not re-read;
Smucker et al. 2007 (the test). The two signs and the rules over them are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from mmrerank.errors import InputError
from mmrerank.measures.chance import randomisation
from mmrerank.measures.scoring import Judgements, score
from mmrerank.protocols import Reranker
from mmrerank.rerankers._fitted import Judged, load, method_of, origin, save
from mmrerank.types import Candidate

Sign: TypeAlias = Literal["all", "lead", "agreement"]
QUARTILES = (0.25, 0.5, 0.75)
FEWEST = 10  # queries; below that no test rejects anything at a usual risk
NAN = float("nan")


class Signs(NamedTuple):
    """What can be known of a query without judgements; NaN where it cannot."""

    lead: float
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """For which queries the order of the reranker is taken."""

    sign: Sign
    limit: float = 0.0  # the largest lead, or the smallest agreement
    gain: float = 0.0  # mean over the judged queries
    p: float = 1.0  # of a mean gain of `min_gain` at most
    share: float = 1.0  # of the judged queries for which the order was taken

    def takes(self, signs: Signs) -> bool:
        """Whether the reranker's order is taken. A sign that is not known speaks against it."""
        return self.sign == "all" or (signs.lead <= self.limit if self.sign == "lead" else signs.agreement >= self.limit)

    def __str__(self) -> str:
        if self.sign == "all":
            return "for all queries"
        if self.sign == "lead":
            return f"where the first stage's best leads by {self.limit:.3f} of its spread at most"
        return f"where the orders agree by {self.limit:.3f} at least"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a reranker gained on judged queries, with the signs of each."""

    reranker: str = ""  # its printed name
    backend: str = ""
    prompt_digest: str = ""
    measure: str = "nDCG@10"
    depth: int = 0  # the most candidates of a query
    gains: tuple[float, ...] = ()
    leads: tuple[float, ...] = ()
    agreements: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("gains", "leads", "agreements"):  # a file gives lists
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if not len(self.gains) == len(self.leads) == len(self.agreements) or not all(map(math.isfinite, self.gains)):
            raise InputError(f"a guard has a finite gain and two signs of each query; got {len(self.gains)} gains")

    def rule(self, *, min_gain: float = 0.0, risk: float = 0.1) -> Rule | None:
        """The rule of the highest mean gain among those that pass; None where none does.

        Args:
            min_gain: what the mean gain must exceed, in units of the measure.
            risk: the probability at most with which a rule is taken whose true mean gain does not.
        """
        rules = self.rules(min_gain)
        passing = [rule for rule in rules if rule.p <= (risk / 2 if rule.sign == "all" else risk / 2 / max(len(rules) - 1, 1))]
        return max(passing, key=lambda rule: rule.gain, default=None)

    def rules(self, min_gain: float = 0.0) -> list[Rule]:
        """Every rule with its mean gain and p; the one that takes all first."""
        limits: list[tuple[Sign, float]] = [("all", 0.0)]
        signs: dict[Sign, tuple[float, ...]] = {"lead": self.leads, "agreement": self.agreements}
        for sign, values in signs.items():
            known = [value for value in values if math.isfinite(value)]
            limits += [(sign, float(limit)) for limit in (np.quantile(known, QUARTILES) if known else ())]
        return [self._tested(Rule(sign=sign, limit=limit), min_gain) for sign, limit in dict.fromkeys(limits)]

    def _tested(self, rule: Rule, min_gain: float) -> Rule:
        taken = np.array([rule.takes(Signs(*signs)) for signs in zip(self.leads, self.agreements, strict=True)])
        gains = np.where(taken, self.gains, 0.0)
        p = randomisation(gains - min_gain, above_only=True)
        return Rule(sign=rule.sign, limit=rule.limit, gain=float(gains.mean()), p=p, share=float(taken.mean()))

    def save(self, path: str | Path) -> None:
        """Writes it as TOML, for `guard(fitted=PATH)`."""
        save(self, path)

    @classmethod
    def load(cls, path: str | Path, *, reranker: str, backend: str, prompt_digest: str) -> Guard:
        """The guard in a file.

        Raises:
            FormatError: the file is absent or not of that form.
            ManifestError: it was fitted with another reranker, model or prompt, which gains something else.
        """
        hint = "Fit one: fit_guard(reranker, judged).save(PATH), or mmrerank evaluate CARD --rerank NAME --fit-guard PATH."
        now = {"reranker": reranker, "backend": backend, "prompt_digest": prompt_digest}
        return load(cls, path, "guard", hint=hint, otherwise="Fit it again with these.", now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One judged query before and after the reranker."""

    before: Sequence[Candidate]
    after: Sequence[str]  # item ids
    grades: Mapping[str, int]


def fit_guard(reranker: Reranker, judged: Judged, *, measure: str = "nDCG@10") -> Guard:
    """What the reranker gains on judged queries, from which `guard` chooses when to use it.

    Args:
        judged: queries, their candidates as the first stage leaves them, and the relevant ids; a mapping to their grades where these
            differ. Never from the set that is reported.
        measure: by name, as everywhere.

    Raises:
        InputError: there are fewer than ten queries, or no such measure.
    """
    rows = [
        Judgement(
            before=candidates,
            after=reranker.rerank(query, candidates).item_ids,
            grades=dict(relevant) if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1),
        )
        for query, candidates, relevant in judged
    ]
    return guard_from(reranker, rows, measure=measure)


def guard_from(reranker: Reranker, rows: Sequence[Judgement], *, measure: str) -> Guard:
    """The guard of a reranker that ran on these queries.

    Raises:
        InputError: there are fewer than ten queries, or no such measure.
    """
    if len(rows) < FEWEST:
        raise InputError(f"a guard is fitted on {FEWEST} judged queries or more; got {len(rows)}")
    signs = [signs_of(row.before, row.after) for row in rows]
    backend, digest = origin(reranker)
    return Guard(
        reranker=method_of(reranker).name,
        backend=backend,
        prompt_digest=digest,
        measure=measure,
        depth=max(len(row.before) for row in rows),
        gains=_gains(rows, measure),
        leads=tuple(sign.lead for sign in signs),
        agreements=tuple(sign.agreement for sign in signs),
    )


def _gains(rows: Sequence[Judgement], measure: str) -> tuple[float, ...]:
    """(n,) of each query the measure after less before; 0 where a protocol leaves the query out."""
    qrels = {str(n): row.grades for n, row in enumerate(rows)}
    after = {str(n): list(row.after) for n, row in enumerate(rows)}
    before = {str(n): [candidate.item.item_id for candidate in row.before] for n, row in enumerate(rows)}
    values = [score(rankings, Judgements(qrels=qrels), [measure]).values[measure] for rankings in (after, before)]  # (n,) each
    return tuple(np.nan_to_num(values[0] - values[1]).tolist())


def signs_of(before: Sequence[Candidate], after: Sequence[str]) -> Signs:
    """The signs of one query.

    Args:
        before: the candidates as the first stage leaves them.
        after: their ids as the reranker orders them.
    """
    return Signs(lead_of(before), agreement([candidate.item.item_id for candidate in before], after))


def lead_of(candidates: Sequence[Candidate]) -> float:
    """How far the best stands out of the spread of the scores, 0 to 1; NaN without two scores, or where they are all equal.

    >>> from mmrerank.types import Item
    >>> lead_of([Candidate(item=Item(item_id=str(score)), score=score) for score in (3.0, 2.0, 1.0)])
    0.5
    """
    scores = [candidate.score for candidate in candidates if candidate.score is not None]
    if len(scores) < 2 or scores[0] <= scores[-1]:
        return NAN
    return float((scores[0] - scores[1]) / (scores[0] - scores[-1]))


def agreement(before: Sequence[str], after: Sequence[str]) -> float:
    """Spearman's correlation of two orders of the same ids, -1 to 1; NaN for fewer than two.

    >>> agreement("abc", "abc"), agreement("abc", "cba")
    (1.0, -1.0)
    """
    places = {item_id: place for place, item_id in enumerate(after)}
    moves = [place - places[item_id] for place, item_id in enumerate(before) if item_id in places]
    count = len(moves)
    return NAN if count < 2 else 1 - 6 * sum(move * move for move in moves) / (count * (count * count - 1))
