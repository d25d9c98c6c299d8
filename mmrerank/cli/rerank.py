"""`mmrerank rerank --query Q.json --candidates C.jsonl --with NAME`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _backend, _output, _results


def rerank(
    query: Annotated[Path, typer.Option(help='A query: {"query_id", "text", "images": \\[path or data URI], "exclude_text": \\[]}.')],
    candidates: Annotated[Path, typer.Option(help='A candidate a line, best first: {"item_id", "text", "image", "score"}.')],
    with_: Annotated[list[str], typer.Option("--with", help=_backend.RERANK)],
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

    question, hits = json_io.read_query(query), json_io.read_candidates(candidates)
    model, rerankers = _backend.stages(with_, backend, no_cache=no_cache)
    resources = {} if model is None else {"backend": model}
    if encoder is not None:
        resources["descriptors"] = EncodedOnTheFly(make(encoder, station="encoders"), hits)
    result = rerank_candidates(question, hits, [reranker.made(**resources) for reranker in rerankers], depth=depth)
    whole = _results.written(sheet, lambda: _results.drawn(result))
    if json:
        _output.emit(_results.as_json(result))
    else:
        _results.show(result, sheet if whole else None)
    return 0 if whole else _output.INPUT
