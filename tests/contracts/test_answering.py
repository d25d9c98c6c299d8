"""What every answerer must do; a new file in `mmrerank/answering/` is found by itself."""

from __future__ import annotations

import pytest
from makers import InMemory, coloured

from mmrerank.parts import module, names, options_of
from mmrerank.types import Candidate, Item, Query

ANSWERERS = names("answering")
QUERY = Query(query_id="q", text="Who built the old mill?")
TEXTS = ["The old mill was built by Anna Berg in 1870.", "The new mill burned down.", "", "Bread prices rose."]


def pages(count: int) -> list[Candidate]:
    items = [
        Item(item_id=f"d.pdf#page={n}", document_id="d.pdf", page_number=n, text=TEXTS[(n - 1) % 4], image=InMemory(coloured(n)))
        for n in range(1, count + 1)
    ]
    return [Candidate(item=item, score=1 / item.page_number) for item in items]  # type: ignore[operator]


def test_there_are_answerers_to_check() -> None:
    assert {"extractive", "generative"} <= set(ANSWERERS)


@pytest.mark.parametrize("name", ANSWERERS)
class TestAnswerer:
    def test_its_printed_name_parses_back(self, name: str) -> None:
        part = module(name, station="answering")
        assert options_of(part.tiny().name, part.Options) == part.Options()

    @pytest.mark.parametrize("count", [0, 1, 2, 7])
    def test_it_cites_only_pages_it_got_each_once_with_their_scores(self, name: str, count: int) -> None:
        given = pages(count)
        answer = module(name, station="answering").tiny().answer(QUERY, given)
        held = {candidate.item.item_id: candidate.score for candidate in given}
        cited = [citation.item.item_id for citation in answer.citations]
        assert set(cited) <= set(held)
        assert len(cited) == len(set(cited))
        assert all(citation.score == held[citation.item.item_id] for citation in answer.citations)
        assert answer.text
        assert answer.found == bool(cited)

    def test_no_pages_give_no_answer(self, name: str) -> None:
        answer = module(name, station="answering").tiny().answer(QUERY, [])
        assert (answer.found, answer.citations) == (False, ())

    def test_a_quote_stands_on_its_page(self, name: str) -> None:
        for citation in module(name, station="answering").tiny().answer(QUERY, pages(4)).citations:
            assert citation.quote in " ".join((citation.item.text or "").split())
