"""`mmrerank ask COLLECTION QUESTION`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrerank.cli import _backend, _output, _results

if TYPE_CHECKING:
    from mmrerank.results import AskResult
    from mmrerank.types import Citation


def ask(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    question: Annotated[str, typer.Argument(help="The question.")],
    k: Annotated[int, typer.Option(help="How many pages the answer is read from.", min=1)] = 5,
    filter: Annotated[str | None, typer.Option(help="SQL over the fields, such as \"document_id = 'report.pdf'\".")] = None,
    retriever: Annotated[str | None, typer.Option(help="First stage; BM25 over page text when left out.")] = None,
    rerank: Annotated[list[str] | None, typer.Option(help=_backend.RERANK)] = None,
    backend: _backend.BackendName = None,
    answerer: Annotated[str | None, typer.Option(help="extractive or generative; chosen by whether a backend is named.")] = None,
    depth: Annotated[int | None, typer.Option(help="How many candidates the rerankers see.", min=1)] = None,
    sheet: Annotated[
        Path | None, typer.Option(callback=_results.sheet_file, help="Write the cited pages, passages boxed, as one picture to look at.")
    ] = None,
    no_cache: _backend.NoCache = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Answer a question from the documents of a collection, with the pages the answer rests on."""
    from mmrerank.collection import Collection
    from mmrerank.sheet import draw_answer

    model, rerankers = _backend.stages(rerank, backend, no_cache=no_cache)
    opened = Collection.open(collection)
    on_text = None if json or model is None else _output.piece
    stages: dict[str, Any] = {
        "retriever": retriever,
        "rerank": rerankers,
        "depth": depth,
    }
    result = opened.ask(question, k=k, filter=filter, backend=model, answerer=answerer, on_text=on_text, **stages)
    whole = _results.written(sheet, lambda: draw_answer(result))
    if json:
        _output.emit(as_json(result))
    else:
        _show(result, sheet if whole else None, streamed=on_text is not None)
    return 0 if whole else _output.INPUT


def as_json(result: AskResult) -> dict[str, Any]:
    """The answer in the shape programs depend on."""
    answer = result.answer
    answering = _results.stage_as_json(result.answered_by, result.seconds, answer.notes.cost, answer.notes.messages)
    return {
        "answer": answer.text,
        "citations": [_citation(citation) for citation in answer.citations],
        "stages": [*_results.as_json(result.search)["stages"], answering],
        "found": answer.found,
        "nearest": None if answer.nearest is None else _citation(answer.nearest),
    }


def _citation(citation: Citation) -> dict[str, Any]:
    """One page with what it says and where on it, as shares of its width and height; `page_label` is what is printed on it."""
    from mmrerank.results import boxes_of

    item = citation.item
    return {
        "item_id": item.item_id,
        "document_id": item.document_id,
        "page_number": item.page_number,
        "score": citation.score,
        "page_label": item.metadata.get("page_label"),
        "quote": citation.quote,
        "boxes": [[round(side, 5) for side in box] for box in boxes_of(citation)],
    }


def _show(result: AskResult, sheet: Path | None, *, streamed: bool) -> None:
    from mmrerank.collection.items import place_of

    console = _output.out()
    text = "" if streamed else result.answer.text  # what was written as it came needs its line ended
    console.print(text, markup=False, style="bold" if result.answer.found else "yellow")
    answer = result.answer
    for citation in (*answer.citations, *([] if answer.nearest is None else [answer.nearest])):
        reason = answer.notes.reasons.get(citation.item.item_id, "")
        nearest = "" if answer.found else "nearest: "
        console.print(f"  {nearest}{_output.one_line(place_of(citation.item))}{f'  ({reason})' if reason else ''}", markup=False)
    for note in answer.notes.messages:
        console.print(note, markup=False, style="dim")
    if sheet is not None:
        console.print(f"sheet: {sheet}", markup=False)
