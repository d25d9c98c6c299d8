"""What every retriever keeps: at most k distinct items, best first, each with its reason."""

from __future__ import annotations

from mmrerank.testing.contracts._part import NamedOptionsContract, untouched
from mmrerank.types import Query, Ranking


class RetrieverContract(NamedOptionsContract):
    """Query -> first ranking. `tiny()` retrieves from a small corpus, such as `mmrerank.testing.fake_corpus()`."""

    station = "retrievers"

    def query(self) -> Query:
        """A query to which the corpus of the tiny part has several answers."""
        return Query(query_id="q7", text="red door")

    # ------------------------------------------------------------------

    def test_it_returns_at_most_k_distinct_items_best_first(self) -> None:
        for k in (1, 3, 50):
            query = self.query()
            with untouched(query):
                ranking = self.tiny().retrieve(query, k)
            assert isinstance(ranking, Ranking), f"a Ranking comes back; got {type(ranking).__name__}"
            assert ranking.query_id == query.query_id, f"the ranking is that of {query.query_id!r}; got {ranking.query_id!r}"
            assert 1 <= len(ranking.candidates) <= k, f"{k} items were asked for; got {len(ranking.candidates)}"
            assert len(set(ranking.item_ids)) == len(ranking.item_ids), f"an item comes twice: {ranking.item_ids}"
            scores = [candidate.score or 0.0 for candidate in ranking.candidates]
            assert scores == sorted(scores, reverse=True), f"scores rise: {scores}"

    def test_the_same_again_and_from_a_new_instance(self) -> None:
        retriever, query = self.tiny(), self.query()
        first = retriever.retrieve(query, 5)
        retriever.retrieve(Query(text="blue bird"), 5)
        assert retriever.retrieve(query, 5) == first, "the same query gave another ranking the second time"
        assert self.tiny().retrieve(query, 5).item_ids == first.item_ids, "two instances with the same options retrieve alike"

    def test_less_is_the_head_of_more(self) -> None:
        for query in (self.query(), Query(text="blue bird")):
            many, few = (self.tiny().retrieve(query, k).item_ids for k in (5, 2))
            assert many[:2] == few, f"asking for 2 gives {few}, and for 5 begins with {many[:2]}"

    def test_every_item_says_why_it_stands_there(self) -> None:
        ranking = self.tiny().retrieve(self.query(), 4)
        silent = [item_id for item_id in ranking.item_ids if not ranking.notes.reasons.get(item_id)]
        assert not silent, f"no reason is given for {', '.join(silent)}"
