"""Results in the shapes of `schemas.py`, with the places of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from mmrerank.readers import body_of
from mmrerank.results import AskResult, SearchResult, boxes_of
from mmrerank.results import Hit as ResultHit
from mmrerank.results import Stage as Done
from mmrerank.service import schemas
from mmrerank.types import Citation, Explanation, Item

EXCERPT = 400  # characters of an item's text


class ResponseBuilder:
    """Shows the results of one collection; `redact_paths` cleans what stages say."""

    def __init__(self, name: str, redact_paths: Callable[[str], str]) -> None:
        self._name, self._redact_paths = name, redact_paths

    def search(self, result: SearchResult, grids: Sequence[str]) -> schemas.SearchResponse:
        """A search, with the order before the rerankers where any worked."""
        first = result.stages[0].ranking.candidates if len(result.stages) > 1 else ()
        placed = [
            schemas.Placed(rank=n, item_id=c.item.item_id, score=c.score, thumbnail=self.place("thumbnail", c.item))
            for n, c in enumerate(first[: len(result.hits)], 1)
        ]
        return schemas.SearchResponse(
            query_id=result.query.query_id,
            collection=self._name,
            hits=self._hits(result),
            stages=[self._stage(stage) for stage in result.stages],
            first_stage=placed,
            grids=[f"/v1/grids/{grid}" for grid in grids],
        )

    def answer(self, result: AskResult) -> schemas.AskResponse:
        """An answer with its citations, passages boxed."""
        notes, cost = result.answer.notes, result.answer.notes.cost
        answering = schemas.Stage(
            name=result.answered_by,
            seconds=round(result.seconds, 4),
            calls=cost.calls,
            cached=cost.cached,
            tokens=cost.tokens,
            reused_tokens=cost.reused_tokens,
            status=notes.status,
            notes=[self._redact_paths(note) for note in notes.messages],
        )
        return schemas.AskResponse(
            answer=result.answer.text,
            found=result.answer.found,
            citations=[self._citation(citation) for citation in result.answer.citations],
            nearest=None if result.answer.nearest is None else self._citation(result.answer.nearest),
            hits=self._hits(result.search),
            stages=[*(self._stage(stage) for stage in result.search.stages), answering],
        )

    def place(self, kind: str, item: Item) -> str | None:
        """Where the picture of an item is to be had; None where it has none."""
        if item.image is None:
            return None
        return f"/v1/collections/{quote(self._name, safe='')}/{kind}?{urlencode({'id': item.item_id})}"

    def _hits(self, result: SearchResult) -> list[schemas.Hit]:
        ranks = {item_id: rank for rank, item_id in enumerate(result.stages[0].ranking.item_ids, 1)}
        return [self._hit(hit, ranks) for hit in result.hits]

    def _hit(self, hit: ResultHit, ranks: Mapping[str, int]) -> schemas.Hit:
        item = hit.item
        return schemas.Hit(
            rank=hit.rank,
            item_id=item.item_id,
            score=hit.score,
            raw_score=hit.raw_score,
            calibrated_score=hit.calibrated_score,
            document_id=item.document_id,
            page_number=item.page_number,
            reason=self._redact_paths(hit.reason),
            explanation=self._explanation(hit.explanation),
            text=None if item.text is None else body_of(item.text)[:EXCERPT],
            metadata={key: _jsonable(value) for key, value in item.metadata.items()},
            picture=self.place("picture", item),
            thumbnail=self.place("thumbnail", item),
            first_rank=ranks.get(item.item_id),
        )

    def _explanation(self, explanation: Explanation | None) -> schemas.Explanation | None:
        if explanation is None:
            return None
        steps = [self._redact_paths(step) for step in explanation.steps]
        return schemas.Explanation(reasoning=self._redact_paths(explanation.reasoning), scores=dict(explanation.scores), steps=steps)

    def _stage(self, stage: Done) -> schemas.Stage:
        return schemas.Stage(
            name=self._redact_paths(stage.name),
            seconds=round(stage.seconds, 4),
            calls=stage.cost.calls,
            cached=stage.cost.cached,
            tokens=stage.cost.tokens,
            reused_tokens=stage.cost.reused_tokens,
            status=stage.ranking.notes.status,
            notes=[self._redact_paths(note) for note in stage.notes],
        )

    def _citation(self, citation: Citation) -> schemas.Citation:
        item = citation.item
        return schemas.Citation(
            item_id=item.item_id,
            document_id=item.document_id,
            page_number=item.page_number,
            score=citation.score,
            quote=citation.quote,
            boxes=boxes_of(citation),
            picture=self.place("picture", item),
            thumbnail=self.place("thumbnail", item),
        )


def _jsonable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)
