"""Another reranker, used only where judged queries say that it helps; else the first stage's order stays.

    guard(rerank='first', fitted='first.guard.toml')                    taken where it is expected to gain anything
    guard(rerank='first', fitted='first.guard.toml', min_gain=0.02, risk=0.05)

What it gained on judged queries is fitted once per reranker, model and prompt, and refused for any other:

    from mmrerank.rerankers.guard import fit_guard
    fit_guard(make("first", backend=backend), judged).save("first.guard.toml")
    mmrerank evaluate CARD --rerank first --backend NAME --fit-guard first.guard.toml

From that a rule is chosen: for all queries, for those where the first stage is undecided, for those where the orders agree, or for none.
The mean gain of a rule that is taken lies above `min_gain`, but for a probability of `risk` (`_guarding.py` says how). A query whose order
is left as it came has the status "fallback" and a message that says why; where the rule can tell before, the model is not asked at all.

Source: see `_guarding.py`.  Cost per query: the other reranker's, or nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.protocols import Backend, DescriptorSource, Reranker
from mmrerank.rerankers._around import made_within, name_within
from mmrerank.rerankers._fitted import method_of, origin
from mmrerank.rerankers._guarding import Guard, Judgement, Rule, fit_guard, guard_from, signs_of
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Cost, Notes, Query, Ranking

__all__ = ["Guard", "Guarded", "Judgement", "Options", "build", "fit_guard", "guard_from", "tiny"]


@dataclass(frozen=True, kw_only=True)
class Options:
    rerank: str = "ragllava"  # the other reranker, with its options
    fitted: str = ""  # file that `Guard.save` or `evaluate --fit-guard` wrote
    min_gain: float = 0.0  # what its mean gain must exceed, in units of the fitted measure
    risk: float = 0.1  # the probability at most that it does not, where it is used

    def __post_init__(self) -> None:
        if not 0 < self.risk < 1:
            raise InputError(f"risk is a probability between 0 and 1; got {self.risk}")


class Guarded:
    """A reranker that steps back where it is not expected to help."""

    def __init__(self, options: Options, reranker: Reranker, guard: Guard) -> None:
        self.name = printed("guard", options)
        self.within = reranker
        self.rule: Rule | None = guard.rule(min_gain=options.min_gain, risk=options.risk)
        self._guard, self._options = guard, options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The other reranker's ranking where the rule takes it, else the candidates as they came."""
        if self.rule is None or (self.rule.sign == "lead" and not self._takes(candidates, ())):
            return self._as_it_came(query, candidates, Cost())
        ranking = self.within.rerank(query, candidates)
        if not self._takes(candidates, ranking.item_ids):
            return self._as_it_came(query, candidates, ranking.notes.cost)
        return with_messages(ranking, self._deeper(candidates))

    def _takes(self, candidates: Sequence[Candidate], after: Sequence[str]) -> bool:
        return self.rule is not None and self.rule.takes(signs_of(candidates, after))

    def _as_it_came(self, query: Query, candidates: Sequence[Candidate], cost: Cost) -> Ranking:
        scores = [candidate.score for candidate in candidates]
        is_falling = None not in scores and all(one >= other for one, other in itertools.pairwise(score or 0.0 for score in scores))
        ranked = tuple(candidates) if is_falling else tuple(Candidate(item=candidate.item) for candidate in candidates)
        notes = Notes(status="fallback", messages=(self._why(),), cost=cost)
        return Ranking(query_id=query.query_id, candidates=ranked, notes=notes)

    def _why(self) -> str:
        guard, options = self._guard, self._options
        judged = f"{len(guard.gains)} judged queries, {guard.measure}, min_gain {options.min_gain:g}, risk {options.risk:g}"
        rule = self.rule or max(guard.rules(options.min_gain), key=lambda rule: rule.gain)
        use = f"is used {rule}" if self.rule else "is not expected to help"
        return f"the first stage's order stays: {guard.reranker} {use} ({judged}: gain {rule.gain:+.3f}, p {rule.p:.4f})"

    def _deeper(self, candidates: Sequence[Candidate]) -> list[str]:
        """That there are more candidates than it was fitted with, where there are."""
        depth = self._guard.depth
        return (
            [f"the guard was fitted with {depth} candidates a query at most; these are {len(candidates)}"]
            if len(candidates) > depth
            else []
        )


def inner(options: Options) -> str:
    """The name of the reranker within, whose needs are this one's.

    Raises:
        InputError: no fitted guard is named, or the reranker within cannot be guarded.
    """
    if not options.fitted:
        hint = "Fit one: mmrerank evaluate CARD --rerank NAME --fit-guard PATH, or fit_guard(reranker, judged).save(PATH)."
        raise InputError("guard needs the file of what the reranker gained on judged queries", hint=hint)
    return name_within("guard", options.rerank)


def build(
    options: Options, backend: Backend | None = None, descriptors: DescriptorSource | None = None, api_key: str | None = None
) -> Guarded:
    """The reranker behind its guard.

    Raises:
        InputError: as of `inner`.
        FormatError, ManifestError: the file is not of that form, or was fitted with another reranker, model or prompt.
    """
    reranker = made_within(inner(options), backend, descriptors, api_key)
    model, digest = origin(reranker)
    guard = Guard.load(options.fitted, reranker=method_of(reranker).name, backend=model, prompt_digest=digest)
    return Guarded(options, reranker, guard)


def tiny() -> Guarded:
    """Around `ragllava` with a fake model, by gains that nobody measured."""
    reranker = made_within("ragllava", FakeBackend(), None, None)
    guard = Guard(reranker=reranker.name, depth=100, gains=(0.1,) * 12, leads=(0.5,) * 12, agreements=(0.5,) * 12)
    return Guarded(Options(), reranker, replace(guard, backend="double"))
