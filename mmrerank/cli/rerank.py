"""`mmrerank rerank --query Q.json --candidates C.jsonl --with NAME`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _backend, _output, _results


def rerank(
    query: Annotated[Path, typer.Option(help='A query: {"query_id", "text", "images": \\[path or data URI], "exclude_text": \\[]}.')],
    candidates: Annotated[Path, typer.Option(help='A candidate a line, best first: {"item_id", "text", "image", "score"}.')],
    with_: Annotated[list[str], typer.Option("--with", help="Reranker; several work one after the other.")],
    backend: _backend.BackendName = None,
    encoder: Annotated[str | None, typer.Option(help="Encodes the candidates for rerankers that work on descriptors.")] = None,
    depth: Annotated[int | None, typer.Option(help="How many candidates the rerankers see; all when left out.", min=1)] = None,
    sheet: Annotated[Path | None, typer.Option(callback=_results.sheet_file, help="Write the hits as one picture to look at.")] = None,
    no_cache: _backend.NoCache = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Rerank candidates that another system found; no collection is needed."""
    from mmrerank import json_io
    from mmrerank.parts import make
    from mmrerank.pipeline import EncodedOnTheFly, rerank_candidates
    from mmrerank.sheet import draw_sheet

    asked, given = json_io.read_query(query), json_io.read_candidates(candidates)
    model = _backend.opened(backend, no_cache=no_cache)
    resources = {"api_key": _backend.rerank_key(), **({} if model is None else {"backend": model})}
    if encoder is not None:
        resources["descriptors"] = EncodedOnTheFly(make(encoder, station="encoders"), given)
    result = rerank_candidates(asked, given, [make(name, station="rerankers", **resources) for name in with_], depth=depth)
    whole = _results.written(sheet, lambda: draw_sheet(result))
    if json:
        _output.emit(_results.as_json(result))
    else:
        _results.show(result, sheet if whole else None)
    return 0 if whole else _output.INPUT
