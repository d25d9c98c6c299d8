"""What every answerer keeps: it cites pages it got and no others, and says so where these pages do not say it."""

from __future__ import annotations

from collections.abc import Sequence

from mmrerank.testing import samples
from mmrerank.testing.contracts._part import NamedOptionsContract, untouched
from mmrerank.types import Answer, Candidate, Query


class AnswererContract(NamedOptionsContract):
    """Ranked pages -> an answer that cites them."""

    station = "answering"

    def query(self) -> Query:
        """A question that the first of the pages answers."""
        return Query(query_id="q", text="Who built the old mill?")

    def pages(self, count: int) -> list[Candidate]:
        """The pages that are answered from, best first."""
        return samples.pages(count)

    # ------------------------------------------------------------------

    def test_it_cites_only_pages_it_got_each_once_with_their_scores(self) -> None:
        for count in (0, 1, 2, 7):
            pages = self.pages(count)
            scores = {page.item.item_id: page.score for page in pages}
            answer = self._answer(pages)
            citations = [citation.item.item_id for citation in answer.citations]
            assert set(citations) <= set(scores), f"cites {citations} of {list(scores)}"
            assert len(citations) == len(set(citations)), f"cites a page twice: {citations}"
            for citation in answer.citations:
                expected = scores[citation.item.item_id]
                assert citation.score == expected, f"{citation.item.item_id} had the score {expected}, and is cited with {citation.score}"
            assert answer.text, "an answer is never empty"
            assert answer.found == bool(citations), f"found is {answer.found}, with {len(citations)} citations"
            if answer.nearest is not None:
                assert not answer.found, "names a nearest page, though it is found"
                assert answer.nearest.item.item_id in scores, f"names {answer.nearest.item.item_id} of {list(scores)} as the nearest"

    def test_it_answers_what_the_first_page_says(self) -> None:
        answer = self._answer(self.pages(4))
        assert answer.found, "the first page answers the question, and it was not found"

    def test_no_pages_give_no_answer(self) -> None:
        answer = self._answer([])
        assert not answer.found, "found, without a page"
        assert answer.citations == (), f"cites {answer.citations}, without a page"

    def test_a_quote_stands_on_its_page(self) -> None:
        for citation in self._answer(self.pages(4)).citations:
            text = " ".join((citation.item.text or "").split())
            assert citation.quote in text, f"{citation.quote!r} does not stand on {citation.item.item_id}"

    def test_a_page_with_nothing_to_show_breaks_nothing(self) -> None:
        for pages in ([samples.bare(1)], [samples.broken(1), *self.pages(2), samples.bare(2)]):
            assert self._answer(pages).text, "an answer is never empty"

    def test_the_same_again_gives_the_same(self) -> None:
        answerer = self.tiny()
        first, second = (answerer.answer(self.query(), self.pages(7)) for _ in range(2))
        assert first.text == second.text, f"first {first.text!r}, then {second.text!r}"
        assert _cited(first) == _cited(second), "the same pages are cited differently the second time"

    def _answer(self, pages: Sequence[Candidate]) -> Answer:
        """The answer from these pages; they are as they were afterwards."""
        query = self.query()
        with untouched(query, pages):
            answer: Answer = self.tiny().answer(query, pages)
        return answer


def _cited(answer: Answer) -> list[tuple[str, str]]:
    return [(citation.item.item_id, citation.quote) for citation in answer.citations]
