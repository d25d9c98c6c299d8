"""`mmrerank search COLLECTION [--text T] [--image P]...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _backend, _output, _results


def search(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    text: Annotated[str | None, typer.Option(help="What to find, or with --image what should be different.")] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="A picture to start from: a file, or a page as report.pdf#page=3; may be given several times.")
    ] = None,
    exclude_text: Annotated[list[str] | None, typer.Option(help="What must not be there; may be given several times.")] = None,
    exclude_image: Annotated[list[str] | None, typer.Option(help="A picture it must not be like.")] = None,
    filter: Annotated[str | None, typer.Option(help='SQL over the fields of the items, such as "page_number < 5".')] = None,
    k: Annotated[int, typer.Option(help="How many hits.", min=1)] = 10,
    retriever: Annotated[str | None, typer.Option(help="First stage; chosen by what is asked when left out.")] = None,
    rerank: Annotated[list[str] | None, typer.Option(help=_backend.RERANK)] = None,
    backend: _backend.BackendName = None,
    depth: Annotated[int | None, typer.Option(help="How many candidates the rerankers see; 100 when left out.", min=1)] = None,
    sheet: Annotated[Path | None, typer.Option(callback=_results.sheet_file, help="Write the hits as one picture to look at.")] = None,
    no_cache: _backend.NoCache = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Search a collection by text, by picture, or by picture and what should be different."""
    from mmrerank.collection import Collection
    from mmrerank.pictures import picture
    from mmrerank.types import Query

    opened = Collection.open(collection)
    query = Query(
        text=text,
        images=tuple(map(picture, image or ())),
        exclude_text=tuple(exclude_text or ()),
        exclude_images=tuple(map(picture, exclude_image or ())),
        filter=filter,
    )
    model, rerankers = _backend.stages(rerank, backend, no_cache=no_cache)
    result = opened.search(query, k=k, retriever=retriever, rerank=rerankers, backend=model, depth=depth)
    whole = _results.written(sheet, lambda: _results.drawn(result))
    if json:
        _output.emit(_results.as_json(result, opened.paths_of([hit.item.item_id for hit in result.hits])))
    else:
        _results.show(result, sheet if whole else None)
    return 0 if whole else _output.INPUT
