"""`mmrerank search COLLECTION [--text T] [--image P]...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmrerank.cli import _output


def search(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    text: Annotated[str | None, typer.Option(help="What to find, or with --image what should be different.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to start from; may be given several times.")] = None,
    exclude_text: Annotated[list[str] | None, typer.Option(help="What must not be there; may be given several times.")] = None,
    exclude_image: Annotated[list[Path] | None, typer.Option(help="A picture it must not be like.")] = None,
    filter: Annotated[str | None, typer.Option(help='SQL over the fields of the items, such as "page_number < 5".')] = None,
    k: Annotated[int, typer.Option(help="How many hits.", min=1)] = 10,
    retriever: Annotated[str | None, typer.Option(help="First stage; chosen by what is asked when left out.")] = None,
    rerank: Annotated[list[str] | None, typer.Option(help="Reranker; several work one after the other.")] = None,
    depth: Annotated[int | None, typer.Option(help="How many candidates the rerankers see; 100 when left out.", min=1)] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write the hits as one picture to look at.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Search a collection by text, by picture, or by picture and what should be different."""
    from mmrerank.collection import Collection
    from mmrerank.parts import make
    from mmrerank.sheet import draw_sheet
    from mmrerank.types import Query

    opened = Collection.open(collection)
    pictures = make("images(mislabelled='accept')", station="readers")  # a query picture is what it shows, whatever its name
    query = Query(
        text=text,
        images=tuple(pictures.handle(path, "") for path in image or ()),
        exclude_text=tuple(exclude_text or ()),
        exclude_images=tuple(pictures.handle(path, "") for path in exclude_image or ()),
        filter=filter,
    )
    result = opened.search(query, k=k, retriever=retriever, rerank=rerank or (), depth=depth)
    if sheet is not None:
        draw_sheet(result).save(sheet)
    shown = as_json(result, opened)
    if json:
        _output.emit(shown)
    else:
        _show(shown, sheet)
    return 0


def as_json(result: Any, collection: Any) -> dict[str, Any]:
    """The search result in the shape programs depend on."""
    paths = collection.paths_of([hit.item.item_id for hit in result.hits])
    hits = [
        {
            "rank": hit.rank,
            "item_id": hit.item.item_id,
            "score": hit.score,
            "raw_score": hit.raw_score,
            "calibrated_score": hit.calibrated_score,
            "path": str(paths[hit.item.item_id]),
            "document_id": hit.item.document_id,
            "page_number": hit.item.page_number,
            "reason": hit.reason,
        }
        for hit in result.hits
    ]
    stages = [
        {
            "name": stage.name,
            "seconds": round(stage.seconds, 4),
            "calls": stage.cost.calls,
            "tokens": stage.cost.tokens,
            "notes": list(stage.notes),
        }
        for stage in result.stages
    ]
    return {"query_id": result.query.query_id, "hits": hits, "stages": stages}


def _show(result: dict[str, Any], sheet: Path | None) -> None:
    console = _output.out()
    for hit in result["hits"]:
        score = "" if hit["score"] is None else f"{hit['score']:.3f}"
        console.print(f"{hit['rank']:>3}  {score:>7}  {hit['item_id']}  ({hit['reason']})", markup=False)
    if not result["hits"]:
        console.print("nothing found")
    for stage in result["stages"]:
        notes = f"; {'; '.join(stage['notes'])}" if stage["notes"] else ""
        console.print(f"{stage['name']}: {stage['seconds'] * 1000:.0f} ms, {stage['calls']} calls{notes}", markup=False, style="dim")
    if sheet is not None:
        console.print(f"sheet: {sheet}", markup=False)
